package ledger

import (
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// entryOfNew returns an entry with a first grant of each of n keys of group 3 in a window.
func entryOfNew(rng *rand.Rand, index uint64, w quota.Window, n int) (*quota.Batch, []poolName) {
	b := &quota.Batch{At: now + int64(index)}
	var names []poolName
	for range n {
		c := ensure(now, 0, 1).Commands[0]
		c.Key, c.Window = limiter.Key{Hi: 3<<61 | rng.Uint64()>>3, Lo: rng.Uint64()}, w
		b.Commands = append(b.Commands, c)
		names = append(names, poolName{c.Key, w})
	}
	return b, names
}

func TestANewKeyIsKnownToHaveNoRecordWithoutTheDatabase(t *testing.T) {
	fs := vfs.NewMem()
	b, err := open(fs)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 0))
	today := ensure(now, 1, 1).Commands[0].Window
	var all []poolName
	index := uint64(0)
	apply := func(n int) {
		index++
		e, names := entryOfNew(rng, index, today, n)
		if err := applyAll(b.ledger, []*raft.Log{log(index, e)}); err != nil {
			t.Fatal(err)
		}
		all = append(all, names...)
	}
	share := func() float64 {
		t.Helper()
		for _, n := range all {
			if b.ledger.recorded.absent(n) {
				t.Fatalf("%v has a record", n)
			}
		}
		absent := 0
		_, names := entryOfNew(rng, 0, today, 5000)
		for _, n := range names {
			if b.ledger.recorded.absent(n) {
				absent++
			}
		}
		return float64(absent) / 5000
	}
	for range 5 {
		apply(500)
	}
	if s := share(); s < 0.97 {
		t.Errorf("of keys that nobody asked for, %v are known to have no record", s)
	}

	// A process that finds records reads them bit by bit.
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	b = mustOpen(t, fs)
	apply(1)
	if s := share(); s != 0 {
		t.Errorf("before all records were read, %v are known to have none", s)
	}
	for range len(all)/scanMax + 1 {
		apply(1)
	}
	if s := share(); s < 0.97 {
		t.Errorf("after the records were read, %v are known to have none", s)
	}
	if err := b.ledger.Restore(reader(persist(t, b.ledger))); err != nil {
		t.Fatal(err)
	}
	if s := share(); s != 0 {
		t.Errorf("after a snapshot was restored, %v are known to have no record", s)
	}
}

// What is known is bounded, and the window that ends first gives way.
func TestWhatIsKnownIsBounded(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 0))
	var r recorded
	day := func(i int64) quota.Window { return quota.Window{Start: i * 86_400, End: (i + 1) * 86_400} }
	for i := range int64(recordedWindows + 10) {
		r.begin(day(i)).whole = true
	}
	name := poolName{limiter.Key{Hi: 1, Lo: 1}, day(9)}
	if len(r.windows) != recordedWindows || r.absent(name) {
		t.Errorf("%d windows are known, the first too: %v", len(r.windows), r.absent(name))
	}
	for i := int64(20); i < 27; i++ {
		for range 240_000 {
			r.add(poolName{limiter.Key{Hi: rng.Uint64(), Lo: rng.Uint64()}, day(i)})
		}
		held := 0
		for _, f := range r.windows {
			held += f.bytes()
		}
		if r.bytes != held || held > recordedBytes {
			t.Fatalf("%d bytes of at most %d, %d counted", held, recordedBytes, r.bytes)
		}
	}
	if f := r.windows[day(20)]; f == nil || !f.large || r.windows[day(26)].large {
		t.Error("the window that ends first did not give way")
	}
	held := r.bytes
	if r.add(poolName{limiter.Key{Hi: 1, Lo: 1}, day(20)}); r.bytes != held || r.absent(poolName{window: day(20)}) {
		t.Error("a window for which there was no room is begun again")
	}
	r.purge(kept(day(26)))
	if r.windows[day(26)] != nil || r.windows[day(27)] == nil {
		t.Error("windows are not forgotten when their records are deleted")
	}
	r.clear()
	if r.bytes != 0 || r.absent(poolName{window: day(27)}) {
		t.Error("something is left")
	}
}

func TestAFilterHasWhatWasAddedAndLittleElse(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 0))
	key := func() limiter.Key { return limiter.Key{Hi: 3<<61 | rng.Uint64()>>3, Lo: rng.Uint64()} }
	f := &filter{}
	keys := make([]limiter.Key, 200_000)
	for i := range keys {
		keys[i] = key()
		f.add(keys[i])
	}
	wrong := 0
	for _, k := range keys {
		if !f.has(k) {
			t.Fatal("it has lost a key")
		}
		if f.has(key()) {
			wrong++
		}
	}
	if wrong > len(keys)/20 {
		t.Errorf("of %d others it has %d", len(keys), wrong)
	}
	if per := float64(f.bytes()) / float64(len(keys)); per > 7 {
		t.Errorf("%.1f bytes a key", per)
	}
}
