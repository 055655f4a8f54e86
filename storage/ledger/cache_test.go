package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

func nameOf(i uint64) (n poolName) { n.key.Lo = i; return n }

func TestAPoolThatWasReadForAnAnswerIsNotReadAgain(t *testing.T) {
	b := mustOpen(t, vfs.NewMem())
	b.ledger.Apply(log(1, ensure(now, 2, 1))) // which opens the window
	for i := range uint64(5) {                // of 100 units
		e := ensure(now, 1, 10*i+10)
		c := &e.Commands[0]
		if _, ok, err := b.ledger.Answer(c); ok || err != nil {
			t.Fatalf("it needs an entry: %v %v", ok, err)
		}
		var p quota.Pool
		if _, ok := b.ledger.pools.get(poolName{c.Key, c.Window}, &p); !ok || p.Outstanding() != 10*i {
			t.Fatalf("%v: %+v", ok, p)
		}
		r := b.ledger.Apply(log(i+2, e)).([]quota.Result)[0]
		if r.Code != quota.OK || r.Granted != 10*i+10 {
			t.Fatalf("grant %d: %+v", i, r)
		}
	}
}

func TestACacheKeepsNothingThatWasReadBeforeAWrite(t *testing.T) {
	var c cache
	var p quota.Pool
	writes, ok := c.get(nameOf(1), &p)
	if ok {
		t.Fatal("an empty cache has a pool")
	}
	c.wrote(map[poolName]*heldPool{nameOf(1): {pool: quota.Pool{Version: 8}, changed: true}, nameOf(3): {}})
	c.fill(writes, nameOf(1), &quota.Pool{Version: 7})
	c.fill(writes, nameOf(2), &quota.Pool{Version: 7})
	if _, ok := c.get(nameOf(1), &p); !ok || p.Version != 8 {
		t.Errorf("%v: %+v, want what was written", ok, p)
	}
	if _, ok := c.get(nameOf(3), &p); ok {
		t.Error("a pool that was only read takes the place of others")
	}
	writes, ok = c.get(nameOf(2), &p)
	if ok {
		t.Errorf("a pool that was read before a write is kept: %+v", p)
	}
	c.clear()
	c.fill(writes, nameOf(2), &quota.Pool{Version: 7})
	if _, ok := c.get(nameOf(2), &p); ok {
		t.Errorf("a pool that was read before all were replaced is kept: %+v", p)
	}
}

func TestACacheSharesNothingWithWhoAsks(t *testing.T) {
	var c cache
	given := quota.Pool{Shares: []quota.Share{{Granted: 1}}}
	c.fill(0, nameOf(1), &given)
	given.Shares[0].Granted = 2
	var got quota.Pool
	if _, ok := c.get(nameOf(1), &got); !ok || got.Shares[0].Granted != 1 {
		t.Fatalf("%v: %+v", ok, got)
	}
	got.Shares[0].Granted = 3
	if _, ok := c.get(nameOf(1), &got); !ok || got.Shares[0].Granted != 1 {
		t.Fatalf("%v: %+v", ok, got)
	}
}

func TestACacheIsBoundedAndKeepsWhatIsAskedFor(t *testing.T) {
	var c cache
	var p quota.Pool
	for i := range uint64(3 * cachedMax) {
		c.fill(0, nameOf(i), &quota.Pool{Version: i})
		if _, ok := c.get(nameOf(7), &p); i >= 7 && (!ok || p.Version != 7) {
			t.Fatalf("after %d: a pool that is asked for is forgotten: %+v", i, p)
		}
		if n := len(c.young) + len(c.old); n > cachedMax {
			t.Fatalf("%d pools: at most %d", n, cachedMax)
		}
	}
	if _, ok := c.get(nameOf(3*cachedMax-1), &p); !ok {
		t.Error("the last one is not there")
	}
	if _, ok := c.get(nameOf(8), &p); ok {
		t.Error("one that nobody asked for is there")
	}
}

// TestKnownIsAMultiset: it has what was added and not removed, also where hashes, or
// blocks, or the slots that they begin at are equal.
func TestKnownIsAMultiset(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var k known
		var model []place
		hash := rapid.OneOf(rapid.Uint64Range(1, 40), rapid.Map(rapid.Uint64Range(1, 40), func(v uint64) uint64 { return v<<32 | 63 }))
		for range rapid.IntRange(0, 400).Draw(rt, "steps") {
			p := place{hash.Draw(rt, "hash"), rapid.Uint64Range(0, 2).Draw(rt, "block")}
			if slots := k.fitted(rapid.IntRange(0, 40).Draw(rt, "more")); slots != nil {
				k.slots = slots
			}
			if at := slices.Index(model, p); at >= 0 && rapid.Bool().Draw(rt, "remove") {
				k.remove(p)
				model = slices.Delete(model, at, at+1)
			} else {
				k.add(p)
				model = append(model, p)
			}
			if k.n != len(model) {
				rt.Fatalf("%d of %d", k.n, len(model))
			}
			sameKnown(rt, &k, model, p.hash)
		}
		for v := range uint64(41) {
			for _, h := range []uint64{v, v<<32 | 63} {
				if h != 0 {
					sameKnown(rt, &k, model, h)
				}
			}
		}
	})
}

// sameKnown compares what k has of a hash with a model.
func sameKnown(rt *rapid.T, k *known, model []place, h uint64) {
	got := map[place]bool{}
	for _, p := range k.of(h) {
		if got[place{hash: h}] {
			rt.Fatalf("%x: it may move from a block that is looked at last: %v", h, k.of(h))
		}
		got[p] = true
	}
	for _, p := range model {
		if p.hash == h && !got[p] {
			rt.Fatalf("%x: %v, without %v", h, k.of(h), p)
		}
	}
	for p := range got {
		if !slices.Contains(model, p) {
			rt.Fatalf("%x: %v, with %v", h, k.of(h), p)
		}
	}
}

func TestAKnownGrowsAndShrinks(t *testing.T) {
	at := func(i uint64) place {
		return place{(&requestName{id: limiter.Key{Lo: i}}).hash(), i % 3}
	}
	const n = 100_000
	var k known
	for i := range uint64(n) {
		k.add(at(i))
	}
	if len(k.slots) < 2*n || len(k.slots) > 4*n || k.of(at(n).hash) != nil {
		t.Fatalf("%d slots", len(k.slots))
	}
	for i := range uint64(n) {
		k.remove(at(i))
	}
	k.slots = k.fitted(0)
	if len(k.slots) != knownSlotsMin || k.n != 0 || k.of(at(1).hash) != nil {
		t.Fatalf("%d slots for %d", len(k.slots), k.n)
	}
}

// agree fails if what is in memory is not what the database has.
func agree(t *testing.T, l *Ledger) {
	t.Helper()
	v, err := l.look()
	if err != nil {
		t.Fatal(err)
	}
	k, numbers, err := l.requestsOf(v.state)
	if err := errors.Join(err, v.close()); err != nil {
		t.Fatal(err)
	}
	sorted := func(k *known) []place {
		all := slices.DeleteFunc(slices.Clone(k.slots), func(p place) bool { return p.hash == 0 })
		slices.SortFunc(all, func(p, q place) int { return cmp.Or(cmp.Compare(p.hash, q.hash), cmp.Compare(p.block, q.block)) })
		return all
	}
	for due, next := range numbers {
		if due > l.group.Time()/1000 && l.work.numbers[due] < next {
			t.Fatalf("the next block that is due at %d has number %d, which is taken: %d come next", due, l.work.numbers[due], next)
		}
	}
	if got, want := sorted(&l.known), sorted(&k); !slices.Equal(got, want) {
		t.Fatalf("%d requests are known, there are %d", len(got), len(want))
	}
	for n := range l.pools.young {
		var kept, read quota.Pool
		if _, ok := l.pools.get(n, &kept); !ok {
			t.Fatalf("%v is gone", n)
		}
		if _, err := l.readPool(n, &read); err != nil {
			t.Fatal(err)
		}
		if got, want := kept.AppendTo(nil), read.AppendTo(nil); !slices.Equal(got, want) {
			t.Fatalf("%v is %x, and %x in the database", n, got, want)
		}
	}
}

// What is in memory stays what is in the database, over entries, answers, the forgetting
// of pools and requests, snapshots, and when it is opened again.
func TestWhatIsInMemoryIsWhatIsWritten(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(7, seed))
		fs := vfs.NewMem()
		m, b := newModel(), mustOpen(t, fs)
		var kept *model
		var bytes []byte
		for i := range 150 {
			switch what := rng.IntN(12); {
			case what == 0:
				kept, bytes = m.clone(), persist(t, b.ledger)
			case what == 1 && kept != nil:
				m = kept.clone()
				if err := b.ledger.Restore(reader(bytes)); err != nil {
					t.Fatal(err)
				}
			case what == 2:
				l, err := Open(Config{DB: b.db, Group: 3})
				if err != nil {
					t.Fatal(err)
				}
				b.ledger = l
			}
			var entries []*raft.Log
			var want []any
			for range 1 + rng.IntN(3) {
				m.applied++
				e := m.entry(rng)
				if c := &e.Commands[0]; c.Op != quota.OpFence {
					if _, _, err := b.ledger.Answer(c); err != nil {
						t.Fatal(err)
					}
				}
				entries, want = append(entries, log(m.applied, e)), append(want, m.apply(e))
			}
			if got := b.ledger.ApplyBatch(entries); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("seed %d, step %d: answers\n%v\nwant\n%v", seed, i, got, want)
			}
			agree(t, b.ledger)
		}
	}
}

// spend charges a request on a counter of 100 units.
func spend(key, id, cost uint64) quota.Command {
	c := ensure(now, key, 0).Commands[0]
	return quota.Command{
		Op: quota.OpSpend, Key: c.Key, Window: c.Window, Version: 1, Limit: 100,
		Request: quota.Named(limiter.Key{Lo: id}), Cost: cost,
	}
}

// Who asks again with the id of a charge that took the last units hears that it is charged, or
// goes through the log: also while the entry is written, and nothing more.
func TestARequestIsKnownBeforeItsChargeIsSeen(t *testing.T) {
	b := mustOpen(t, vfs.NewMem())
	l := b.ledger
	l.Apply(log(1, ensure(now, 2, 1))) // which opens the window
	c := spend(1, 1, 100)
	w := &l.work
	w.group, w.head, w.stats = l.group, l.head, l.stats
	w.head.applied = 2
	w.entry = quota.Batch{At: now, Commands: []quota.Command{c}}
	if _, err := w.commands(); err != nil {
		t.Fatal(err)
	}
	if err := w.write(); err != nil { // from here on others see the pool
		t.Fatal(err)
	}
	if r, ok, err := l.Answer(&c); err != nil || ok && r.Code != quota.OK {
		t.Errorf("charged, and told %+v, %v, %v", r, ok, err)
	}
}

func TestALookNeedsNoEntry(t *testing.T) {
	b := mustOpen(t, vfs.NewMem())
	b.ledger.Apply(log(1, &quota.Batch{At: now, Commands: []quota.Command{spend(1, 1, 10)}}))
	look := spend(1, 0, 0)
	look.Request = limiter.Key{}
	if r, ok, err := b.ledger.Answer(&look); err != nil || !ok || r.Free != 90 {
		t.Errorf("%+v, %v, %v", r, ok, err)
	}
	asks := spend(1, 1, 0) // what it was charged
	if r, ok, err := b.ledger.Answer(&asks); err != nil || !ok || r.Charged != 10 {
		t.Errorf("%+v, %v, %v", r, ok, err)
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
