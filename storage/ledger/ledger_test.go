package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage"
)

var _ raft.BatchingFSM = (*Ledger)(nil)

// A bench is a ledger in a store.
type bench struct {
	db     *storage.DB
	ledger *Ledger
}

func open(fs vfs.FS) (*bench, error) {
	db, err := storage.Open(storage.Config{
		Dir: "store", FS: fs, CacheBytes: storage.CacheBytesMin, MemTableBytes: storage.MemTableBytesMin, SlowAfter: -1,
	})
	if err != nil {
		return nil, err
	}
	l, err := Open(Config{DB: db, Group: 3})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &bench{db, l}, nil
}

func (b *bench) close() error { return b.db.Close() }

func mustOpen(t *testing.T, fs vfs.FS) *bench {
	t.Helper()
	b, err := open(fs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.close(); err != nil && !errors.Is(err, storage.ErrFailed) {
			t.Error(err)
		}
	})
	return b
}

// dump writes out all that a ledger holds and that is not forgotten: when that is
// deleted is each node's own.
func dump(l *Ledger) (string, error) {
	var b strings.Builder
	dumpGroup(&b, l.head.applied, &l.group)
	err := l.Each(func(c *Counter) error {
		if l.recorded.absent(poolName{c.Key, c.Window}) {
			return fmt.Errorf("the pool of %v %v is known to have no record", c.Key, c.Window)
		}
		if !l.group.Purged(c.Window) {
			fmt.Fprintf(&b, "%v %v %x\n", c.Key, c.Window, c.Pool.AppendTo(nil))
		}
		return nil
	})
	v, err2 := l.look()
	if err := errors.Join(err, err2); err != nil {
		return "", err
	}
	all, err := requestsIn(v)
	for _, n := range slices.SortedFunc(maps.Keys(all), byRequestName) {
		if q := all[n]; !q.Forgotten(l.group.Time()) {
			fmt.Fprintf(&b, "%v %+v\n", n, q)
		}
	}
	if int64(len(all)) != l.head.requests {
		err = errors.Join(err, fmt.Errorf("%d requests, %d counted", len(all), l.head.requests))
	}
	return b.String(), errors.Join(err, v.close())
}

// requestsIn returns the requests of a view, and fails if one is there twice or may be
// deleted before it is forgotten, or later than it is due.
func requestsIn(v *view) (map[requestName]quota.Request, error) {
	all, dues := map[requestName]quota.Request{}, map[requestName]int64{}
	add := func(n requestName, q quota.Request) error {
		if _, twice := all[n]; twice {
			return fmt.Errorf("%v is there twice", n)
		}
		all[n] = q
		return nil
	}
	err1 := v.each([]byte{recordRequest}, func(key, value []byte) error {
		n, err1 := parseRequestName(key[1:])
		q, err2 := quota.DecodeRequest(value)
		return errors.Join(err1, err2, add(n, q))
	})
	err2 := v.each([]byte{recordDue}, func(key, _ []byte) error {
		n, err := parseRequestName(key[7:])
		dues[n] = uint48(key[1:])
		return err
	})
	own := len(all)
	err3 := v.each([]byte{recordBlock}, func(key, value []byte) error {
		if len(value) == 0 || len(value) > blockBytes {
			return fmt.Errorf("a block has %d bytes", len(value))
		}
		return eachInBlock(value, func(i *blockItem) error {
			if i.request.Op != quota.OpSpend {
				return fmt.Errorf("%+v is in a block", i)
			}
			dues[i.name] = dueOf(parseBlockKey(key))
			return add(i.name, i.request)
		})
	})
	err := errors.Join(err1, err2, err3)
	for n, q := range all {
		if due(&q) != dues[n] {
			err = errors.Join(err, fmt.Errorf("%v is due at %d, not %d", n, dues[n], due(&q)))
		}
	}
	if len(dues) != len(all) {
		err = errors.Join(err, fmt.Errorf("%d requests, %d of them with their own records, %d due", len(all), own, len(dues)))
	}
	return all, err
}

func byRequestName(x, y requestName) int {
	return bytes.Compare(appendRequestName(nil, x), appendRequestName(nil, y))
}

func dumpGroup(b *strings.Builder, applied uint64, g *quota.Group) {
	fmt.Fprintf(b, "applied %d head %x\n", applied, g.AppendHead(nil))
	for p := range limiter.Partition(limiter.PartitionCount) {
		if tenure := g.Tenure(p); tenure > 0 {
			fmt.Fprintf(b, "partition %d tenure %d\n", p, tenure)
		}
	}
}

// A model is a ledger without a database, which forgets nothing.
type model struct {
	applied  uint64
	group    quota.Group
	pools    map[poolName]*quota.Pool
	requests map[requestName]*quota.Request
	at       int64
}

func newModel() *model {
	return &model{pools: map[poolName]*quota.Pool{}, requests: map[requestName]*quota.Request{}, at: now}
}

func (m *model) clone() *model {
	c := newModel()
	c.applied, c.group, c.at = m.applied, m.group, m.at
	for n, p := range m.pools {
		copied := *p
		copied.Shares = slices.Clone(p.Shares)
		c.pools[n] = &copied
	}
	for n, q := range m.requests {
		copied := *q
		c.requests[n] = &copied
	}
	return c
}

// apply returns the results of one entry.
func (m *model) apply(b *quota.Batch) []quota.Result {
	at := m.group.Begin(b)
	var results []quota.Result
	for i := range b.Commands {
		c := &b.Commands[i]
		code, _, _ := m.group.Receive(c)
		if code != quota.OK || c.Op == quota.OpFence || c.Op == quota.OpFreeze {
			results = append(results, quota.Result{Code: code})
			continue
		}
		name := poolName{c.Key, c.Window}
		if m.pools[name] == nil {
			m.pools[name] = &quota.Pool{}
		}
		p := m.pools[name]
		p.Beside = quota.Beside(c.Window, func(w quota.Window) uint64 {
			if near := m.pools[poolName{c.Key, w}]; near != nil {
				return near.Use()
			}
			return 0
		})
		if c.Op < quota.OpSpend {
			results = append(results, p.Apply(at, c))
			continue
		}
		id := requestName{name, c.Request}
		if m.requests[id] == nil {
			m.requests[id] = &quota.Request{}
		}
		p.Behind = m.group.Clock() - at
		results = append(results, p.Decide(at, c, m.requests[id]))
	}
	return results
}

func (m *model) dump() string {
	var b strings.Builder
	dumpGroup(&b, m.applied, &m.group)
	byName := func(x, y poolName) int { return bytes.Compare(appendName(nil, x), appendName(nil, y)) }
	for _, n := range slices.SortedFunc(maps.Keys(m.pools), byName) {
		if !m.group.Purged(n.window) {
			fmt.Fprintf(&b, "%v %v %x\n", n.key, n.window, m.pools[n].AppendTo(nil))
		}
	}
	for _, n := range slices.SortedFunc(maps.Keys(m.requests), byRequestName) {
		if q := m.requests[n]; q.Op != 0 && !q.Forgotten(m.group.Time()) {
			fmt.Fprintf(&b, "%v %+v\n", n, *q)
		}
	}
	return b.String()
}

// entry makes up the next entry of the log.
func (m *model) entry(rng *rand.Rand) *quota.Batch {
	if m.at += rng.Int64N(2000); rng.IntN(15) == 0 {
		m.at += rng.Int64N(200_000_000) // up to two days: windows are forgotten
	}
	b := &quota.Batch{At: m.at}
	if rng.IntN(3) == 0 {
		b.Ahead = rng.Int64N(400_000_000_000) // up to twelve years
	}
	for range 1 + rng.IntN(8) {
		b.Commands = append(b.Commands, m.command(rng))
	}
	sent := &quota.Batch{} // fields that an operation has no use for are not sent
	if err := quota.DecodeBatch(b.AppendTo(nil), sent); err != nil {
		panic(err)
	}
	return sent
}

func (m *model) command(rng *rand.Rand) quota.Command {
	window := []quota.Window{{End: 60}, {End: 3600}, {End: 86_400}, {End: 600, Rolling: 3}, {End: 3600, Rolling: 24}}[rng.IntN(5)]
	length := window.End
	window.Start = (m.at/1000/length + rng.Int64N(3) - 1) * length
	window.End += window.Start
	key := limiter.Key{Hi: 3<<61 | rng.Uint64N(2), Lo: 1 + rng.Uint64N(2)}
	ops := []quota.Op{1, 1, 1, 1, 2, 3, 4, 5, 6, 7, 16, 16, 17, 17, 18, 18, 19, 20, 20, 21, 21, 22, 22}
	c := quota.Command{
		Op: ops[rng.IntN(len(ops))], Key: key, Window: window,
		Holder:  quota.Holder{Partition: key.Partition(), Tenure: 1 + rng.Uint64N(3), Life: rng.Uint32N(2)},
		Version: 1 + rng.Uint64N(3), Limit: 1000, Floor: rng.Uint64N(100), Target: rng.Uint64N(300),
		Total: rng.Uint64N(200), Spent: rng.Uint64N(50), MaxDebt: 100, Correction: rng.Int64N(200) - 100, Revision: rng.Uint64N(3),
		Request: limiter.Key{Hi: rng.Uint64N(4)}, Cost: rng.Uint64N(3) * 40, Until: m.at + rng.Int64N(1_000_000), Credit: rng.IntN(2) == 0, Round: uint64(m.at/1000)<<20 + rng.Uint64N(2),
	}
	if c.Op == quota.OpFreeze { // of windows long ago: frozen ones would leave nothing to do
		c.Window = window.Near(-5)
	}
	return c
}

func log(index uint64, b *quota.Batch) *raft.Log {
	return &raft.Log{Index: index, Type: raft.LogCommand, Data: b.AppendTo(nil)}
}

func TestTheLedgerAnswersAsAMapOfPools(t *testing.T) {
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 0))
		m, b := newModel(), mustOpen(t, vfs.NewMem())
		for range 30 {
			var entries []*raft.Log
			var want []any
			for range 1 + rng.IntN(5) {
				m.applied++
				if rng.IntN(8) == 0 {
					entries, want = append(entries, &raft.Log{Index: m.applied, Type: raft.LogConfiguration, Data: []byte("x")}), append(want, nil)
					continue
				}
				e := m.entry(rng)
				entries, want = append(entries, log(m.applied, e)), append(want, m.apply(e))
			}
			got := b.ledger.ApplyBatch(entries)
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("seed %d: answers\n%v\nwant\n%v", seed, got, want)
			}
			if shown, err := dump(b.ledger); err != nil || shown != m.dump() {
				t.Fatalf("seed %d: %v\n%s\nwant\n%s", seed, err, shown, m.dump())
			}
			checkAnswers(t, b.ledger, m, rng)
		}
	}
}

// checkAnswers asks what would change nothing, and compares with what it would do.
func checkAnswers(t *testing.T, l *Ledger, m *model, rng *rand.Rand) {
	t.Helper()
	for range 5 {
		c := m.entry(rng).Commands[0]
		got, ok := Set{nil, l}.Answer(1, &c)
		if !ok {
			continue
		}
		after := m.clone()
		want := after.apply(&quota.Batch{At: after.group.Time(), Ahead: after.group.Clock() - after.group.Time(), Commands: []quota.Command{c}})[0]
		if got != want {
			t.Fatalf("%+v: answered %+v, applied %+v", c, got, want)
		}
		for n, p := range after.pools {
			if before := m.pools[n]; before != nil && !bytes.Equal(p.AppendTo(nil), before.AppendTo(nil)) {
				t.Fatalf("%+v was answered and would change the pool", c)
			}
		}
	}
}

func ensure(at int64, key uint64, floor uint64) *quota.Batch {
	day := at / 86_400_000 * 86_400
	return &quota.Batch{At: at, Commands: []quota.Command{{
		Op: quota.OpEnsure, Key: limiter.Key{Hi: 3 << 61, Lo: key}, Window: quota.Window{Start: day, End: day + 86_400},
		Holder: quota.Holder{Tenure: 1}, Version: 1, Limit: 100, Floor: floor, Target: floor,
	}}}
}

const now = 1_800_000_000_000

func TestASetAnswersForTheGroupsThatItHas(t *testing.T) {
	b := filled(t, 1)
	s := Set{nil, b.ledger}
	c := ensure(now, 1, 5).Commands[0]
	if r, ok := s.Answer(1, &c); !ok || r.Granted != 5 || s.Time(1) != now || b.ledger.Tenure() != 1 {
		t.Fatal(r, ok, s.Time(1), b.ledger.Tenure())
	}
	for _, group := range []uint32{0, 2, 1<<32 - 1} {
		if r, ok := s.Answer(group, &c); ok || s.Time(group) != 0 {
			t.Fatal(group, r)
		}
	}
}

func TestAnEntryThatWasAppliedIsSkipped(t *testing.T) {
	fs := vfs.NewMem()
	b := mustOpen(t, fs)
	one, two := log(7, ensure(now, 1, 10)), log(8, ensure(now, 1, 20))
	if r, ok := b.ledger.Apply(one).([]quota.Result); !ok || len(r) != 1 || r[0].Granted != 10 {
		t.Fatal(r)
	}
	got := b.ledger.ApplyBatch([]*raft.Log{one, two})
	if r, ok := got[1].([]quota.Result); got[0] != nil || !ok || r[0].Granted != 20 || b.ledger.Applied() != 8 {
		t.Fatal(got)
	}
	if got := b.ledger.Apply(two); got != nil {
		t.Fatal(got)
	}
}

func TestAnEntryThatCantBeReadChangesNothing(t *testing.T) {
	b := mustOpen(t, vfs.NewMem())
	err, ok := b.ledger.Apply(&raft.Log{Index: 1, Type: raft.LogCommand, Data: []byte{1, 2}}).(error)
	if !ok || !errors.Is(err, quota.ErrMalformed) || !strings.Contains(err.Error(), "entry 1") {
		t.Fatal(err)
	}
	if _, ok := b.ledger.Apply(log(2, ensure(now, 1, 1))).([]quota.Result); !ok || b.ledger.Applied() != 2 {
		t.Fatal("it does not go on")
	}
}

func TestAnEntryOfANewerVersionStopsTheLedger(t *testing.T) {
	fs := vfs.NewMem()
	b := mustOpen(t, fs)
	var told []error
	b.ledger.config.Stopped = func(err error) { told = append(told, err) }
	newer := log(2, ensure(now, 1, 20))
	newer.Data[0] = 99
	got := b.ledger.ApplyBatch([]*raft.Log{log(1, ensure(now, 1, 10)), newer})
	for _, answer := range append(got, b.ledger.Apply(log(3, ensure(now, 1, 30)))) {
		if err, ok := answer.(error); !ok || !errors.Is(err, quota.ErrVersion) {
			t.Fatal(answer)
		}
	}
	_, err := b.ledger.Snapshot()
	if len(told) != 1 || b.ledger.Applied() != 0 || !errors.Is(err, quota.ErrVersion) || !errors.Is(b.ledger.Err(), quota.ErrVersion) {
		t.Fatal(told, b.ledger.Applied(), err)
	}
}

func TestForgottenWindowsLeaveTheDatabase(t *testing.T) {
	b := mustOpen(t, vfs.NewMem())
	count := func() (n int) {
		if err := b.ledger.Each(func(*Counter) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	const hour, day = int64(3_600_000), int64(86_400_000)
	end := (now/day + 1) * day
	index := uint64(0)
	at := func(ms int64, key uint64) {
		index++
		if _, ok := b.ledger.Apply(log(index, ensure(ms, key, 1))).([]quota.Result); !ok {
			t.Fatal("not applied")
		}
	}
	at(now, 1)
	at(now, 2)
	at(end+day, 3)
	if n := count(); n != 3 {
		t.Fatal(n)
	}
	at(end+2*day-hour, 3) // 48 hours after its end, less one
	if n := count(); n != 3 {
		t.Fatal(n)
	}
	at(end+2*day+hour, 3)
	if n := count(); n != 1+1 {
		t.Fatalf("%d counters are left, of which two were forgotten", n)
	}
	err := errors.New("enough")
	if got := b.ledger.Each(func(*Counter) error { return err }); !errors.Is(got, err) {
		t.Fatal(got)
	}
}

// A sink keeps a snapshot in memory.
type sink struct {
	bytes.Buffer
	failAfter           int
	closed, wasCanceled bool
}

func (s *sink) Write(b []byte) (int, error) {
	if s.failAfter > 0 && s.Len()+len(b) > s.failAfter {
		return 0, errors.New("no room")
	}
	return s.Buffer.Write(b)
}
func (s *sink) ID() string    { return "sink" }
func (s *sink) Close() error  { s.closed = true; return nil }
func (s *sink) Cancel() error { s.wasCanceled = true; return nil }

func persist(t *testing.T, l *Ledger) []byte {
	t.Helper()
	snap, err := l.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	var s sink
	if err := snap.Persist(&s); err != nil || !s.closed || s.wasCanceled {
		t.Fatal(err)
	}
	return s.Bytes()
}

func reader(b []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(b)) }

// filled returns a ledger with n counters.
func filled(t *testing.T, n int) *bench {
	t.Helper()
	b := mustOpen(t, vfs.NewMem())
	for i := 0; i < n; i += 100 {
		batch := quota.Batch{At: now}
		for j := range min(100, n-i) {
			batch.Commands = append(batch.Commands, ensure(now, uint64(i+j+1), 5).Commands...)
		}
		b.ledger.Apply(log(uint64(i/100+1), &batch))
	}
	return b
}

func TestASnapshotComesBackAsItWas(t *testing.T) {
	for _, n := range []int{0, 1, 5000} {
		from := filled(t, n)
		want, err := dump(from.ledger)
		if err != nil {
			t.Fatal(err)
		}
		snap, err := from.ledger.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		from.ledger.Apply(log(1000, ensure(now, 1, 50))) // after the snapshot
		var s sink
		if err := snap.Persist(&s); err != nil {
			t.Fatal(err)
		}
		snap.Release()
		to := filled(t, 777)
		covered, err := to.ledger.Covers(bytes.NewReader(s.Bytes()))
		if err != nil || covered != (n < 700) {
			t.Fatal(covered, err)
		}
		for range 2 {
			if err := to.ledger.Restore(reader(s.Bytes())); err != nil {
				t.Fatal(err)
			}
			if got, err := dump(to.ledger); err != nil || got != want {
				t.Fatalf("%d counters: %v, or they differ", n, err)
			}
		}
		if covered, err := to.ledger.Covers(bytes.NewReader(s.Bytes())); !covered || err != nil {
			t.Fatal(covered, err)
		}
	}
}

func TestADamagedSnapshotChangesNothing(t *testing.T) {
	whole := persist(t, filled(t, 3000).ledger)
	other := bytes.Clone(whole)
	to := filled(t, 10)
	want, err := dump(to.ledger)
	if err != nil {
		t.Fatal(err)
	}
	other[len(streamMagic)] = 9
	tries := map[string][]byte{
		"newer version": other, "empty": {}, "cut off": whole[:len(whole)-1], "half": whole[:len(whole)/2],
		"followed by more": append(bytes.Clone(whole), 0), "something else": []byte("this is not a snapshot of anything"),
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		b := bytes.Clone(whole)
		at := rng.IntN(len(b))
		b[at] ^= 1 << rng.IntN(8)
		tries[fmt.Sprintf("a bit of byte %d", at)] = b
	}
	for name, b := range tries {
		if err := to.ledger.Restore(reader(b)); err == nil {
			t.Fatalf("%s: restored", name)
		} else if name == "newer version" && !errors.Is(err, errNewerSnapshot) {
			t.Fatal(err)
		}
		if got, err := dump(to.ledger); err != nil || got != want {
			t.Fatalf("%s: %v, or it changed:\n%s", name, err, got)
		}
	}
	if _, err := to.ledger.Covers(bytes.NewReader(other)); err == nil {
		t.Fatal("covered")
	}
}

func TestASnapshotOfAnotherGroupIsRefused(t *testing.T) {
	b := filled(t, 1)
	other, err := Open(Config{DB: b.db, Group: 4})
	if err != nil {
		t.Fatal(err)
	}
	whole := persist(t, b.ledger)
	if err := other.Restore(reader(whole)); err == nil || !strings.Contains(err.Error(), "it is of group 3") {
		t.Fatal(err)
	}
	if _, err := other.Covers(bytes.NewReader(whole)); err == nil {
		t.Fatal("covered")
	}
	n := 0
	if err := other.Each(func(*Counter) error { n++; return nil }); err != nil || n > 0 || other.Applied() != 0 {
		t.Fatal(n, err)
	}
}

func TestASinkThatFailsIsCanceled(t *testing.T) {
	snap, err := filled(t, 3000).ledger.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	s := sink{failAfter: 70_000}
	if err := snap.Persist(&s); err == nil || s.closed || !s.wasCanceled {
		t.Fatal(err, s.closed, s.wasCanceled)
	}
}

func FuzzRestore(f *testing.F) {
	mem := vfs.NewMem()
	b, err := open(mem)
	if err != nil {
		f.Fatal(err)
	}
	snap := func() []byte {
		v, err := b.ledger.Snapshot()
		if err != nil {
			f.Fatal(err)
		}
		defer v.Release()
		var s sink
		if err := v.Persist(&s); err != nil {
			f.Fatal(err)
		}
		return s.Bytes()
	}
	f.Add(snap())
	b.ledger.Apply(log(1, ensure(now, 1, 50)))
	f.Add(snap())
	f.Fuzz(func(_ *testing.T, stream []byte) {
		r, _, err := newStreamReader(bytes.NewReader(stream))
		if err != nil {
			return
		}
		var h head
		var g quota.Group
		_ = r.each(func(key, value []byte) error { return readRecord(key, value, &h, &g) })
	})
}

func FuzzReadRecord(f *testing.F) {
	var g quota.Group
	name := appendName(nil, poolName{limiter.Key{Hi: 1, Lo: 2}, quota.Window{Start: 60, End: 120, Rolling: 4}})
	request := quota.Request{Op: quota.OpSpend, Cost: 4}
	f.Add([]byte{recordHead}, appendHead(nil, head{7, 8, 9}, &g))
	f.Add([]byte{recordTenure, 1, 2}, []byte{3})
	f.Add(append([]byte{recordPool}, name...), (&quota.Pool{}).AppendTo(nil))
	f.Add(appendID(append([]byte{recordRequest}, name...), limiter.Key{}), request.AppendTo(nil))
	block := blockWriter{}
	block.add(requestName{id: limiter.Key{Lo: 3}, pool: poolName{window: quota.Window{End: 60}}}, &request)
	block.add(requestName{pool: poolName{window: quota.Window{End: 60}}}, &request)
	block.add(requestName{pool: poolName{window: quota.Window{End: 120}}}, &request)
	f.Add([]byte{recordBlock, 0, 0, 0, 0, 0, 9, 0, 0}, block.value)
	f.Add(appendID(append([]byte{recordDue, 0, 0, 0, 0, 0, 9}, name...), limiter.Key{}), []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		var h head
		var g quota.Group
		if err := readRecord(key, value, &h, &g); err != nil {
			return
		}
		switch key[0] {
		case recordBlock:
			var again blockWriter
			if err := eachInBlock(value, func(i *blockItem) error { again.add(i.name, &i.request); return nil }); err != nil {
				t.Fatal(err)
			}
			if err := readRecord(key, again.value, &h, &g); err != nil || len(again.value) > len(value) {
				t.Fatalf("%x was read as %x: %v", value, again.value, err)
			}
		case recordPool:
			n, err := parseName(key[1:])
			if err != nil || !bytes.Equal(appendName(nil, n), key[1:]) {
				t.Fatalf("%x was read as %v", key, n)
			}
		case recordRequest:
			n, err := parseRequestName(key[1:])
			if err != nil || !bytes.Equal(appendRequestName(nil, n), key[1:]) {
				t.Fatalf("%x was read as %v", key, n)
			}
		}
	})
}

func TestARequestIsDeletedOnlyWhenItIsForgotten(t *testing.T) {
	for _, q := range []quota.Request{
		{Op: quota.OpSpend, Changed: now},
		{Op: quota.OpSpend, Changed: now + 999},
		{Op: quota.OpHold, Changed: now, Until: now + 5500},
		{Op: quota.OpHold, Changed: now + 1, Until: now},
		{Op: quota.OpHold, Changed: now + 1, Until: now + 86_400_000, Settled: true},
		{Op: quota.OpSpend, Changed: now, Unasked: true},
	} {
		at := due(&q) * 1000
		if !q.Forgotten(at) || q.Forgotten(at-2000) {
			t.Errorf("%+v is due at %d", q, at)
		}
	}
}

func TestForgottenRequestsLeaveTheDatabase(t *testing.T) {
	b := mustOpen(t, vfs.NewMem())
	index := uint64(0)
	spend := func(at int64, from, to uint64) {
		e := ensure(at, 1, 0)
		c := e.Commands[0]
		c.Op, c.Cost, c.Holder = quota.OpSpend, 1, quota.Holder{}
		c.Version, c.Limit = 1, limiter.AmountMax
		e.Commands = nil
		for id := from; id < to; id++ {
			c.Request.Lo = id
			e.Commands = append(e.Commands, c)
		}
		index++
		if r, ok := b.ledger.Apply(log(index, e)).([]quota.Result); !ok || r[0].Code != quota.OK {
			t.Fatal(r)
		}
		if _, err := dump(b.ledger); err != nil { // it also counts
			t.Fatal(err)
		}
	}
	for i := range uint64(6) {
		spend(now, i*1000, i*1000+1000)
	}
	spend(now+590_000, 0, 10) // asked again: nothing changes
	if n := b.ledger.head.requests; n != 6000 {
		t.Fatal(n)
	}
	spend(now+620_000, 6000, 6001)
	if n := b.ledger.head.requests; n > 6001-sweepMax || n < 6001-sweepMax-blockBytes/idBytes {
		t.Fatalf("%d are left, of %d of which about %d may be deleted at once", n, 6001, sweepMax)
	}
	spend(now+620_001, 6001, 6002)
	if n := b.ledger.head.requests; n != 2 {
		t.Fatal(n)
	}
}

func TestTheLeaderAnswersBusyWhenTooManyRequestsAreRemembered(t *testing.T) {
	b := mustOpen(t, vfs.NewMem())
	c := ensure(now, 1, 0).Commands[0]
	c.Op, c.Cost, c.Request.Lo = quota.OpSpend, 1, 7
	b.ledger.Apply(log(1, &quota.Batch{At: now, Commands: []quota.Command{c}}))
	b.ledger.head.requests = quota.RequestsMax
	if r, ok, err := b.ledger.Answer(&c); !ok || err != nil || r.Code != quota.OK || r.Charged != 1 {
		t.Fatal("one that is remembered:", r, ok, err)
	}
	c.Request.Lo = 8
	if r, ok, err := b.ledger.Answer(&c); !ok || err != nil || r.Code != quota.Busy {
		t.Fatal(r, ok, err)
	}
	b.ledger.head.requests--
	if r, ok, err := b.ledger.Answer(&c); ok || err != nil {
		t.Fatal(r, ok, err)
	}
}

func TestCountersAreReadOnFromAnyOfThem(t *testing.T) {
	b := filled(t, 250)
	var all []Counter
	if err := b.ledger.Each(func(c *Counter) error { all = append(all, *c); return nil }); err != nil || len(all) != 250 {
		t.Fatal(len(all), err)
	}
	enough := errors.New("enough")
	for _, i := range []int{0, 100, 248, 249} {
		var next []limiter.Key
		err := b.ledger.EachAfter(all[i].Key, all[i].Window, func(c *Counter) error {
			if next = append(next, c.Key); len(next) == 2 {
				return enough
			}
			return nil
		})
		want := all[i+1 : min(i+3, 250)]
		if errors.Is(err, enough) != (len(want) == 2) || len(next) != len(want) {
			t.Fatalf("behind %d: %v, %v", i, next, err)
		}
		for j := range want {
			if next[j] != want[j].Key {
				t.Errorf("behind %d: %v, want %v", i, next[j], want[j].Key)
			}
		}
	}
}
