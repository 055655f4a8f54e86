package ledger

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/limiter/quota"
)

func TestAPoolThatWasReadForAnAnswerIsNotReadAgain(t *testing.T) {
	b := mustOpen(t, vfs.NewMem())
	b.ledger.Apply(log(1, ensure(now, 2, 1))) // which opens the window
	for i := range uint64(5) {                // of 100 units
		e := ensure(now, 1, 10*i+10)
		if _, ok, err := b.ledger.Answer(&e.Commands[0]); ok || err != nil {
			t.Fatalf("it needs an entry: %v %v", ok, err)
		}
		if n := len(b.ledger.read.pools); n != 1 {
			t.Fatalf("%d pools are handed over", n)
		}
		r := b.ledger.Apply(log(i+2, e)).([]quota.Result)[0]
		if r.Code != quota.OK || r.Granted != 10*i+10 {
			t.Fatalf("grant %d: %+v", i, r)
		}
		if n := len(b.ledger.read.pools); n != 0 {
			t.Fatalf("%d pools are left over", n)
		}
	}
}

func TestAHandoffIsOfOneIndexAndBounded(t *testing.T) {
	var h handoff
	name := func(i int) (n poolName) { n.key.Lo = uint64(i); return n }
	for i := range handoffMax + 10 {
		h.put(7, name(i), quota.Pool{Version: uint64(i)})
	}
	if len(h.pools) != handoffMax {
		t.Errorf("%d pools", len(h.pools))
	}
	if _, ok := h.take(8, name(1)); ok {
		t.Error("a pool of an earlier index is taken")
	}
	if p, ok := h.take(7, name(1)); !ok || p.Version != 1 {
		t.Errorf("%+v, %v", p, ok)
	}
	if _, ok := h.take(7, name(1)); ok {
		t.Error("a pool is taken twice")
	}
	h.put(8, name(3), quota.Pool{})
	if _, ok := h.take(8, name(2)); ok {
		t.Error("a pool outlives its index")
	}
}

// Answers come from other goroutines than the one that applies.
func TestAnswersThatAreAskedMeanwhileChangeNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	m, b := newModel(), mustOpen(t, vfs.NewMem())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	for i := range uint64(2) {
		wg.Go(func() {
			rng, m := rand.New(rand.NewPCG(3, i)), newModel()
			for {
				select {
				case <-stop:
					return
				default:
				}
				c := m.command(rng)
				if _, _, err := b.ledger.Answer(&c); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 200 {
		var entries []*raft.Log
		var want []any
		for range 1 + rng.IntN(3) {
			m.applied++
			e := m.entry(rng)
			entries, want = append(entries, log(m.applied, e)), append(want, m.apply(e))
		}
		if got := b.ledger.ApplyBatch(entries); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("answers\n%v\nwant\n%v", got, want)
		}
	}
	if shown, err := dump(b.ledger); err != nil || shown != m.dump() {
		t.Fatalf("%v\n%s\nwant\n%s", err, shown, m.dump())
	}
}
