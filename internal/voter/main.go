package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/rpc"
	"github.com/headgate/headgate/cluster"
	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/grants"
	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/internal/clock"
	"github.com/headgate/headgate/internal/config"
	"github.com/headgate/headgate/internal/obs"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
	"github.com/headgate/headgate/policy"
)

// decideMax is how long a decision may take: a request waits as long as etcd's does.
const decideMax = 5 * time.Second

type settings struct {
	number       int
	members      string
	grpc, policy string
	dir          string
}

func main() {
	var s settings
	flag.IntVar(&s.number, "number", 0, "which of the members this is, from 0")
	flag.StringVar(&s.members, "members", "", "`host:port,…` where the members reach each other")
	flag.StringVar(&s.grpc, "grpc", "127.0.0.1:8081", "`host:port` to listen on")
	flag.StringVar(&s.policy, "policy", "", "policy `file`")
	flag.StringVar(&s.dir, "dir", "", "new `directory` for the data")
	flag.Parse()
	if err := s.serve(); err != nil {
		fmt.Fprintln(os.Stderr, "voter:", err)
		os.Exit(1)
	}
}

func (s *settings) serve() error {
	stop, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	defaults := config.Default()
	debug.SetGCPercent(defaults.Runtime.GCPercent) // a node's
	var members []consensus.Server
	for addr := range strings.SplitSeq(s.members, ",") {
		members = append(members, consensus.Server{ID: fmt.Sprint("voter-", len(members)), Addr: addr})
	}
	if s.number < 0 || s.number >= len(members) {
		return fmt.Errorf("-number=%d: must be in [0, %d)", s.number, len(members))
	}
	now := clock.New().Now
	v, err := openVoter(members, s.number, s.dir, now)
	if err != nil {
		return err
	}
	gate, err := s.gate(v.driver, now)
	if err != nil {
		return err
	}
	c := rpc.Default()
	c.DecideTimeout, c.BehindMax = decideMax, 0
	server, err := rpc.New(&c, gate, now, rpc.Events{})
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(stop, "tcp", s.grpc)
	if err != nil {
		return err
	}
	go func() {
		<-stop.Done()
		server.Close()
	}()
	err = server.Serve(l)
	ending, done := context.WithTimeout(context.Background(), decideMax)
	defer done()
	return errors.Join(err, v.stop(ending))
}

// gate returns what internal/app builds of one policy file, as far as it decides.
func (s *settings) gate(driver *grants.Driver, now func() limiter.Instant) (*api.Gate, error) {
	text, err := os.ReadFile(s.policy)
	if err != nil {
		return nil, err
	}
	docs, problems := policy.Parse([]policy.Source{{Name: s.policy, Text: text}})
	if len(problems) > 0 {
		return nil, problems
	}
	counters, err := table.New(table.Config{EntriesMax: 1 << 16, BytesMax: 1 << 24, ShareMax: 1})
	if err != nil {
		return nil, err
	}
	router := &cluster.Router{Table: counters}
	var secret [16]byte // the same at all members
	snapshot, problems := policy.Compile(docs, policy.Options{
		Version: 1, Hasher: limiter.NewKeyHasher(secret), Prefetch: counters.Prefetch, PrefetchQuota: router.PrefetchQuota,
	})
	if len(problems) > 0 {
		return nil, problems
	}
	quotas, err := holdings.Quotas(snapshot.Limits())
	if err != nil {
		return nil, err
	}
	held, err := holdings.New(holdings.Config{
		Submit: driver.Submit, Gather: driver.Gather, Hurry: driver.Hurry, Now: now, Tenure: uint64(s.number) + 1,
		Rest: func(at limiter.Instant, c *limiter.Call) { counters.Decide(at, c) },
	})
	if err != nil {
		return nil, err
	}
	counters.Install(snapshot.Limits())
	held.Install(1, quotas)
	router.Serve(held)
	var current atomic.Pointer[policy.Snapshot]
	current.Store(snapshot)
	decisions := obs.New(obs.Config{LimitsMax: 16, TopKeys: 1, Stripes: 4, Now: now}).Decisions
	decisions.Install(snapshot.Limits())
	return &api.Gate{Policies: &current, Decider: router, Observer: decisions}, nil
}
