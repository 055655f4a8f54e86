package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// batchOf returns an entry of what ops makes of each of so many requests.
func batchOf(at int64, n uint64, change func(id uint64, c *quota.Command) bool) *quota.Batch {
	b := &quota.Batch{At: at}
	for id := range n {
		c := spend(id%3, id, 5)
		c.Limit = 1_000_000
		if id%4 == 1 {
			c.Request = quota.Unnamed(id, id)
		}
		if change(id, &c) {
			b.Commands = append(b.Commands, c)
		}
	}
	return b
}

func all(uint64, *quota.Command) bool { return true }

// A request is in a block until something becomes of it. What that is, and nothing older,
// is what is read, also after a restart, and when the block it was in is due, or not yet.
func TestWhatARequestHasBecomeIsReadAndNothingOlder(t *testing.T) {
	const n = 200 // several blocks
	m, b := newModel(), mustOpen(t, vfs.NewMem())
	step := func(what string, e *quota.Batch) {
		t.Helper()
		m.applied++
		want := m.apply(e)
		if got := b.ledger.Apply(log(m.applied, e)); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%s: answers\n%v\nwant\n%v", what, got, want)
		}
		agree(t, b.ledger)
		if shown, err := dump(b.ledger); err != nil || shown != m.dump() {
			t.Fatalf("%s: %v\n%s\nwant\n%s", what, err, shown, m.dump())
		}
		l, err := Open(Config{DB: b.db, Group: 3})
		if err != nil {
			t.Fatal(err)
		}
		b.ledger = l
		agree(t, l)
	}
	step("spend", batchOf(now, n, all))
	if blocks := count(t, b.ledger, recordBlock); blocks < 2 || blocks > n/10 {
		t.Fatalf("%d requests are in %d blocks", n, blocks)
	}
	if own := count(t, b.ledger, recordRequest) + count(t, b.ledger, recordDue); own != 0 {
		t.Fatalf("requests have %d records of their own", own)
	}
	step("spend again", batchOf(now+1000, n, all))
	step("settle some", batchOf(now+2000, n, func(id uint64, c *quota.Command) bool {
		c.Op, c.Cost = quota.OpSettle, 2
		return id%5 == 0
	}))
	step("let some go", batchOf(now+3000, n, func(id uint64, c *quota.Command) bool {
		c.Op, c.Cost = quota.OpConclude, 0
		return id%5 == 1
	}))
	step("spend what was let go", batchOf(now+4000, n, func(id uint64, _ *quota.Command) bool { return id%10 == 1 }))
	step("settle all of a block", batchOf(now+5000, 40, func(_ uint64, c *quota.Command) bool {
		c.Op, c.Cost = quota.OpSettle, 2
		return true
	}))
	for at := int64(now + 20_000); at < now+700_000; at += 9_000 {
		step("forget", batchOf(at, 1, func(_ uint64, c *quota.Command) bool { c.Op = quota.OpExtend; return true }))
	}
	if left := b.ledger.head.requests; left != 0 {
		t.Fatalf("%d are not forgotten", left)
	}
	for _, kind := range []byte{recordRequest, recordDue, recordBlock} {
		if left := count(t, b.ledger, kind); left != 0 {
			t.Errorf("%d records of kind %d are left", left, kind)
		}
	}
	step("spend when all is forgotten", batchOf(now+700_000, n, all))
}

func count(t *testing.T, l *Ledger, kind byte) (n int) {
	t.Helper()
	v, err := l.look()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(v.each([]byte{kind}, func(_, _ []byte) error { n++; return nil }), v.close()); err != nil {
		t.Fatal(err)
	}
	return n
}

// Who asks for a request while it is taken out of its block finds it in one of both places.
func TestARequestIsFoundWhileItMoves(t *testing.T) {
	const n = 300
	b := mustOpen(t, vfs.NewMem())
	b.ledger.Apply(log(1, batchOf(now, n, all)))
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for i := range uint64(2) {
		asking.Go(func() {
			rng := rand.New(rand.NewPCG(i, 0))
			for {
				select {
				case <-stop:
					return
				default:
				}
				c := batchOf(now, n, all).Commands[rng.IntN(n)]
				c.Cost = 0 // what was it charged?
				if r, ok, err := b.ledger.Answer(&c); err != nil || ok && r.Charged != 5 && r.Charged != 2 {
					t.Errorf("%v: %+v, %v, %v", c.Request, r, ok, err)
					return
				}
			}
		})
	}
	for id := range uint64(n) {
		b.ledger.Apply(log(id+2, batchOf(now, n, func(i uint64, c *quota.Command) bool {
			c.Op, c.Cost = quota.OpSettle, 2
			return i == id
		})))
	}
	close(stop)
	asking.Wait()
	if left := count(t, b.ledger, recordBlock); left != 0 {
		t.Errorf("%d blocks are left, of which all requests are settled", left)
	}
}

// Between the look at where it is and the look there, it may move.
func TestARequestThatHasJustMovedIsFound(t *testing.T) {
	b := mustOpen(t, vfs.NewMem())
	b.ledger.Apply(log(1, batchOf(now, 4, all)))
	c := batchOf(now, 1, all).Commands[0]
	n := requestName{poolName{c.Key, c.Window}, c.Request}
	before := b.ledger.places(n)
	b.ledger.Apply(log(2, batchOf(now, 1, func(_ uint64, c *quota.Command) bool { c.Op, c.Cost = quota.OpSettle, 2; return true })))
	if q, found, err := b.ledger.find(n, before); !found || err != nil || q.Charged != 2 {
		t.Errorf("%+v, %v, %v", q, found, err)
	}
	n.id.Lo++ // another one with its hash was there
	if q, found, err := b.ledger.find(n, before); found || err != nil {
		t.Errorf("%+v, %v, %v", q, found, err)
	}
}

// apart writes the requests of blocks as format 1 has them, each with its own record.
func apart(b *bench) error {
	l := b.ledger
	v, err := l.look()
	if err != nil {
		return err
	}
	batch := b.db.NewBatch()
	err = v.each([]byte{recordBlock}, func(key, value []byte) error {
		return errors.Join(batch.Delete(append(l.key(recordBlock), key[1:]...), nil), eachInBlock(value, func(i *blockItem) error {
			return errors.Join(
				batch.Set(appendRequestName(l.key(recordRequest), i.name), i.request.AppendTo(nil), nil),
				batch.Set(appendRequestName(append48(l.key(recordDue), due(&i.request)), i.name), nil, nil))
		}))
	})
	if err := errors.Join(err, v.close(), b.db.Commit(batch, pebble.Sync)); err != nil {
		return err
	}
	b.ledger, err = Open(Config{DB: b.db, Group: 3})
	return err
}

// persist1 returns a snapshot as format 1 has it.
func persist1(l *Ledger) ([]byte, error) {
	v, err := l.look()
	if err != nil {
		return nil, err
	}
	var to bytes.Buffer
	w := &streamWriter{to: &to, frame: make([]byte, 4, frameBytesMax+8)}
	head := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(append([]byte(streamMagic), 1), 3), l.Applied())
	err = errors.Join(w.write(head), v.each(nil, func(key, value []byte) error {
		if key[0] == recordBlock {
			return errors.New("format 1 has no blocks")
		}
		return w.add(key, value)
	}))
	err = errors.Join(err, w.end(), v.close())
	return to.Bytes(), err
}

// What a ledger of format 1 has, and a snapshot of one, is as good as a new one.
func TestALedgerGoesOnFromFormat1(t *testing.T) {
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(11, seed))
		m, b := newModel(), mustOpen(t, vfs.NewMem())
		for i := range 120 {
			if i%10 == 9 {
				if err := apart(b); err != nil {
					t.Fatal(err)
				}
				agree(t, b.ledger)
			}
			if i%20 == 19 {
				old, err := persist1(b.ledger)
				if err != nil {
					t.Fatal(err)
				}
				b = mustOpen(t, vfs.NewMem())
				if err := b.ledger.Restore(reader(old)); err != nil {
					t.Fatal(err)
				}
			}
			var entries []*raft.Log
			var want []any
			for range 1 + rng.IntN(3) {
				m.applied++
				e := m.entry(rng)
				entries, want = append(entries, log(m.applied, e)), append(want, m.apply(e))
			}
			if got := b.ledger.ApplyBatch(entries); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("seed %d, step %d: answers\n%v\nwant\n%v", seed, i, got, want)
			}
		}
		if shown, err := dump(b.ledger); err != nil || shown != m.dump() {
			t.Fatalf("%v\n%s\nwant\n%s", err, shown, m.dump())
		}
	}
}

func TestASnapshotOfANewerVersionIsRefused(t *testing.T) {
	b := mustOpen(t, vfs.NewMem())
	newer := persist(t, b.ledger)
	newer[len(streamMagic)]++
	if err := b.ledger.Restore(reader(newer)); !errors.Is(err, errNewerSnapshot) {
		t.Error(err)
	}
}

// A block that memory knows of and the database does not have stops the ledger: nothing
// that was charged may be charged again.
func TestALedgerThatHasLostABlockStops(t *testing.T) {
	b := mustOpen(t, vfs.NewMem())
	b.ledger.Apply(log(1, batchOf(now, 4, all)))
	batch := b.db.NewBatch()
	lower, upper := b.ledger.key(recordBlock), b.ledger.key(recordBlock+1)
	if err := errors.Join(batch.DeleteRange(lower, upper, nil), b.db.Commit(batch, pebble.NoSync)); err != nil {
		t.Fatal(err)
	}
	if err, ok := b.ledger.Apply(log(2, batchOf(now, 1, all))).(error); !ok || b.ledger.Err() == nil {
		t.Errorf("%v, %v", err, b.ledger.Err())
	}
}

// A work may read every block that there is, so that each takes about what it has on disk.
func TestABlockThatIsReadTakesWhatIsRecorded(t *testing.T) {
	const n = 8000 // some 150 blocks
	b := mustOpen(t, vfs.NewMem())
	for from := uint64(0); from < n; from += 1000 {
		b.ledger.Apply(log(1+from, batchOf(now, from+1000, func(id uint64, _ *quota.Command) bool { return id >= from })))
	}
	all, w := batchOf(now, n, all).Commands, &b.ledger.work
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := 0; i < n; i += 20 {
		c := &all[i]
		if q, err := w.request(requestName{poolName{c.Key, c.Window}, c.Request}); err != nil || !q.found {
			t.Fatal(i, q, err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	blocks := len(w.blocks)
	if each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / int64(max(1, blocks)); blocks < n/60 || each > 2*blockBytes {
		t.Errorf("%d bytes for each of %d blocks", each, blocks)
	}
	runtime.KeepAlive(all)
}

// No two blocks have the same number, also if those of a second are used up.
func TestABlockTakesNoNumberTwice(t *testing.T) {
	var w work
	w.numbers = map[int64]uint64{7: sequenceMax}
	var got []uint64
	for range 3 {
		got = append(got, w.number(7))
	}
	want := []uint64{7<<sequenceBits | sequenceMax, 8 << sequenceBits, 8<<sequenceBits | 1}
	if fmt.Sprint(got) != fmt.Sprint(want) || dueOf(got[1]) != 8 {
		t.Errorf("%x, want %x", got, want)
	}
}

func TestABlockIsBounded(t *testing.T) {
	w := blockWriter{}
	q := quota.Request{
		Op: quota.OpSpend, Cost: limiter.CostMax, Charged: limiter.CostMax, Owed: limiter.AmountMax, Changed: 1000 * quota.TimeMax,
		Until: 1000 * quota.TimeMax, Settled: true, Final: limiter.CostMax, LetGo: true, Round: 1<<32 - 1, Sure: true, Unasked: true,
	}
	for i := int64(0); !w.full(); i++ {
		w.add(requestName{pool: poolName{window: quota.Window{Start: i, End: quota.TimeMax, Rolling: quota.RollingMax}}}, &q)
	}
	if len(w.value) > blockBytes || 1+blockKeyBytes+len(w.value) > recordBytesMax {
		t.Errorf("%d bytes", len(w.value))
	}
	if err := eachInBlock(w.value, func(*blockItem) error { return nil }); err != nil {
		t.Error(err)
	}
	one := blockWriter{}
	one.add(requestName{pool: poolName{window: quota.Window{End: 60}}}, &q)
	for cut := 1; cut < len(one.value); cut++ {
		if err := eachInBlock(one.value[:cut], func(*blockItem) error { return nil }); err == nil {
			t.Errorf("cut at byte %d of %d, and read", cut, len(one.value))
		}
	}
}
