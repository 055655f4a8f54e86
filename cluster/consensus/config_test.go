package consensus_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/consensus/consensustest"
)

func TestValidateNamesEveryProblem(t *testing.T) {
	good := newMachine(consensustest.New(), "a", 8, "a", "b", "c").cfg
	good.Listener = consensustest.New().Listen("a:1")
	for _, tc := range []struct {
		name  string
		spoil func(*consensus.Config)
		want  []string
	}{
		{"the zero value lacks what has no default", func(c *consensus.Config) { *c = consensus.Config{} }, []string{"ID: must be given", "Addr:", "Stores:", "FSM:"}},
		{"a port, and no way to dial", func(c *consensus.Config) { c.Dial = nil }, []string{"Dial: must be given"}},
		{"a way to dial, and no port", func(c *consensus.Config) { c.Listener, c.Bootstrap = nil, c.Bootstrap[:1] }, []string{"Listener: must be given"}},
		{"several voters, and no port", func(c *consensus.Config) { c.Listener, c.Dial = nil, nil }, []string{"must list this node alone"}},
		{"too many groups", func(c *consensus.Config) { c.Groups = 257 }, []string{"Groups=257: must be in [1, 256]"}},
		{"no group", func(c *consensus.Config) { c.Groups = -1 }, []string{"Groups=-1"}},
		{"bounds", func(c *consensus.Config) {
			c.ConnsMax, c.HandshakesMax, c.InflightMax, c.EntryBytesMax, c.BatchMax = -1, -1, -1, 1<<30, 1025
		}, []string{"ConnsMax", "HandshakesMax", "InflightMax", "EntryBytesMax=1073741824", "BatchMax=1025"}},
		{"times", func(c *consensus.Config) {
			c.HandshakeTimeout, c.IOTimeout, c.CallTimeout, c.CommitInterval, c.SnapshotInterval, c.SpreadInterval = 1, 1, 1, 1, time.Hour, 1
		}, []string{"HandshakeTimeout=1ns", "IOTimeout", "CallTimeout", "CommitInterval", "SnapshotInterval=1h0m0s", "SpreadInterval"}},
		{"a lease as long as the heartbeat", func(c *consensus.Config) { c.Lease = time.Second }, []string{"Lease=1s: must be less than Heartbeat=1s"}},
		{"a voter twice", func(c *consensus.Config) { c.Bootstrap[1].ID = "a" }, []string{"Bootstrap[1].ID=a"}},
		{"an address twice", func(c *consensus.Config) { c.Bootstrap[1].Addr = "a:1" }, []string{"Bootstrap[1].Addr=a:1"}},
		{"a voter without an address", func(c *consensus.Config) { c.Bootstrap[2].Addr = "" }, []string{"Bootstrap[2]: must have ID and Addr"}},
		{"voters without this node", func(c *consensus.Config) { c.Bootstrap = c.Bootstrap[1:] }, []string{"must list this node, ID=a"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := good
			c.Bootstrap = append([]consensus.Server(nil), good.Bootstrap...)
			if err := c.Validate(); err != nil {
				t.Fatalf("before: %v", err)
			}
			tc.spoil(&c)
			err := c.Validate()
			if err == nil {
				t.Fatal("valid")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in: %v", want, err)
				}
			}
			if got := strings.Count(err.Error(), "\n") + 1; got != len(tc.want) {
				t.Errorf("%d problems, not %d: %v", got, len(tc.want), err)
			}
		})
	}
}

func TestAStoreThatDoesNotOpenStopsTheStart(t *testing.T) {
	n := consensustest.New()
	m := newMachine(n, "a", 3, "a")
	for range 3 {
		m.journals = append(m.journals, &journal{})
	}
	stores := m.cfg.Stores
	m.cfg.Stores = func(g uint32) (consensus.Stores, error) {
		if g == 2 {
			return consensus.Stores{}, io.ErrUnexpectedEOF
		}
		return stores(g)
	}
	l := n.Listen("a:1")
	m.cfg.Listener = l
	if _, err := consensus.Start(m.cfg); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "group 2") {
		t.Fatalf("Start: %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is open: %v", err)
	}
}

var _ raft.BatchingFSM = (*journal)(nil)
