package grants_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/consensus/consensustest"
	"github.com/headgate/headgate/cluster/grants"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// A peer is one node: Raft, the driver over it, and one holding of a counter in
// each group.
type peer struct {
	id       string
	raft     *consensus.Node
	driver   *grants.Driver
	ledgers  *ledgers
	holdings [quota.Groups]*holder
}

// newPeers starts three nodes that reach each other over the network.
func newPeers(t *testing.T, n *consensustest.Network, amount uint64) []*peer {
	t.Helper()
	ids := []string{"a", "b", "c"}
	var voters []consensus.Server
	for _, id := range ids {
		voters = append(voters, consensus.Server{ID: id, Addr: id})
	}
	peers := make([]*peer, len(ids))
	for i, id := range ids {
		p := &peer{id: id, ledgers: newLedgers()}
		node, err := consensus.Start(consensus.Config{
			ID: id, Addr: id, Groups: quota.Groups, Listener: n.Listen(id), Dial: n.Dialer(id), Bootstrap: voters,
			CommitInterval: 200 * time.Millisecond,
			Stores: func(uint32) (consensus.Stores, error) {
				log := raft.NewInmemStore()
				return consensus.Stores{Log: log, Stable: log, Snapshots: raft.NewInmemSnapshotStore()}, nil
			},
			FSM: func(g uint32) (raft.FSM, error) { return p.ledgers[g], nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		p.raft, peers[i] = node, p
	}
	began := time.Now()
	now := func() limiter.Instant { return limiter.Instant(time.Since(began)) + 1 }
	window := today()
	for i, p := range peers {
		remote := grants.Remote{Caller: p.raft}
		d, err := grants.Start(grants.Config{
			ID: p.id, Groups: p.raft, Ledger: p.ledgers, Now: now,
			Wall:  func() int64 { return time.Now().UnixMilli() + int64(i)*3000 },
			Clock: remote.Clock, Forward: remote.Forward,
		})
		if err != nil {
			t.Fatal(err)
		}
		p.driver = d
		p.raft.Handle(d.Handle)
		for g := range p.holdings {
			p.holdings[g] = &holder{
				driver: d, now: now, key: of(uint32(g), 0), window: window, partition: limiter.Partition(100 + i),
				terms: quota.Terms{Version: 1, Limit: amount, GrantMax: 1000, Horizon: time.Second, Idle: time.Minute},
			}
		}
	}
	return peers
}

// A holder spends from one holding and submits what it asks for.
type holder struct {
	driver    *grants.Driver
	now       func() limiter.Instant
	key       limiter.Key
	window    quota.Window
	partition limiter.Partition
	terms     quota.Terms

	mu      sync.Mutex
	holding quota.Holding
	spent   uint64
}

// spend charges one unit and returns what became of it.
func (h *holder) spend() quota.Outcome {
	h.mu.Lock()
	defer h.mu.Unlock()
	outcome := h.holding.Spend(h.now(), 1, &h.terms)
	waiting := uint64(0)
	if outcome == quota.Admitted {
		h.spent++
	} else {
		waiting = 1
	}
	if c, ok := h.holding.Need(h.now(), waiting, waiting, &h.terms); ok {
		h.submit(c)
	}
	return outcome
}

// recall gives everything back.
func (h *holder) recall() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c, ok := h.holding.Recall(&h.terms); ok {
		h.submit(c)
	}
}

// grown is told that units may have become free.
func (h *holder) grown() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holding.Grow(1)
}

func (h *holder) submit(c quota.Command) {
	c.Key, c.Window = h.key, h.window
	c.Holder.Partition, c.Holder.Tenure = h.partition, 1
	if err := h.driver.Submit(c, h.answered); err != nil {
		h.holding.Lost(&c)
	}
}

func (h *holder) answered(c *quota.Command, r quota.Result, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.holding.Lost(c)
		return
	}
	h.holding.Learn(c, r)
}

// TestNoUnitIsSpentTwiceWhileLeadersComeAndGo holds I1 over three nodes: holders
// on each of them spend from the same counters while one node after the other is
// cut off, with answers lost. Afterwards exactly the amount is spent, since nobody
// crashed.
func TestNoUnitIsSpentTwiceWhileLeadersComeAndGo(t *testing.T) {
	const amount = 5000
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		peers := newPeers(t, n, amount)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, p := range peers {
			for _, h := range p.holdings {
				wg.Go(func() {
					for ctx.Err() == nil {
						h.spend()
						time.Sleep(15 * time.Millisecond)
					}
				})
			}
		}
		spent := func(g int) (units uint64) {
			for _, p := range peers {
				h := p.holdings[g]
				h.mu.Lock()
				units += h.spent
				h.mu.Unlock()
			}
			return units
		}
		for i := range 6 {
			time.Sleep(3 * time.Second)
			n.Isolate(peers[i%3].id)
			time.Sleep(4 * time.Second)
			n.Heal(peers[i%3].id)
			for g := range quota.Groups {
				if got := spent(g); got > amount || got < 200 {
					t.Errorf("round %d: %d of %d units of group %d are spent", i, got, amount, g)
				}
			}
		}
		cancel()
		wg.Wait()
		time.Sleep(15 * time.Second) // raft's pauses after a failure
		for g := range quota.Groups {
			drain(t, peers, g)
			if got := spent(g); got != amount {
				t.Errorf("group %d: %d of %d units were spent in the end", g, got, amount)
			}
			leader := peers[0].raft
			for _, p := range peers {
				if p.raft.Leads(uint32(g)) {
					leader = p.raft
				}
			}
			if err := leader.Barrier(t.Context(), uint32(g)); err != nil {
				t.Error(err)
			}
		}
		for _, p := range peers {
			stop(t, p.driver)
		}
		for _, p := range peers {
			wg.Go(func() {
				if err := p.raft.Stop(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, p := range peers {
			for g := range quota.Groups {
				if got := p.ledgers[g].outstanding(of(uint32(g), 0)); got > amount {
					t.Errorf("%s: group %d has %d units outstanding", p.id, g, got)
				}
			}
		}
	})
}

// drain spends what is left: the others give back what they hold, and the first
// node spends all of it.
func drain(t *testing.T, peers []*peer, g int) {
	t.Helper()
	for range 3 { // an answer may still be lost to the first entry after a cut
		for _, p := range peers[1:] {
			p.holdings[g].recall()
		}
		time.Sleep(2 * time.Second)
	}
	h := peers[0].holdings[g]
	h.grown()
	for range 200_000 {
		if outcome := h.spend(); outcome == quota.Exceeded {
			return
		} else if outcome != quota.Admitted {
			time.Sleep(10 * time.Millisecond)
		}
	}
	t.Errorf("group %d is not exhausted", g)
}
