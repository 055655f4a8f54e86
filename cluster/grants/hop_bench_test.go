package grants_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/grants"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// onTCP starts three nodes that reach each other over TCP on loopback, with logs and
// ledgers in memory, and returns a driver of one that leads group 0 and one that does not.
func onTCP(b *testing.B) (leader, follower *grants.Driver) {
	b.Helper()
	listeners := make([]net.Listener, 3)
	var voters []consensus.Server
	for i := range listeners {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		listeners[i] = l
		voters = append(voters, consensus.Server{ID: string(rune('a' + i)), Addr: l.Addr().String()})
	}
	nodes, drivers := make([]*consensus.Node, 3), make([]*grants.Driver, 3)
	began := time.Now()
	for i, v := range voters {
		ls := newLedgers()
		node, err := consensus.Start(consensus.Config{
			ID: v.ID, Addr: v.Addr, Groups: quota.Groups, Bootstrap: voters, Listener: listeners[i], SpreadInterval: -1,
			Dial: func(ctx context.Context, addr string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", addr)
			},
			Stores: func(uint32) (consensus.Stores, error) {
				log := raft.NewInmemStore()
				return consensus.Stores{Log: log, Stable: log, Snapshots: raft.NewInmemSnapshotStore()}, nil
			},
			FSM: func(g uint32) (raft.FSM, error) { return ls[g], nil },
		})
		if err != nil {
			b.Fatal(err)
		}
		remote := grants.Remote{Caller: node}
		drivers[i], err = grants.Start(grants.Config{
			ID: v.ID, Groups: node, Ledger: ls, Forward: remote.Forward, Clock: remote.Clock,
			Now:  func() limiter.Instant { return limiter.Instant(time.Since(began)) + 1 },
			Wall: func() int64 { return time.Now().UnixMilli() },
		})
		if err != nil {
			b.Fatal(err)
		}
		node.Handle(drivers[i].Handle)
		nodes[i] = node
	}
	b.Cleanup(func() {
		for i := range nodes {
			if err := errors.Join(drivers[i].Stop(context.Background()), nodes[i].Stop(context.Background())); err != nil {
				b.Error(err)
			}
		}
	})
	for {
		for i, n := range nodes {
			if other := (i + 1) % 3; n.Leads(0) && n.Barrier(b.Context(), 0) == nil {
				if _, known := nodes[other].Leader(0); known {
					return drivers[i], drivers[other]
				}
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// BenchmarkGrantOverTCP is what a lone caller waits for a grant that three nodes commit,
// where its group is led and where it is not: the difference is the hop to the leader.
func BenchmarkGrantOverTCP(b *testing.B) {
	leader, follower := onTCP(b)
	window := today()
	for i, tc := range []struct {
		name   string
		driver *grants.Driver
	}{{"at the leader", leader}, {"at a follower", follower}} {
		b.Run(tc.name, func(b *testing.B) {
			told := make(chan error, 1)
			done := func(_ *quota.Command, r quota.Result, err error) {
				if err == nil && r.Code != quota.OK {
					err = errors.New(r.Code.String())
				}
				told <- err
			}
			k := of(0, i+1)
			took := make([]time.Duration, 0, 1<<16)
			for n := uint64(1); b.Loop(); n++ {
				began := time.Now()
				c := quota.Command{
					Op: quota.OpEnsure, Key: k, Window: window, Version: 1, Limit: 1 << 40,
					Holder: quota.Holder{Partition: k.Partition(), Tenure: 1, Life: uint32(b.N)}, Floor: n, Target: n,
				}
				if err := tc.driver.Submit(c, done); err != nil {
					b.Fatal(err)
				}
				if err := <-told; err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}
