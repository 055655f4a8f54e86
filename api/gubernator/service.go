package gubernator

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/batch"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
)

// Names of the service and its methods.
const (
	ServiceName   = "pb.gubernator.V1"
	GetRateLimits = "/" + ServiceName + "/GetRateLimits"
	HealthCheck   = "/" + ServiceName + "/HealthCheck"
	LiveCheck     = "/" + ServiceName + "/LiveCheck"
)

// A Service decides the requests of Gubernator's clients at a desk. Its fields are
// set once, before first use.
type Service struct {
	Desk   *api.Desk
	Bounds api.Bounds
}

// Batches returns what decides GetRateLimitsReqs.
func (s *Service) Batches() *batch.Service {
	return &batch.Service{
		Desk: s.Desk, MessageBytes: s.Bounds.MessageBytes, Items: s.Bounds.BatchChecks, Field: "requests",
		Decode: s.decode, Append: appendItem,
	}
}

// decode reads the RateLimitReq in into x, which keeps slices of it.
func (s *Service) decode(now limiter.Instant, in []byte, x *api.Exchange) error {
	var it item
	if err := it.decode(in); err != nil {
		return err
	}
	if err := it.check(now, &s.Bounds); err != nil {
		return err
	}
	it.request(now, &x.Req)
	return nil
}

// AppendHealthy appends the HealthCheckResp of a node that is ready: one peer,
// itself, and no address, which it does not know.
func AppendHealthy(dst []byte) []byte {
	const tagHealth, tagPeers = 1<<3 | byte(protowire.BytesType), 3<<3 | byte(protowire.VarintType)
	return wire.AppendUint(wire.AppendString(dst, tagHealth, "healthy"), tagPeers, 1)
}
