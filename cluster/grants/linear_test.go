package grants_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/consensus/consensustest"
	"github.com/headgate/headgate/cluster/grants"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage/raftlog"
)

var (
	histories = flag.Int("histories", 6, "histories of exact mode, each from a seed of its own")
	firstSeed = flag.Uint64("seed", 1, "the seed of the first of them")
)

const (
	exactAmount  = 60
	exactClients = 9 // three at each node
	exactWindow  = quota.TimeMax
	// exactStart is when the window began: the year 2000, in which simulated time begins. A
	// leader that could not ask the others for their clocks yet has a new group's time at
	// 1970, in which no real window is open.
	exactStart = 946_684_800
)

// An arena is three nodes, some counters of exact mode, and clients that keep what they
// saw.
type arena struct {
	network  *consensustest.Network
	stations []*station
	alive    [3]atomic.Pointer[grants.Driver] // nil: the node is down
	counters []*exactCounter
}

// An exactCounter is one counter and what was asked of it.
type exactCounter struct {
	key limiter.Key
	history

	asked sync.Mutex
	made  []question          // spends and holds so far
	named []call              // those of them that were made under an id of the caller's
	other map[limiter.Key]int // the ids of those that were not, by the names that nodes gave them
}

// newArena starts three nodes. change, if any, puts something between them and what they
// stand on.
func newArena(t *testing.T, rng *rand.Rand, change func(*station)) *arena {
	t.Helper()
	a := &arena{network: consensustest.New()}
	for i := range 4 {
		a.counters = append(a.counters, &exactCounter{key: of(uint32(i%2), i), other: map[limiter.Key]int{}})
	}
	for _, id := range []string{"a", "b", "c"} {
		s := newStation(id)
		s.slow = slowly(rng.Uint64())
		if change != nil {
			change(s)
		}
		a.witness(s)
		a.stations = append(a.stations, s)
	}
	for i := range a.stations {
		a.start(t, i)
	}
	return a
}

// A slowLog is on a disk whose syncs take up to 3 ms, and now and then up to 100. It is the
// log that is slow, not the files: nobody waits for a lock meanwhile, which simulated time
// would not wait for.
type slowLog struct {
	*raftlog.Log
	mu  sync.Mutex
	rng *rand.Rand
}

// slowly returns what makes logs slow.
func slowly(seed uint64) func(*raftlog.Log) raft.LogStore {
	return func(log *raftlog.Log) raft.LogStore {
		return &slowLog{Log: log, rng: rand.New(rand.NewPCG(seed, 0))}
	}
}

func (l *slowLog) wait() {
	l.mu.Lock()
	most := 3
	if l.rng.IntN(50) == 0 {
		most = 100
	}
	wait := time.Duration(l.rng.IntN(most)) * time.Millisecond
	l.mu.Unlock()
	time.Sleep(wait)
}

// StoreLog implements raft.LogStore.
func (l *slowLog) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore.
func (l *slowLog) StoreLogs(entries []*raft.Log) error {
	l.wait()
	return l.Log.StoreLogs(entries)
}

// witness has the histories note what a station's driver got no answer to: it sends that
// again, so that it may be done before what is answered in the end.
func (a *arena) witness(s *station) {
	groups := s.groups
	s.groups = func(n *consensus.Node) grants.Groups {
		if groups != nil {
			return witnessed{groups(n), a}
		}
		return witnessed{n, a}
	}
	s.forward = func(send forward) forward {
		return func(ctx context.Context, to consensus.Server, parts []*grants.Part) {
			asked := a.numbers()
			send(ctx, to, parts)
			for _, p := range parts {
				if p.Err != nil {
					a.unanswered(p.Commands, asked)
				}
			}
		}
	}
}

// witnessed are groups whose proposals that fail are noted.
type witnessed struct {
	grants.Groups
	arena *arena
}

// Propose implements grants.Groups.
func (w witnessed) Propose(ctx context.Context, group uint32, entry []byte) (any, error) {
	asked := w.arena.numbers()
	answer, err := w.Groups.Propose(ctx, group, entry)
	if err != nil {
		var b quota.Batch
		if err := quota.DecodeBatch(entry, &b); err != nil {
			return nil, err
		}
		w.arena.unanswered(b.Commands, asked)
	}
	return answer, err
}

// numbers returns the present number of each counter's history.
func (a *arena) numbers() (asked []int64) {
	for _, c := range a.counters {
		asked = append(asked, c.now())
	}
	return asked
}

// unanswered notes commands that were sent at these numbers and not answered.
func (a *arena) unanswered(commands []quota.Command, asked []int64) {
	for i := range commands {
		for j, c := range a.counters {
			if m := &commands[i]; m.Key == c.key && (m.Cost > 0 || m.Op == quota.OpSettle) {
				c.add(-1, question{m.Op, c.idOf(m.Request), uint8(m.Cost)}, asked[j], reply{})
			}
		}
	}
}

// nameOf returns what the ledger knows the request with an id by.
func nameOf(id int) limiter.Key { return limiter.Key{Hi: 2 * (uint64(id) + 1)} }

// idOf returns the id of a request that is known by a name; one that a node made up is
// given one.
func (c *exactCounter) idOf(name limiter.Key) int {
	if name == quota.Named(name) {
		return int(name.Hi/2) - 1
	}
	c.asked.Lock()
	defer c.asked.Unlock()
	id, known := c.other[name]
	if !known {
		id = len(c.made)
		c.made = append(c.made, question{})
		c.other[name] = id
	}
	return id
}

func (a *arena) start(t *testing.T, i int) {
	t.Helper()
	var voters []consensus.Server
	for _, s := range a.stations {
		voters = append(voters, consensus.Server{ID: s.id, Addr: s.id})
	}
	a.stations[i].start(t, a.network, voters)
	a.alive[i].Store(a.stations[i].driver)
}

func (a *arena) stop(t *testing.T, i int) {
	t.Helper()
	a.alive[i].Store(nil)
	a.stations[i].stop(t)
}

// cutPower takes a node off the network, has its disk lose what is not synced, and starts
// it again.
func (a *arena) cutPower(t *testing.T, i int) {
	t.Helper()
	s := a.stations[i]
	a.network.Isolate(s.id)
	lost := s.fs.CrashClone(vfs.CrashCloneCfg{})
	a.stop(t, i)
	s.fs = lost
	a.network.Heal(s.id)
	a.start(t, i)
}

// ask asks a counter by way of a node. sent is false if nothing was: the node is down.
func (a *arena) ask(node int, c *exactCounter, q question) (r reply, sent bool) {
	command := quota.Command{
		Op: q.op, Key: c.key, Window: quota.Window{Start: exactStart, End: exactWindow}, Version: 1, Limit: exactAmount,
		Request: nameOf(q.id), Cost: uint64(q.cost), Until: time.Now().Add(time.Hour).UnixMilli(),
	}
	driver := a.alive[node].Load()
	if driver == nil {
		return reply{}, false
	}
	answered := make(chan reply, 1)
	err := driver.Submit(command, func(_ *quota.Command, r quota.Result, err error) {
		if err != nil {
			r = quota.Result{}
		}
		answered <- reply{r.Code, r.Charged, r.Free}
	})
	if err != nil {
		return reply{}, false
	}
	select {
	case r = <-answered:
		if r.code == 0 || r.code == quota.Early { // the latter did nothing, and is asked again
			r = reply{}
		}
	case <-time.After(1500 * time.Millisecond):
	}
	return r, true
}

// next makes up what to ask of a counter next.
func (c *exactCounter) next(rng *rand.Rand) question {
	c.asked.Lock()
	defer c.asked.Unlock()
	if n := len(c.made); n == 0 || n < requestsMax && rng.IntN(3) > 0 {
		q := question{quota.OpSpend, n, 1 + uint8(rng.IntN(6))}
		if rng.IntN(4) == 0 {
			q.op = quota.OpHold
		}
		c.made = append(c.made, q)
		return q
	}
	q := c.made[rng.IntN(len(c.made))]
	switch rng.IntN(8) {
	case 0: // again, for what it was
	case 1:
		q.cost++ // with the same id, another
	default:
		q.op, q.cost = quota.OpSettle, uint8(rng.IntN(8))
	}
	return q
}

// client asks until ctx ends. What it gets no answer to it asks again, with the same id
// and by way of another node, a few times; and some answers it does not hear.
func (a *arena) client(ctx context.Context, id int, rng *rand.Rand) {
	node := id % 3
	for ctx.Err() == nil {
		c := a.counters[rng.IntN(len(a.counters))]
		q := c.next(rng)
		for range 1 + rng.IntN(6) {
			asked := c.now()
			r, sent := a.ask(node, c, q)
			if rng.IntN(12) == 0 {
				r = reply{} // lost between the node and the client
			}
			if sent {
				c.add(id, q, asked, r)
			}
			if r != (reply{}) {
				break
			}
			node = (node + 1) % 3
			time.Sleep(time.Duration(rng.IntN(50)) * time.Millisecond)
		}
		time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
	}
}

// trouble cuts cables and power and moves leaders for a while.
func (a *arena) trouble(t *testing.T, rng *rand.Rand, rounds int) {
	t.Helper()
	for range rounds {
		i, group := rng.IntN(3), uint32(rng.IntN(2))
		id, other := a.stations[i].id, a.stations[(i+1)%3].id
		if rng.IntN(2) == 0 {
			for j, s := range a.stations {
				if s.raft.Leads(group) {
					i, id, other = j, s.id, a.stations[(j+1)%3].id
				}
			}
		}
		span := time.Duration(200+rng.IntN(1200)) * time.Millisecond
		switch rng.IntN(5) {
		case 0, 1:
			a.network.Isolate(id)
			time.Sleep(span)
			a.network.Heal(id)
		case 2:
			a.network.Sever(id, other)
			time.Sleep(span)
			a.network.Mend(id, other)
		case 3:
			a.cutPower(t, i)
		case 4:
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_ = a.stations[i].raft.Transfer(ctx, group, consensus.Server{})
			cancel()
		}
		time.Sleep(time.Duration(rng.IntN(800)) * time.Millisecond)
	}
}

// run has clients ask commands through all that, in simulated time.
func run(t *testing.T, seed uint64, change func(*station)) (counters []*exactCounter) {
	t.Helper()
	return inTrouble(t, rand.NewPCG(seed, 1), change, func(_ *testing.T, a *arena) client { return a.client })
}

// A client asks until ctx ends.
type client = func(ctx context.Context, id int, rng *rand.Rand)

// inTrouble has clients of an arena ask while all that happens.
func inTrouble(t *testing.T, source *rand.PCG, change func(*station), of func(*testing.T, *arena) client) (counters []*exactCounter) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(source)
		a := newArena(t, rng, change)
		ask := of(t, a)
		ctx, cancel := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		for id := range exactClients {
			own := rand.New(rand.NewPCG(rng.Uint64(), 0))
			clients.Go(func() { ask(ctx, id, own) })
		}
		a.trouble(t, rng, 6)
		cancel()
		clients.Wait()
		for i := range a.stations {
			a.stop(t, i)
		}
		counters = a.counters
	})
	return counters
}

// TestExactDecisionsAreThoseOfOneCounter has clients at three nodes spend, hold and settle
// in exact mode while leaders are lost, cables cut, disks slow and power cuts take what
// was not synced; they ask again, with the same id, what they got no answer to. What all
// of them heard, and when, is what one counter would answer that is asked one question
// at a time: at most the amount, and each request once.
func TestExactDecisionsAreThoseOfOneCounter(t *testing.T) {
	areOfOneCounter(t, func(t *testing.T, seed uint64) []*exactCounter {
		t.Helper()
		return run(t, seed, nil)
	})
}

// areOfOneCounter checks histories from the first seed on.
func areOfOneCounter(t *testing.T, history func(t *testing.T, seed uint64) []*exactCounter) {
	t.Helper()
	n := uint64(*histories)
	if testing.Short() {
		n = (n + 4) / 5
	}
	for seed := *firstSeed; seed < *firstSeed+n; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			answers := 0
			for i, c := range history(t, seed) {
				result, n := c.check(t, exactAmount)
				if answers += n; result != porcupine.Ok {
					t.Errorf("counter %d: %s: no counter of %d answers so:\n%v", i, result, exactAmount, c)
				}
			}
			if answers < 80 {
				t.Errorf("only %d answers", answers)
			}
			t.Logf("%d answers", answers)
		})
	}
}

// A faulty machine is a ledger that changes what it is given, or what it answers.
type faulty struct {
	raft.BatchingFSM
	before func(index uint64, c *quota.Command)
	after  func(index uint64, c *quota.Command, r *quota.Result)
}

// ApplyBatch implements raft.BatchingFSM.
func (f faulty) ApplyBatch(entries []*raft.Log) []any {
	changed := slices.Clone(entries)
	batches := make([]quota.Batch, len(entries))
	for i, e := range entries {
		if e.Type != raft.LogCommand || quota.DecodeBatch(e.Data, &batches[i]) != nil {
			continue
		}
		for j := range batches[i].Commands {
			f.before(e.Index, &batches[i].Commands[j])
		}
		copied := *e
		copied.Data = batches[i].AppendTo(nil)
		changed[i] = &copied
	}
	answers := f.BatchingFSM.ApplyBatch(changed)
	for i := range answers {
		results, _ := answers[i].([]quota.Result)
		for j := range results {
			f.after(changed[i].Index, &batches[i].Commands[j], &results[j])
		}
	}
	return answers
}

// old answers from a state that may be old: once leader, always leader.
type old struct {
	*consensus.Node
	led *[quota.Groups]atomic.Bool
}

// Leads implements grants.Groups.
func (o old) Leads(group uint32) bool {
	if o.Node.Leads(group) {
		o.led[group].Store(true)
	}
	return o.led[group].Load()
}

// Current implements grants.Groups.
func (o old) Current(group uint32) bool { return o.Leads(group) }

// TestTheCheckOfExactModeFindsBrokenNodes plants faults that the histories must show.
func TestTheCheckOfExactModeFindsBrokenNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("what the check is worth is shown without the race detector")
	}
	nothing := func(uint64, *quota.Command, *quota.Result) {}
	machine := func(before func(uint64, *quota.Command), after func(uint64, *quota.Command, *quota.Result)) func(*station) {
		return func(s *station) {
			s.machine = func(l raft.BatchingFSM) raft.FSM { return faulty{l, before, after} }
		}
	}
	for _, tc := range []struct {
		name  string
		plant func(*station)
	}{
		{"a ledger that forgets which requests it has seen", machine(func(index uint64, c *quota.Command) {
			if c.Op == quota.OpSpend {
				c.Request.Lo = index
			}
		}, nothing)},
		{"a ledger that loses one spend in eight, and says that it is done", machine(func(index uint64, c *quota.Command) {
			if c.Op == quota.OpSpend && index%8 == 0 {
				c.Cost = 0
			}
		}, func(index uint64, c *quota.Command, r *quota.Result) {
			if c.Op == quota.OpSpend && index%8 == 0 && r.Code == quota.OK {
				r.Charged = 1
			}
		})},
		{"a ledger that lets one more in than there is", machine(func(_ uint64, c *quota.Command) {
			c.Limit++
		}, nothing)},
		{"a node that goes on as the leader that it was", func(s *station) {
			led := new([quota.Groups]atomic.Bool)
			s.groups = func(n *consensus.Node) grants.Groups { return old{n, led} }
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			areNoticed(t, func(seed uint64) []*exactCounter { return run(t, seed, tc.plant) })
		})
	}
}

// areNoticed checks that one of a few histories is of no counter.
func areNoticed(t *testing.T, history func(seed uint64) []*exactCounter) {
	t.Helper()
	for seed := range uint64(8) {
		for i, c := range history(seed) {
			if result, _ := c.check(t, exactAmount); result == porcupine.Illegal {
				t.Logf("seed %d shows it at counter %d", seed, i)
				return
			}
		}
	}
	t.Error("nobody noticed")
}
