package grants_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/grants"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type poolID struct {
	key    limiter.Key
	window quota.Window
}

// A state is one group's state in memory: what a store keeps on disk.
type state struct {
	mu      sync.Mutex
	group   quota.Group
	pools   map[poolID]*quota.Pool
	entries []quota.Batch // all that was applied
}

func newState() *state { return &state{pools: map[poolID]*quota.Pool{}} }

// apply applies an entry of the log.
func (l *state) apply(entry []byte) any {
	var b quota.Batch
	if err := quota.DecodeBatch(entry, &b); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, b)
	at := l.group.Begin(&b)
	results := make([]quota.Result, len(b.Commands))
	for i := range b.Commands {
		c := &b.Commands[i]
		code, _, _ := l.group.Receive(c)
		if code != quota.OK {
			results[i].Code = code
			continue
		}
		results[i] = l.pool(c).Apply(at, c)
	}
	return results
}

func (l *state) pool(c *quota.Command) *quota.Pool {
	id := poolID{c.Key, c.Window}
	if l.pools[id] == nil {
		l.pools[id] = &quota.Pool{}
	}
	return l.pools[id]
}

func (l *state) answer(c *quota.Command) (quota.Result, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if code := l.group.Refuses(c); code != quota.OK {
		return quota.Result{Code: code}, true
	}
	return l.pool(c).Answer(c)
}

func (l *state) time() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.group.Time()
}

func (l *state) clock() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.group.Clock()
}

func (l *state) sizes() (sizes []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.entries {
		sizes = append(sizes, len(b.Commands))
	}
	return sizes
}

// outstanding returns what is granted of a key and not returned.
func (l *state) outstanding(k limiter.Key) (units uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, p := range l.pools {
		if id.key == k {
			units += p.Outstanding()
		}
	}
	return units
}

// The ledger as raft's state machine.

func (l *state) Apply(e *raft.Log) any { return l.apply(e.Data) }

func (l *state) Snapshot() (raft.FSMSnapshot, error) {
	return nil, errors.New("the test is too short for a snapshot")
}

func (l *state) Restore(rc io.ReadCloser) error { return rc.Close() }

// ledgers are those of a node.
type ledgers [quota.Groups]*state

func newLedgers() *ledgers {
	var ls ledgers
	for g := range ls {
		ls[g] = newState()
	}
	return &ls
}

func (ls *ledgers) Time(group uint32) int64 { return ls[group].time() }

func (ls *ledgers) Clock(group uint32) int64 { return ls[group].clock() }

func (ls *ledgers) Answer(group uint32, c *quota.Command) (quota.Result, bool) {
	return ls[group].answer(c)
}

// groups are Raft groups that one node leads, without Raft.
type groups struct {
	*ledgers
	mu     sync.Mutex
	leader consensus.Server
	voters []consensus.Server
	gate   chan struct{} // nil: open; otherwise proposals wait until it is closed
	fails  error         // what the next proposals come to
	lost   bool          // whether failing ones are applied nevertheless
}

func newGroups() *groups {
	a := consensus.Server{ID: "a", Addr: "a:1"}
	return &groups{ledgers: newLedgers(), leader: a, voters: []consensus.Server{a}}
}

func (g *groups) Propose(ctx context.Context, group uint32, entry []byte) (any, error) {
	g.mu.Lock()
	gate, fails, lost := g.gate, g.fails, g.lost
	g.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if fails != nil && !lost {
		return nil, fails
	}
	answer := g.ledgers[group].apply(bytes.Clone(entry))
	if fails != nil {
		return nil, fails
	}
	return answer, nil
}

func (g *groups) Leads(group uint32) bool {
	l, known := g.Leader(group)
	return known && l.ID == "a"
}

func (g *groups) Current(group uint32) bool { return g.Leads(group) }

func (g *groups) Leader(uint32) (consensus.Server, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.leader, g.leader.ID != ""
}

func (g *groups) Voters(uint32) []consensus.Server {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.voters
}

func (g *groups) set(change func(*groups)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(g)
}

// hold makes proposals wait until the returned function is called.
func (g *groups) hold() (release func()) {
	gate := make(chan struct{})
	g.set(func(g *groups) { g.gate = gate })
	return func() {
		g.set(func(g *groups) { g.gate = nil })
		close(gate)
	}
}

// settings returns the driver's settings over the groups, in real or simulated time.
func settings(g *groups) grants.Config {
	start := time.Now()
	return grants.Config{
		ID: "a", Groups: g, Ledger: g.ledgers,
		Now:  func() limiter.Instant { return limiter.Instant(time.Since(start)) + 1 },
		Wall: func() int64 { return time.Now().UnixMilli() },
	}
}

func start(t *testing.T, cfg grants.Config) *grants.Driver {
	t.Helper()
	d, err := grants.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func stop(t *testing.T, d *grants.Driver) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := d.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// of returns a key of the group, the i-th.
func of(group uint32, i int) limiter.Key {
	return limiter.Key{Hi: uint64(group)<<61 | uint64(i), Lo: 1}
}

// today is a window around now.
func today() quota.Window {
	now := time.Now().Unix()
	return quota.Window{Start: now - 3600, End: now + 24*3600}
}

// ensure asks for up to n units of a counter of 100.
func ensure(k limiter.Key, floor, target uint64) quota.Command {
	return quota.Command{
		Op: quota.OpEnsure, Key: k, Window: today(), Version: 1, Limit: 100,
		Holder: quota.Holder{Partition: k.Partition(), Tenure: 1}, Floor: floor, Target: target,
	}
}

// An answer is what a Done was told.
type answer struct {
	r   quota.Result
	err error
}

// ask submits a command and waits for its answer.
func ask(t *testing.T, d *grants.Driver, c quota.Command) answer {
	t.Helper()
	told := make(chan answer, 1)
	if err := d.Submit(c, func(_ *quota.Command, r quota.Result, err error) { told <- answer{r, err} }); err != nil {
		t.Fatal(err)
	}
	return <-told
}
