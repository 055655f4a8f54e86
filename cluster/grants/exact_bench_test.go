package grants_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/grants"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage"
	"github.com/headgate/headgate/storage/ledger"
)

// A voter is a node on a disk, with all that a decision of exact mode goes through but
// the door that its request comes in by.
type voter struct {
	db     *storage.DB
	ledger ledger.Set
	node   *consensus.Node
	driver *grants.Driver
}

// startVoters starts nodes of one cluster in directories below dir. They reach each
// other over TCP.
func startVoters(b *testing.B, n int, dir string) []*voter {
	b.Helper()
	var members []consensus.Server
	var listeners []net.Listener
	for i := range n {
		l, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		listeners = append(listeners, l)
		members = append(members, consensus.Server{ID: strconv.Itoa(i), Addr: l.Addr().String()})
	}
	voters := make([]*voter, n)
	for i := range voters {
		v, err := startVoter(members, i, listeners[i], filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			b.Fatal(err)
		}
		voters[i] = v
	}
	return voters
}

func startVoter(members []consensus.Server, i int, at net.Listener, dir string) (*voter, error) {
	db, err := storage.Open(storage.Config{Dir: filepath.Join(dir, "store"), BallastBytes: -1})
	if err != nil {
		return nil, err
	}
	v := &voter{db: db, ledger: make(ledger.Set, quota.Groups)}
	var told atomic.Pointer[grants.Driver]
	v.node, err = consensus.Start(consensus.Config{
		ID: members[i].ID, Addr: members[i].Addr, Groups: quota.Groups, Bootstrap: members, Listener: at,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
		SpreadInterval: 200 * time.Millisecond,
		Events: consensus.Events{Followed: func(g uint32) {
			if d := told.Load(); d != nil {
				d.Followed(g)
			}
		}},
		Stores: func(g uint32) (s consensus.Stores, err error) {
			if v.ledger[g], err = ledger.Open(ledger.Config{DB: db, Group: storage.Group(g)}); err != nil {
				return s, err
			}
			return diskStores(db, dir)(g)
		},
		FSM: func(g uint32) (raft.FSM, error) { return v.ledger[g], nil },
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	began := time.Now()
	remote := grants.Remote{Caller: v.node}
	v.driver, err = grants.Start(grants.Config{
		ID: members[i].ID, Groups: v.node, Ledger: v.ledger,
		Now:  func() limiter.Instant { return limiter.Instant(time.Since(began)) + 1 },
		Wall: func() int64 { return time.Now().UnixMilli() }, Clock: remote.Clock, Forward: remote.Forward,
	})
	if err == nil {
		v.node.Handle(v.driver.Handle)
		told.Store(v.driver)
	}
	return v, err
}

// settled waits until the groups are led, by all voters about equally.
func settled(b *testing.B, voters []*voter) {
	b.Helper()
	for {
		most, led := 0, 0
		for _, v := range voters {
			leads := 0
			for g := range uint32(quota.Groups) {
				if v.node.Leads(g) && v.node.Barrier(b.Context(), g) == nil {
					leads++
				}
			}
			most, led = max(most, leads), led+leads
		}
		if led == quota.Groups && most <= (quota.Groups+len(voters)-1)/len(voters) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// BenchmarkSpendOnDisk is what a decision of exact mode costs: clients that ask one
// node, each charge an entry, with others, of a log that a majority syncs.
func BenchmarkSpendOnDisk(b *testing.B) {
	for _, nodes := range []int{1, 3} {
		for _, clients := range []int{64, 512} {
			b.Run(fmt.Sprintf("nodes=%d/clients=%d", nodes, clients), func(b *testing.B) {
				voters := startVoters(b, nodes, b.TempDir())
				settled(b, voters)
				b.ResetTimer()
				spend(b, voters[0].driver, clients)
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
				var errs []error
				for _, v := range voters {
					errs = append(errs, v.driver.Stop(context.WithoutCancel(b.Context())))
				}
				for _, v := range voters {
					errs = append(errs, v.node.Stop(context.WithoutCancel(b.Context())), v.db.Close())
				}
				if err := errors.Join(errs...); err != nil {
					b.Error(err)
				}
			})
		}
	}
}

// spend has clients charge b.N units of 10,000 counters, each under an id of its own.
func spend(b *testing.B, d *grants.Driver, clients int) {
	b.Helper()
	window := today()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			told := make(chan error, 1)
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				c := quota.Command{
					Op: quota.OpSpend, Key: of(uint32(i%quota.Groups), int(i%10_000)), Window: window, Version: 1, Limit: 1 << 40,
					Request: limiter.Key{Hi: uint64(i)}, Cost: 1,
				}
				if err := askFor(d, c, told, func(r *quota.Result) bool { return r.Code == quota.OK }); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
