package app

import (
	"fmt"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/rls"
	"github.com/headgate/headgate/api/rpc"
	"github.com/headgate/headgate/internal/clock"
	"github.com/headgate/headgate/internal/config"
	"github.com/headgate/headgate/limiter/table"
	"github.com/headgate/headgate/policy"
)

func newTable(c *config.Table) (*table.Table, error) {
	full := table.FullAllow
	if c.OnFull == "deny" {
		full = table.FullDeny
	}
	t, err := table.New(table.Config{
		EntriesMax: int64(c.EntriesMax),
		BytesMax:   int64(c.BytesMax),
		ShareMax:   float64(c.SharePercent) / 100,
		OnFull:     full,
	})
	if err != nil {
		return nil, fmt.Errorf("app: %w", err)
	}
	return t, nil
}

func rpcConfig(c *config.Config) *rpc.Config {
	r := rpc.Default()
	r.Bounds = api.Bounds{
		MessageBytes: int(c.GRPC.MessageBytesMax),
		Descriptors:  c.GRPC.DescriptorsMax,
		Entries:      c.GRPC.EntriesMax,
		KeyBytes:     int(c.GRPC.KeyBytesMax),
		ValueBytes:   int(c.GRPC.ValueBytesMax),
		BatchChecks:  c.GRPC.BatchChecksMax,
	}
	r.Headers = rls.Headers{
		RetryAfter: c.RLS.RetryAfterHeader,
		Limit:      c.RLS.LimitHeader,
		Amount:     c.RLS.AmountHeader,
		Remaining:  c.RLS.RemainingHeader,
		Reset:      c.RLS.ResetHeader,
		Degraded:   c.RLS.DegradedHeader,
	}
	r.Reflection = c.GRPC.Reflection
	r.ExtAuthzDomain = c.GRPC.ExtAuthzDomain
	r.DecideTimeout, r.HeldMax, r.Alarm = c.GRPC.DecideTimeout, c.GRPC.HeldMax, clock.Alarm
	r.Connections, r.Streams = c.GRPC.ConnectionsMax, c.GRPC.StreamsMax
	r.KeepaliveInterval, r.KeepaliveTimeout = c.GRPC.KeepaliveInterval, c.GRPC.KeepaliveTimeout
	r.CPU, r.Authorize = processCPU(), authorize()
	r.StreamsTotal, r.BufferBytes = c.GRPC.StreamsTotalMax, int(c.GRPC.ConnectionBufferMax)
	r.RequestTimeout, r.StallTimeout, r.BehindMax = c.GRPC.RequestTimeout, c.GRPC.StallTimeout, c.GRPC.BehindMax
	r.KeepaliveClientMin = c.GRPC.KeepaliveClientMin
	r.ConnectionAge = c.GRPC.ConnectionAgeMax
	return &r
}

func onUnknownDomain(setting string) policy.Outcome {
	switch setting {
	case "deny":
		return policy.UnknownDomainDeny
	case "error":
		return policy.UnknownDomainError
	default:
		return policy.UnknownDomainAllow
	}
}
