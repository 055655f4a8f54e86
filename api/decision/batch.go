package decision

import (
	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/batch"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
)

// Tags of CheckBatchItem, and of CheckError.
const (
	tagItemResponse = 1<<3 | message
	tagItemError    = 2<<3 | message
	tagErrorCode    = 1<<3 | number
	tagErrorMessage = 2<<3 | message
)

// checks is the name of the items of CheckBatchRequest and CheckStreamRequest.
const checks = "checks"

// flagExplain and flagDetail are the flags of an exchange's errand.
const (
	flagExplain = 1 << iota // Append explains
	flagDetail              // a stream's answer is the whole CheckResponse
)

func errand(id uint64, explain, detail bool) api.Errand {
	e := api.Errand{ID: id}
	if explain {
		e.Flags = flagExplain
	}
	if detail {
		e.Flags |= flagDetail
	}
	return e
}

// Batches returns what decides CheckBatchRequests.
func (s *Service) Batches() *batch.Service {
	return &batch.Service{
		Desk: s.Desk, MessageBytes: s.Bounds.MessageBytes, Items: s.Bounds.BatchChecks, Field: checks,
		Decode: func(_ limiter.Instant, item []byte, x *api.Exchange) error {
			explain, err := Decode(item, &s.Bounds, &x.Req)
			x.Errand, x.Patient = errand(0, explain, false), true
			return err
		},
		Append: func(dst []byte, _ limiter.Instant, x *api.Exchange, err error) []byte {
			if err != nil {
				return appendError(dst, tagItemError, err)
			}
			dst, at := wire.Open(dst, tagItemResponse)
			return wire.Shut(Append(dst, x, x.Errand.Flags&flagExplain != 0), at)
		},
	}
}

// appendError appends the CheckError of err, which is counted, as field tag.
func appendError(dst []byte, tag byte, err error) []byte {
	dst, at := wire.Open(dst, tag)
	dst = wire.AppendUint(dst, tagErrorCode, uint64(api.Code(err)))
	dst = wire.AppendString(dst, tagErrorMessage, err.Error())
	return wire.Shut(dst, at)
}
