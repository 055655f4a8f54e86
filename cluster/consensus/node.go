package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A Node runs one node's share of every group. Start it, and Stop it once.
type Node struct {
	cfg    Config
	mux    *mux
	calls  *calls
	groups []*group // by id

	ctx    context.Context // ends when the node stops: ends watch and spread
	cancel context.CancelFunc
	wg     sync.WaitGroup

	stop sync.Once
	err  error // what Stop returned, owned by stop
}

// Start opens every group. The listener is the node's from here on, and is closed
// if Start fails.
func Start(cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		if cfg.Listener != nil {
			_ = cfg.Listener.Close()
		}
		return nil, err
	}
	cfg = cfg.withDefaults()
	n := &Node{cfg: cfg}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.mux = newMux(&n.cfg)
	n.calls = newCalls(n.mux)
	n.wg.Go(n.calls.serve)
	for _, s := range n.mux.groups {
		g, err := openGroup(&n.cfg, s)
		if err != nil {
			ctx, cancel := context.WithTimeout(context.Background(), n.cfg.IOTimeout)
			defer cancel()
			return nil, errors.Join(err, n.Stop(ctx))
		}
		n.groups = append(n.groups, g)
	}
	for _, g := range n.groups {
		n.wg.Go(func() { g.watch(n.ctx.Done()) })
	}
	if n.cfg.SpreadInterval > 0 {
		n.wg.Go(n.spread)
	}
	return n, nil
}

// group returns a group by its number.
func (n *Node) group(id uint32) (*group, error) {
	if int64(id) >= int64(len(n.groups)) {
		return nil, fmt.Errorf("%w: %d: there are %d", ErrNoGroup, id, len(n.groups))
	}
	return n.groups[id], nil
}

// Groups returns how many groups there are.
func (n *Node) Groups() int { return len(n.groups) }

// Propose has an entry committed by the group and applied here, and returns what
// the state machine made of it. The entry must not be changed any more. The call
// ends with ctx, or after Config.CallTimeout; the errors say which of it is known.
// It is for the leader only: any other node answers ErrNotLeader at once.
func (n *Node) Propose(ctx context.Context, id uint32, entry []byte) (any, error) {
	g, err := n.group(id)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	response, err := g.propose(ctx, entry)
	g.counts.proposed(time.Since(start), err)
	return response, err
}

// Barrier waits until everything that was committed before is applied here. Only
// the leader can; it costs an entry. A new leader needs one before its first
// exact read.
func (n *Node) Barrier(ctx context.Context, id uint32) error {
	g, err := n.group(id)
	if err != nil {
		return err
	}
	return g.barrier(ctx)
}

// Verify asks a majority whether this node still leads the group. An exact read
// takes one Barrier a term, then reads, and calls Verify after it has read: before,
// it would prove nothing about the read.
func (n *Node) Verify(ctx context.Context, id uint32) error {
	g, err := n.group(id)
	if err != nil {
		return err
	}
	return g.verify(ctx)
}

// Leader returns who leads the group as far as this node knows, and whether it
// knows of anybody.
func (n *Node) Leader(id uint32) (leader Server, known bool) {
	g, err := n.group(id)
	if err != nil {
		return Server{}, false
	}
	leader = g.leader()
	return leader, leader.ID != ""
}

// Leads reports whether this node leads the group, as far as it knows: Verify
// asks the others.
func (n *Node) Leads(id uint32) bool {
	g, err := n.group(id)
	return err == nil && g.leads()
}

// Current reports whether this node leads the group, as far as it knows, and has
// applied all that was committed before: what the state machine says is then not out of
// date, but for what another leader may have done since. A new leader is current when
// the first entry of its own, or a Barrier, is applied.
func (n *Node) Current(id uint32) bool {
	g, err := n.group(id)
	return err == nil && g.current()
}

// Stop hands over the groups that the node leads, and stops. It returns when
// nothing runs any more, or when ctx ends, with what is still running. Calls are
// refused with ErrStopped as soon as it begins; those in flight are answered first,
// for as long as ctx and Config.CallTimeout let them.
func (n *Node) Stop(ctx context.Context) error {
	n.stop.Do(func() { n.err = n.shutdown(ctx) })
	return n.err
}

// shutdown is Stop's work.
func (n *Node) shutdown(ctx context.Context) error {
	n.cancel()
	var handing sync.WaitGroup
	for _, g := range n.groups {
		g.refuse()
		g.ended.Store(true)
		handing.Go(func() { g.resign(ctx) })
	}
	handing.Wait()
	n.mux.close() // ends what raft waits for
	n.wg.Wait()
	stopped := make(chan error, len(n.groups))
	for _, g := range n.groups {
		go func() { stopped <- g.raft.Shutdown().Error() }()
	}
	var errs []error
	for i := range n.groups {
		select {
		case err := <-stopped:
			errs = append(errs, err)
		case <-ctx.Done():
			return fmt.Errorf("consensus: stop: %d of %d groups still run: %w", len(n.groups)-i, len(n.groups), ctx.Err())
		}
	}
	return errors.Join(errs...)
}

// resign waits for the calls in flight and gives leadership away, if there is
// anybody to take it.
func (g *group) resign(ctx context.Context) {
	select {
	case <-g.idle:
	case <-ctx.Done():
		return
	}
	takers := g.takers()
	if len(takers) == 0 {
		return
	}
	to := takers[int(g.id)%len(takers)] // the groups of a node go to different ones
	handed := make(chan error, 1)       // raft ends it after an election timeout, with or without success
	go func() { handed <- g.handOver(to).Error() }()
	select {
	case err := <-handed:
		g.cfg.Events.handed(g.id, to, err)
	case <-ctx.Done():
		g.cfg.Events.handed(g.id, to, ctx.Err())
	}
}
