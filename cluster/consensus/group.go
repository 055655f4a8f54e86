package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// logCacheEntries is how many of the newest entries of a group are kept in memory
// for its followers.
const logCacheEntries = 512

// catchUp is how long after a silent follower's first heartbeat the leader may
// still pause before it sends an entry: raft's longest pause is 10.24 s.
const catchUp = 11 * time.Second

// A group is one Raft group's share in this node.
type group struct {
	id   uint32
	cfg  *Config
	raft *raft.Raft
	log  raft.LogStore // for its figures: raft has it

	changed chan struct{} // holds one: somebody else may lead
	counts  counters
	opened  atomic.Bool   // raft is set
	ended   atomic.Bool   // the node stops
	settled atomic.Uint64 // the term of the last entry of ours that was applied; 0: one may be on its way

	mu       sync.Mutex
	stopping bool                 // no call is accepted any more
	inflight int                  // accepted calls that raft has not answered
	idle     chan struct{}        // closed when stopping and nothing is in flight
	silent   map[string]time.Time // followers by when they are reliable again; zero: they are silent
}

// openGroup opens the group's stores and starts it over the stream, which is
// closed if that fails.
func openGroup(cfg *Config, s *stream) (*group, error) {
	g := &group{
		id: s.group, cfg: cfg,
		changed: make(chan struct{}, 1), idle: make(chan struct{}), silent: make(map[string]time.Time),
	}
	stores, err := cfg.Stores(g.id)
	if err != nil {
		return nil, fmt.Errorf("consensus: open stores of group %d: %w", g.id, err)
	}
	fsm, err := cfg.FSM(g.id)
	if err != nil {
		return nil, fmt.Errorf("consensus: open state machine of group %d: %w", g.id, err)
	}
	log, err := raft.NewLogCache(logCacheEntries, stores.Log)
	if err != nil {
		return nil, fmt.Errorf("consensus: open log of group %d: %w", g.id, err)
	}
	g.log = log
	logger := cfg.Events.logger(g.id, &g.ended)
	trans := newEntrance(raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: s, MaxPool: 3, Timeout: cfg.IOTimeout, Logger: logger, ServerAddressProvider: cfg.provider(),
	}), log)
	rc := g.raftConfig()
	rc.Logger, rc.NoSnapshotRestoreOnStart = logger, stores.Restored
	if err = g.bootstrap(rc, stores, trans); err == nil {
		g.raft, err = raft.NewRaft(rc, watched(fsm, &g.counts), followed{log, g}, stores.Stable, stores.Snapshots, trans)
	}
	if err != nil {
		_ = trans.Close()
		return nil, fmt.Errorf("consensus: start group %d: %w", g.id, err)
	}
	g.opened.Store(true)
	g.raft.RegisterObserver(raft.NewObserver(nil, false, g.observe))
	g.wake()
	if g.alone() {
		g.stand(rc)
	}
	return g, nil
}

// raftConfig returns the group's settings as raft takes them.
func (g *group) raftConfig() *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(g.cfg.ID)
	rc.HeartbeatTimeout, rc.ElectionTimeout = g.cfg.Heartbeat, g.cfg.Heartbeat
	rc.LeaderLeaseTimeout = g.cfg.Lease
	rc.CommitTimeout = g.cfg.CommitInterval
	rc.MaxAppendEntries = g.cfg.BatchMax
	rc.BatchApplyCh = true
	rc.ShutdownOnRemove = false // whoever removed the node stops it
	rc.SnapshotInterval = g.cfg.SnapshotInterval
	rc.SnapshotThreshold = g.cfg.SnapshotThreshold
	rc.TrailingLogs = g.cfg.TrailingLogs
	rc.NoLegacyTelemetry = true
	return rc
}

// bootstrap writes the first voters to a group that is empty.
func (g *group) bootstrap(rc *raft.Config, s Stores, trans raft.Transport) error {
	if len(g.cfg.Bootstrap) == 0 {
		return nil
	}
	var first raft.Configuration
	for _, v := range g.cfg.Bootstrap {
		first.Servers = append(first.Servers, raft.Server{ID: raft.ServerID(v.ID), Address: raft.ServerAddress(v.Addr)})
	}
	err := raft.BootstrapCluster(rc, s.Log, s.Stable, s.Snapshots, trans, first)
	if errors.Is(err, raft.ErrCantBootstrap) { // it has voters
		return nil
	}
	return err
}

// provider returns raft's view of Resolve.
func (c *Config) provider() raft.ServerAddressProvider {
	if c.Resolve == nil {
		return nil
	}
	return resolver(c.Resolve)
}

// A resolver is Config.Resolve as raft calls it.
type resolver func(id string) (addr string, ok bool)

// ServerAddr implements raft.ServerAddressProvider.
func (r resolver) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	addr, ok := r(string(id))
	if !ok {
		return "", fmt.Errorf("consensus: the address of node %s is not known", id)
	}
	return raft.ServerAddress(addr), nil
}

// alone reports whether this node is the group's only voter.
func (g *group) alone() bool {
	voters := g.voters()
	return len(voters) == 1 && voters[0].ID == g.cfg.ID
}

// stand makes a lone voter stand for election now: nobody else can be waited for.
// Raft looks at its timer when the heartbeat is shortened, and only then.
func (g *group) stand(rc *raft.Config) {
	now := raft.ReloadableConfig{
		TrailingLogs: rc.TrailingLogs, SnapshotInterval: rc.SnapshotInterval, SnapshotThreshold: rc.SnapshotThreshold,
		HeartbeatTimeout: rc.HeartbeatTimeout - 1, ElectionTimeout: rc.ElectionTimeout,
	}
	_ = g.raft.ReloadConfig(now) // valid: Lease < Heartbeat
	now.HeartbeatTimeout = rc.HeartbeatTimeout
	_ = g.raft.ReloadConfig(now)
}

// voters returns the group's voters in the newest configuration that is known here.
func (g *group) voters() []Server {
	var voters []Server
	for _, s := range g.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter {
			voters = append(voters, Server{ID: string(s.ID), Addr: string(s.Address)})
		}
	}
	return voters
}

// leader returns who leads the group, as far as is known here.
func (g *group) leader() Server {
	addr, id := g.raft.LeaderWithID()
	return Server{ID: string(id), Addr: string(addr)}
}

// leads reports whether this node leads the group.
func (g *group) leads() bool { return g.raft.State() == raft.Leader }

// current reports whether this node leads the group and has applied all that was
// committed before. Entries are applied in order, so one of its own term shows it, unless
// a later one was given up and may still come.
func (g *group) current() bool { return g.leads() && g.settled.Load() == g.raft.CurrentTerm() }

// settle notes what became of an entry that was proposed in a term.
func (g *group) settle(term uint64, err error) {
	switch {
	case err == nil:
		g.settled.Store(term)
	case errors.Is(err, ErrUnknown):
		g.settled.Store(0)
	}
}

// observe is called by raft with whatever happens; it must not wait.
func (g *group) observe(o *raft.Observation) bool {
	switch e := o.Data.(type) {
	case raft.LeaderObservation, raft.RaftState:
		g.wake()
	case raft.FailedHeartbeatObservation:
		g.mark(e.PeerID, true)
	case raft.ResumedHeartbeatObservation:
		g.mark(e.PeerID, false)
	}
	return false
}

// mark notes whether a follower is silent.
func (g *group) mark(peer raft.ServerID, silent bool) {
	var reliable time.Time
	if !silent {
		reliable = time.Now().Add(catchUp)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.silent[string(peer)] = reliable
}

// hears reports whether the follower answers this leader's heartbeats, and has
// for long enough to be sent entries too.
func (g *group) hears(peer string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	reliable, marked := g.silent[peer]
	if marked && !reliable.IsZero() && !time.Now().Before(reliable) {
		delete(g.silent, peer)
		marked = false
	}
	return !marked
}

// wake has watch look who leads.
func (g *group) wake() {
	select {
	case g.changed <- struct{}{}:
	default:
	}
}

// watch tells Events.Leader who leads until done is closed.
func (g *group) watch(done <-chan struct{}) {
	var last Server
	for {
		select {
		case <-g.changed:
		case <-g.raft.LeaderCh(): // also where raft forgets itself as the leader
		case <-done:
			return
		}
		if now := g.leader(); now != last {
			last = now
			g.cfg.Events.leader(g.id, now)
		}
	}
}

// A lazy future asks raft when it is waited for, because raft may block before it
// returns a future.
type lazy func() raft.Future

// Error implements raft.Future.
func (l lazy) Error() error { return l().Error() }

// A failed future has its answer.
type failed struct{ err error }

// Error implements raft.Future.
func (f failed) Error() error { return f.err }

// enter takes a call in, or says why not.
func (g *group) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.stopping:
		return ErrStopped
	case g.inflight >= g.cfg.InflightMax:
		return fmt.Errorf("%w: group %d: %d", ErrOverloaded, g.id, g.inflight)
	}
	g.inflight++
	return nil
}

// leave lets a call out that raft has answered.
func (g *group) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inflight--
	if g.stopping && g.inflight == 0 {
		close(g.idle)
	}
}

// refuse accepts no more calls; idle is closed when the last one is answered.
func (g *group) refuse() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopping {
		return
	}
	g.stopping = true
	if g.inflight == 0 {
		close(g.idle)
	}
}

// call starts something and waits for it until ctx or CallTimeout ends. A call
// that is given up stays in flight until raft answers it.
func (g *group) call(ctx context.Context, start func(left time.Duration) raft.Future) (raft.Future, error) {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.CallTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	left := time.Until(deadline)
	if ctx.Err() != nil || left <= 0 {
		return nil, fmt.Errorf("%w: group %d: before it was proposed", ErrDeadline, g.id)
	}
	if err := g.enter(); err != nil {
		return nil, err
	}
	f := start(left)
	answered := make(chan error, 1)
	go func() {
		defer g.leave()
		answered <- f.Error()
	}()
	select {
	case err := <-answered:
		return f, g.meaning(err)
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: group %d: %w: %w", ErrUnknown, g.id, ErrDeadline, ctx.Err())
	}
}

// propose has an entry committed and applied, and returns what the state machine
// made of it.
func (g *group) propose(ctx context.Context, entry []byte) (any, error) {
	if len(entry) > g.cfg.EntryBytesMax {
		return nil, fmt.Errorf("%w: group %d: %d bytes: at most %d", ErrTooLarge, g.id, len(entry), g.cfg.EntryBytesMax)
	}
	term := g.raft.CurrentTerm()
	f, err := g.call(ctx, func(left time.Duration) raft.Future {
		if !g.leads() { // raft would say so, once it has time
			return failed{raft.ErrNotLeader}
		}
		return g.raft.Apply(entry, left)
	})
	g.settle(term, err)
	if err != nil {
		return nil, err
	}
	return f.(raft.ApplyFuture).Response(), nil
}

// barrier waits until all that was committed before is applied here.
func (g *group) barrier(ctx context.Context) error {
	term := g.raft.CurrentTerm()
	_, err := g.call(ctx, func(left time.Duration) raft.Future { return g.raft.Barrier(left) })
	g.settle(term, err)
	return err
}

// verify asks a majority whether this node still leads the group.
func (g *group) verify(ctx context.Context) error {
	_, err := g.call(ctx, func(time.Duration) raft.Future { return lazy(g.raft.VerifyLeader) })
	return err
}

// transfer gives leadership to a voter, or to the one that has most of the log.
func (g *group) transfer(ctx context.Context, to Server) error {
	_, err := g.call(ctx, func(time.Duration) raft.Future { return g.handOver(to) })
	return err
}

// handOver is transfer's future.
func (g *group) handOver(to Server) raft.Future {
	return lazy(func() raft.Future {
		if to.ID == "" {
			return g.raft.LeadershipTransfer()
		}
		return g.raft.LeadershipTransferToServer(raft.ServerID(to.ID), raft.ServerAddress(to.Addr))
	})
}
