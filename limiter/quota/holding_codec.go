package quota

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/headgate/headgate/limiter"
)

// movedStates are the ones that make sense to a new owner: what is under way here
// is lost to it.
const movedStates = exhausted | outdated | warm | refused | closed | done | doubtful | returnDue | debtDue | reported

// AppendTo appends what a new owner of the same tenure needs to go on with h:
//
//	version(1) known returned used held debt cleared free life state idle recent
//
// where all but the first are varints, idle is the time since it was last spent
// from, in milliseconds, and recent are the bits of a float32. h must not be used
// here from then on.
func (h *Holding) AppendTo(b []byte, now limiter.Instant) []byte {
	idle := max(0, now.Sub(h.seen)/time.Millisecond)
	moved := h.state & movedStates
	if h.is(asking) {
		moved |= outdated | doubtful
	}
	b = append(b, format)
	for _, v := range [...]uint64{
		h.known, h.returned, h.used, h.held, h.debt, h.cleared, h.free,
		uint64(h.life), uint64(moved), uint64(idle), uint64(math.Float32bits(h.recent)),
	} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

// DecodeHolding reads the Holding that b starts with and returns what follows it.
// Errors wrap [ErrVersion] or [ErrMalformed].
func DecodeHolding(b []byte, now limiter.Instant) (h Holding, rest []byte, err error) {
	r := reader{b: b}
	r.version("holding")
	h.known = r.units("known")
	h.returned = r.uint("returned", h.known)
	h.used = r.uint("used", h.known-h.returned)
	h.held = r.uint("held", h.known-h.returned-h.used)
	h.debt = r.units("debt")
	h.cleared = r.uint("cleared", h.debt)
	h.free = r.units("free")
	h.life = uint32(r.uint("life", math.MaxUint32))
	h.state = state(r.uint("state", uint64(reported<<1-1)))
	idle := time.Duration(r.uint("idle", uint64(limiter.HorizonMax/time.Millisecond))) * time.Millisecond
	h.recent = math.Float32frombits(uint32(r.uint("recent", math.MaxUint32)))
	if r.err == nil && h.state&^movedStates != 0 {
		r.fail("state=%#x: must be of %#x", h.state, movedStates)
	}
	if r.err == nil && !(h.recent >= 0 && h.recent <= math.MaxFloat32) {
		r.fail("recent=%v: must be a number of at least 0", h.recent)
	}
	if r.err != nil {
		return Holding{}, nil, r.err
	}
	h.seen = now.Add(-idle)
	h.began = ticks(h.seen)
	return h, r.b, nil
}
