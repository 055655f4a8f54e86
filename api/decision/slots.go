package decision

import (
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// The fields that a request for slots has beside those of a CheckRequest.
const (
	fieldID       = 6
	fieldLifetime = 7
)

// A slotFields is what a request for slots says of its holder.
type slotFields struct {
	last        protowire.Number // the last field that the message has; 0: it is for no slots
	id          []byte
	hasLifetime bool
	seconds     int64
	nanos       int32
}

// DecodeAcquire is Decode for an AcquireRequest.
func DecodeAcquire(b []byte, bounds *api.Bounds, r *policy.Request) (explain bool, err error) {
	return decodeSlots(b, bounds, r, fieldLifetime, limiter.OpCharge)
}

// DecodeRenew is Decode for a RenewRequest, which is not explained.
func DecodeRenew(b []byte, bounds *api.Bounds, r *policy.Request) (explain bool, err error) {
	_, err = decodeSlots(b, bounds, r, fieldLifetime, limiter.OpRenew)
	return false, err
}

// DecodeRelease is Decode for a ReleaseRequest, which is not explained.
func DecodeRelease(b []byte, bounds *api.Bounds, r *policy.Request) (explain bool, err error) {
	_, err = decodeSlots(b, bounds, r, fieldID, limiter.OpRelease)
	return false, err
}

func decodeSlots(b []byte, bounds *api.Bounds, r *policy.Request, last protowire.Number, op limiter.Op) (explain bool, err error) {
	if len(b) > bounds.MessageBytes {
		return false, api.TooLong("message", len(b), bounds.MessageBytes)
	}
	d := newDecoder(bounds, r)
	d.slots.last, d.noCosts = last, op != limiter.OpCharge
	if err := d.request(b); err != nil {
		return false, err
	}
	d.giveBack = false // a field of CheckRequest only
	if op != limiter.OpCharge {
		d.to.Cost = 1 // likewise
	}
	if err := d.finish(false); err != nil {
		return false, err
	}
	if op != limiter.OpCharge {
		d.to.Op = op
	}
	return d.explain, d.slots.finish(r)
}

// field reads a field that a CheckRequest does not have.
func (s *slotFields) field(num protowire.Number, typ protowire.Type, w *wire.Reader) (ok bool) {
	switch {
	case num > s.last || typ != protowire.BytesType:
		return w.Skip(num, typ)
	case num == fieldID:
		s.id, ok = w.Bytes()
		return ok
	case num == fieldLifetime:
		b, ok := w.Bytes()
		return ok && s.duration(b)
	default:
		return w.Skip(num, typ)
	}
}

// duration reads a google.protobuf.Duration. One that comes in several pieces is
// what they are together.
func (s *slotFields) duration(b []byte) (ok bool) {
	s.hasLifetime = true
	w := wire.NewReader(b)
	for w.More() {
		num, typ, ok := w.Tag()
		switch {
		case ok && num == 1 && typ == protowire.VarintType:
			var v uint64
			v, ok = w.Varint()
			s.seconds = int64(v)
		case ok && num == 2 && typ == protowire.VarintType:
			var v uint64
			v, ok = w.Varint()
			s.nanos = int32(v) // as the generated decoder does
		case ok:
			ok = w.Skip(num, typ)
		}
		if !ok {
			return false
		}
	}
	return true
}

// finish checks what was read and has r say it.
func (s *slotFields) finish(r *policy.Request) error {
	switch {
	case len(s.id) == 0:
		return &api.Fault{Reason: api.Malformed, Field: "id", Bound: "must not be empty"}
	case len(s.id) > limiter.HolderBytesMax:
		return api.TooLong("id", len(s.id), limiter.HolderBytesMax)
	}
	r.Holder = s.id
	if !s.hasLifetime {
		return nil
	}
	if s.nanos < 0 || s.nanos > 999_999_999 || s.seconds < 0 || (s.seconds == 0 && s.nanos == 0) {
		return &api.Fault{Reason: api.Malformed, Field: "lifetime", Bound: "must be a duration above 0"}
	}
	lifetime := time.Duration(math.MaxInt64)
	if s.seconds < math.MaxInt64/int64(time.Second) {
		lifetime = time.Duration(s.seconds)*time.Second + time.Duration(s.nanos)
	}
	if lifetime > limiter.LifetimeMax {
		return &api.Fault{
			Reason: api.OutOfBounds, Field: "lifetime", Value: lifetime.String(), Bound: "at most " + limiter.LifetimeMax.String(),
		}
	}
	r.Lifetime = lifetime
	return nil
}

// Tags of RenewResponse, ReleaseResponse and SlotResult.
const (
	tagRenewHeld      = 1<<3 | number
	tagRenewSlots     = 2<<3 | message
	tagRenewVersion   = 3<<3 | number
	tagReleaseSlots   = 1<<3 | message
	tagReleaseVersion = 2<<3 | number

	tagSlotName      = 1<<3 | message
	tagSlotHeld      = 2<<3 | number
	tagSlotShadow    = 3<<3 | number
	tagSlotRemaining = 4<<3 | number
	tagSlotDegraded  = 5<<3 | number
)

// AppendRenewed appends the RenewResponse for x, as Append does.
func AppendRenewed(dst []byte, x *api.Exchange) []byte {
	if v, _ := x.Verdict(); v == limiter.Allowed {
		dst = append(dst, tagRenewHeld, 1)
	}
	dst = appendSlots(dst, tagRenewSlots, x)
	return wire.AppendUint(dst, tagRenewVersion, x.Snapshot.Version())
}

// AppendReleased appends the ReleaseResponse for x, as Append does.
func AppendReleased(dst []byte, x *api.Exchange) []byte {
	dst = appendSlots(dst, tagReleaseSlots, x)
	return wire.AppendUint(dst, tagReleaseVersion, x.Snapshot.Version())
}

func appendSlots(dst []byte, tag byte, x *api.Exchange) []byte {
	charges := x.Call.Charges()
	for i := range charges {
		ch := &charges[i]
		var at int
		dst, at = wire.Open(dst, tag)
		dst = wire.AppendString(dst, tagSlotName, ch.Limit.Name)
		released := ch.Op == limiter.OpRelease && ch.Decision.Degraded == limiter.NotDegraded
		if ch.Decision.Verdict == limiter.Allowed && !released {
			dst = append(dst, tagSlotHeld, 1)
		}
		if ch.Limit.Shadow {
			dst = append(dst, tagSlotShadow, 1)
		}
		dst = wire.AppendUint(dst, tagSlotRemaining, ch.Decision.Remaining)
		dst = wire.AppendUint(dst, tagSlotDegraded, uint64(degraded(ch.Decision.Degraded)))
		dst = wire.Shut(dst, at)
	}
	return dst
}
