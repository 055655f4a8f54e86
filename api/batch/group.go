package batch

import (
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
)

// groupMax is how many items are read before the first of them is matched, and
// matched before the first of them is charged: enough for the memory of one to arrive while the others are read, and few
// enough for their exchanges to stay in the processor's cache.
const groupMax = 16

// A Group is up to groupMax items that are decided together. Its exchanges are
// used again for the next ones. The zero Group is empty; fill it in order. It has
// one owner at a time.
type Group struct {
	xs   [groupMax]*api.Exchange
	errs [groupMax]error // of decoding
	n    int
	more bool // of the policy is to be fetched
	shed bool // decide without the counters
}

// Len returns how many items there are.
func (g *Group) Len() int { return g.n }

// Full reports whether there is room for no other item.
func (g *Group) Full() bool { return g.n == groupMax }

// At returns the exchange of item i, in [0, Len()).
func (g *Group) At(i int) *api.Exchange { return g.xs[i] }

// Next returns the exchange for the next item, which Add must follow. The Group
// is not Full.
func (g *Group) Next(desk *api.Desk, finished func(*api.Exchange)) *api.Exchange {
	x := g.xs[g.n]
	if x == nil {
		x = desk.Open()
		x.Finished = finished
		g.xs[g.n] = x
	}
	return x
}

// Add takes what Next returned, decoded with err. After the last one Match follows.
func (g *Group) Add(desk *api.Desk, err error) {
	if err == nil && !g.shed {
		g.more = desk.Foresee(g.xs[g.n]) || g.more
	}
	g.errs[g.n] = err
	g.n++
}

// Match matches all items.
func (g *Group) Match(desk *api.Desk) {
	if g.shed {
		return
	}
	for i := 0; g.more && i < g.n; i++ {
		if g.errs[i] == nil {
			desk.Foresee(g.xs[i])
		}
	}
	g.more = false
	for i := range g.n {
		if g.errs[i] == nil {
			desk.Match(g.xs[i])
		}
	}
}

// Charge decides item i, which is matched. If pending, the exchange is with the Decider, and the
// Group's no more. An error, a *api.Fault, is why it was not decided.
func (g *Group) Charge(desk *api.Desk, now limiter.Instant, i int) (pending bool, err error) {
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

// Empty makes room for the next items.
func (g *Group) Empty() {
	for i := range g.n {
		if g.xs[i] != nil {
			g.xs[i].Reset()
		}
		g.errs[i] = nil
	}
	g.n = 0
}

// Release gives the exchanges back.
func (g *Group) Release(desk *api.Desk) {
	for i, x := range g.xs {
		if x != nil {
			desk.Close(x)
		}
		g.xs[i], g.errs[i] = nil, nil
	}
	g.n = 0
}

// tagItem is that of field 1, which a request's items are, and a response's.
const tagItem = 1<<3 | byte(protowire.BytesType)

// Count returns how many items the message b has. It refuses what is not a message,
// what valid refuses, if that is not nil, and more than most items: then nothing
// has been decided. field is the name of the items, for the error.
func Count(b []byte, field string, most int, valid func(item []byte) bool) (n int, err error) {
	w := wire.NewReader(b)
	for w.More() {
		var item []byte
		num, typ, ok := protowire.Number(1), protowire.BytesType, true
		if !w.Is(tagItem) {
			num, typ, ok = w.Tag()
		}
		switch {
		case !ok:
		case num == 1 && typ == protowire.BytesType:
			if item, ok = w.Bytes(); ok && valid != nil && !valid(item) {
				return 0, api.NotProto(field + "[" + strconv.Itoa(n) + "]")
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
		return 0, api.TooMany(field, n, most)
	}
	return n, nil
}

// Next returns the next item of a message that Count has accepted.
func Next(w *wire.Reader) (item []byte, ok bool) {
	for w.More() {
		if w.Is(tagItem) { // nearly always
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
