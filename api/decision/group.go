package decision

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
)

// groupMax is how many checks are matched before the first of them is charged:
// enough for the memory of one to arrive while the others are read, and few
// enough for their exchanges to stay in the processor's cache.
const groupMax = 16

// flagExplain and flagDetail are the flags of an exchange's errand.
const (
	flagExplain = 1 << iota // Append explains
	flagDetail              // a stream's answer is the whole CheckResponse
)

// A group is up to groupMax checks that are decided together. Its exchanges are
// used again for the next ones. The zero group is empty; fill it in order.
type group struct {
	xs   [groupMax]*api.Exchange
	errs [groupMax]error // of decoding
	n    int
	shed bool // decide without the counters
}

// next returns the exchange for the next check, which add must follow. There is
// room: n < groupMax.
func (g *group) next(desk *api.Desk, finished func(*api.Exchange)) *api.Exchange {
	x := g.xs[g.n]
	if x == nil {
		x = desk.Open()
		x.Finished = finished
		g.xs[g.n] = x
	}
	x.Patient = true
	return x
}

// add takes what next returned, decoded with err, and matches it.
func (g *group) add(desk *api.Desk, err error) {
	if err == nil && !g.shed {
		desk.Match(g.xs[g.n])
	}
	g.errs[g.n] = err
	g.n++
}

// charge decides check i. If pending, the exchange is with the Decider, and the
// group's no more. An error, a *api.Fault, is why it was not decided.
func (g *group) charge(desk *api.Desk, now limiter.Instant, i int) (pending bool, err error) {
	if g.errs[i] != nil {
		return false, g.errs[i]
	}
	x := g.xs[i]
	if g.shed {
		desk.Shed(now, x)
		return false, x.Fault()
	}
	if !desk.Charge(now, x) {
		g.xs[i] = nil
		return true, nil
	}
	return false, x.Fault()
}

// empty makes room for the next checks.
func (g *group) empty() {
	for i := range g.n {
		if g.xs[i] != nil {
			g.xs[i].Reset()
		}
		g.errs[i] = nil
	}
	g.n = 0
}

// release gives the exchanges back.
func (g *group) release(desk *api.Desk) {
	for i, x := range g.xs {
		if x != nil {
			desk.Close(x)
		}
		g.xs[i], g.errs[i] = nil, nil
	}
	g.n = 0
}

// Tags of CheckBatchItem, and of CheckError.
const (
	tagItemResponse = 1<<3 | message
	tagItemError    = 2<<3 | message
	tagErrorCode    = 1<<3 | number
	tagErrorMessage = 2<<3 | message
)

// appendError appends the CheckError of err, which is counted, as field tag.
func appendError(dst []byte, tag byte, err error) []byte {
	dst, at := wire.Open(dst, tag)
	dst = wire.AppendUint(dst, tagErrorCode, uint64(api.Code(err)))
	dst = wire.AppendString(dst, tagErrorMessage, err.Error())
	return wire.Shut(dst, at)
}

// tagCheck is that of CheckBatchRequest.checks and CheckStreamRequest.checks.
const tagCheck = 1<<3 | message

// countChecks returns how many fields 1 of the message b are messages, which it
// passes to each, if that is not nil. It refuses what is not a message, and more
// than most: then nothing has been decided.
func countChecks(b []byte, most int, valid func(check []byte) bool) (n int, err error) {
	w := wire.NewReader(b)
	for w.More() {
		var check []byte
		num, typ, ok := protowire.Number(1), protowire.BytesType, true
		if !w.Is(tagCheck) {
			num, typ, ok = w.Tag()
		}
		switch {
		case !ok:
		case num == 1 && typ == protowire.BytesType:
			if check, ok = w.Bytes(); ok && valid != nil && !valid(check) {
				return 0, api.NotProto(checkPath(n))
			}
			n++
		default:
			ok = w.Skip(num, typ)
		}
		if !ok {
			return 0, api.NotProto("message")
		}
	}
	if n > most {
		return 0, api.TooMany("checks", n, most)
	}
	return n, nil
}

// nextCheck returns the next field 1 of a message that countChecks has accepted.
func nextCheck(w *wire.Reader) (check []byte, ok bool) {
	for w.More() {
		if w.Is(tagCheck) { // nearly always
			return w.Bytes()
		}
		num, typ, _ := w.Tag()
		if num == 1 && typ == protowire.BytesType {
			return w.Bytes()
		}
		w.Skip(num, typ)
	}
	return nil, false
}
