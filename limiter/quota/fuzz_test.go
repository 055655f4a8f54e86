package quota

import (
	"bytes"
	"errors"
	"testing"

	"github.com/headgate/headgate/limiter"
)

// known fails unless err is one of the decoders'.
func known(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrVersion) {
		t.Fatalf("error of no kind: %v", err)
	}
}

// FuzzBatch decodes an entry and applies it: no entry, however damaged, panics or
// has more than one meaning, or grants more than was in force.
func FuzzBatch(f *testing.F) {
	b := Batch{At: 1_793_487_600_000, Commands: commands()}
	f.Add(b.AppendTo(nil))
	f.Add([]byte{format, 0, 0})
	f.Fuzz(func(t *testing.T, entry []byte) {
		var b Batch
		if err := DecodeBatch(entry, &b); err != nil {
			known(t, err)
			return
		}
		if again := b.AppendTo(nil); !bytes.Equal(again, entry) && entry[0] == formatTold {
			t.Fatalf("%x is read as %+v and written as %x", entry, b, again)
		}
		var g Group
		var p Pool // of whatever key and window: it does not know them
		requests := map[limiter.Key]*Request{}
		apply := func(at int64, c *Command) Result {
			if !c.Op.exact() {
				return p.Apply(at, c)
			}
			q := requests[c.Request]
			if q == nil {
				q = &Request{}
				requests[c.Request] = q
			}
			return p.Decide(at, c, q)
		}
		at := g.Begin(&b)
		for i := range b.Commands {
			c := &b.Commands[i]
			if code, _, _ := g.Receive(c); code != OK || c.Op.ofGroup() {
				continue
			}
			first := apply(at, c)
			if p.Outstanding() > p.Peak {
				t.Fatalf("after %+v: %d outstanding of at most %d", c, p.Outstanding(), p.Peak)
			}
			record, read := p.AppendTo(nil), Pool{}
			if err := DecodePool(record, &read); err != nil || !bytes.Equal(read.AppendTo(nil), record) {
				t.Fatalf("after %+v: %+v is read as %+v, %v", c, p, read, err)
			}
			if again := apply(at, c); first.Code == OK && (again != first || !bytes.Equal(p.AppendTo(nil), record)) {
				t.Fatalf("applied again, %+v: %+v, then %+v", c, first, again)
			}
		}
	})
}

func FuzzPool(f *testing.F) {
	p := Pool{Version: 7, Limit: 10, Peak: 12, Past: Past{Outstanding: 3}, Shares: []Share{{Holder: owner, Granted: 5, Returned: 1, Debt: 4}}}
	f.Add(p.AppendTo(nil))
	f.Add((&Pool{}).AppendTo(nil))
	f.Fuzz(func(t *testing.T, record []byte) {
		var p Pool
		if err := DecodePool(record, &p); err != nil {
			known(t, err)
			return
		}
		if again := p.AppendTo(nil); !bytes.Equal(again, record) && record[0] == formatTold {
			t.Fatalf("%x is read as %+v and written as %x", record, p, again)
		}
		if p.Outstanding()+p.Free() > max(p.Peak, p.Amount()) {
			t.Fatalf("%d outstanding and %d free of %d", p.Outstanding(), p.Free(), p.Amount())
		}
	})
}

func FuzzRequest(f *testing.F) {
	q := Request{Op: OpHold, Cost: 1, Charged: 2, Owed: 3, Changed: 4, Until: 300, Settled: true, Final: 5}
	f.Add(q.AppendTo(nil))
	f.Fuzz(func(t *testing.T, record []byte) {
		q, err := DecodeRequest(record)
		if err != nil {
			known(t, err)
			return
		}
		if again := q.AppendTo(nil); !bytes.Equal(again, record) {
			t.Fatalf("%x is read as %+v and written as %x", record, q, again)
		}
	})
}

func FuzzGroup(f *testing.F) {
	f.Add((&Group{time: 300, frozen: 2}).AppendHead(nil))
	f.Add((&Group{time: 300, ahead: 400, frozen: 2}).AppendHead(nil))
	f.Fuzz(func(t *testing.T, record []byte) {
		var g Group
		if err := g.DecodeHead(record); err != nil {
			known(t, err)
			return
		}
		if again := g.AppendHead(nil); !bytes.Equal(again, record) {
			t.Fatalf("%x is written as %x", record, again)
		}
	})
}

func FuzzResult(f *testing.F) {
	f.Add(Result{Exhausted, 1, 2, 3, 4, 5, 6, 7, 8, 0, false}.AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, rest, err := DecodeResult(b)
		if err != nil {
			known(t, err)
			return
		}
		if again := append(r.AppendTo(nil), rest...); !bytes.Equal(again, b) {
			t.Fatalf("%x is read as %+v and written as %x", b, r, again)
		}
	})
}

// FuzzHolding moves a holding and goes on with it.
func FuzzHolding(f *testing.F) {
	h := Holding{known: 9, returned: 1, used: 2, held: 3, debt: 4, cleared: 1, free: 300, seen: 5_000_000, recent: 1, life: 6, state: warm}
	f.Add(h.AppendTo(nil, 8_000_000))
	f.Fuzz(func(t *testing.T, b []byte) {
		const now = 1_800_000_000_000_000_000
		h, rest, err := DecodeHolding(b, now)
		if err != nil {
			known(t, err)
			return
		}
		if again := append(h.AppendTo(nil, now), rest...); !bytes.Equal(again, b) {
			t.Fatalf("%x is read as %+v and written as %x", b, h, again)
		}
		terms := Terms{Version: 1, Limit: 1000, GrantMax: 10, Horizon: 1e9, Idle: 1e9}
		h.Spend(now, 1, &terms)
		h.Refund(2)
		h.Need(now, 5, 5, &terms)
		h.Surplus(now, &terms)
		if h.used+h.held+h.returned > h.known {
			t.Fatalf("%+v holds more than it knows of", h)
		}
	})
}
