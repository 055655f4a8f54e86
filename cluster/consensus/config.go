package consensus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/raft"
)

// Bounds of a Config.
const (
	GroupsLimit     = 256              // Config.Groups
	ConnsLimit      = 65_536           // Config.ConnsMax
	HandshakesLimit = 4_096            // Config.HandshakesMax
	InflightLimit   = 65_536           // Config.InflightMax
	EntryBytesLimit = 4 << 20          // Config.EntryBytesMax
	BatchLimit      = 1_024            // Config.BatchMax
	TimeoutLimit    = 10 * time.Minute // every timeout
	TimeoutMin      = 10 * time.Millisecond
)

// A Server is a member of a group.
type Server struct {
	ID   string // the node's, for life
	Addr string // host:port where its groups are reached
}

// Stores is where one group keeps its log, its vote and its snapshots. The node
// closes none of them.
type Stores struct {
	Log       raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore

	// Restored says that the state machine keeps its own state over a restart and
	// is at least as far as the newest snapshot: raft then does not restore it.
	Restored bool
}

// A Config says what a Node runs. ID, Addr, Stores and FSM have no default; a zero
// number or time stands for its default.
type Config struct {
	// ID is this node's name for life, in every group. Addr is where other nodes
	// dial it, which need not be where Listener listens.
	ID   string
	Addr string

	// Groups is how many groups there are, numbered from 0: [1, GroupsLimit].
	// Default 8. It is fixed for the life of the cluster.
	Groups int

	// Listener is the node's port, wrapped in TLS where that is wanted. The node
	// closes it. Dial opens a connection to another node's, wrapped alike. Both nil:
	// the node is alone for as long as it runs, and needs no port.
	Listener net.Listener
	Dial     func(ctx context.Context, addr string) (net.Conn, error)

	// Stores opens a group's stores; FSM makes its state machine: a
	// raft.BatchingFSM is given whole batches. Each is called once a group.
	Stores func(group uint32) (Stores, error)
	FSM    func(group uint32) (raft.FSM, error)

	// Bootstrap lists the voters of every group whose stores are empty. Each of
	// them must list the same. Empty: such a group waits until a leader adds this
	// node.
	Bootstrap []Server

	// Resolve returns where a node is reached now, if that is not the address
	// that the group recorded. Nil: it never differs.
	Resolve func(id string) (addr string, ok bool)

	// ConnsMax bounds the connections from other nodes; each costs 260 KiB, and a
	// peer opens up to four a group. Default 1,024, at most ConnsLimit.
	ConnsMax int

	// HandshakesMax bounds those of them that have not said their group yet, and
	// HandshakeTimeout the time they have for it, TLS included. Defaults 64, 2 s.
	HandshakesMax    int
	HandshakeTimeout time.Duration

	// IOTimeout bounds a message to another node and its answer; a snapshot has it
	// for each 256 KiB. Default 5 s.
	IOTimeout time.Duration

	// InflightMax bounds the calls of one group that wait for raft; one more is
	// refused with ErrOverloaded. Default 256, at most InflightLimit.
	InflightMax int

	// EntryBytesMax bounds one entry. Default 512 KiB, at most EntryBytesLimit.
	EntryBytesMax int

	// BatchMax is how many entries raft writes, sends and applies at once.
	// Default 256, at most BatchLimit.
	BatchMax int

	// CallTimeout bounds a call whose context has no earlier deadline. Default 10 s.
	CallTimeout time.Duration

	// Heartbeat is how long a follower does without its leader before it stands
	// for election (between once and twice that), and how long an election may
	// take. Default 1 s. Lease is how long a leader does without a majority before
	// it steps down: less than Heartbeat. Default 500 ms.
	Heartbeat time.Duration
	Lease     time.Duration

	// CommitInterval is how late a follower of an idle group may learn what is
	// committed. Each follower of each group is told about as often. Default 50 ms.
	CommitInterval time.Duration

	// SnapshotInterval is how often (up to twice that) a group looks whether it
	// should compact its log: if SnapshotThreshold entries came since the last
	// snapshot. TrailingLogs of the compacted ones are kept for followers that are
	// behind. Defaults 2 min, 8,192, 10,240.
	SnapshotInterval  time.Duration
	SnapshotThreshold uint64
	TrailingLogs      uint64

	// SpreadInterval is how often, give or take a quarter, a node that leads more
	// groups than another gives one of them to it. Default 10 s; negative: never.
	SpreadInterval time.Duration

	// Events are told what happens. The zero value tells nobody.
	Events Events
}

// Default returns the settings that zero fields stand for.
func Default() Config {
	return Config{
		Groups:            8,
		ConnsMax:          1024,
		HandshakesMax:     64,
		HandshakeTimeout:  2 * time.Second,
		IOTimeout:         5 * time.Second,
		InflightMax:       256,
		EntryBytesMax:     512 << 10,
		BatchMax:          256,
		CallTimeout:       10 * time.Second,
		Heartbeat:         time.Second,
		Lease:             500 * time.Millisecond,
		CommitInterval:    50 * time.Millisecond,
		SnapshotInterval:  2 * time.Minute,
		SnapshotThreshold: 8192,
		TrailingLogs:      10_240,
		SpreadInterval:    10 * time.Second,
	}
}

// withDefaults returns c with every zero field set to its default.
func (c Config) withDefaults() Config {
	d := Default()
	orInt := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	orTime := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	orInt(&c.Groups, d.Groups)
	orInt(&c.ConnsMax, d.ConnsMax)
	orInt(&c.HandshakesMax, d.HandshakesMax)
	orInt(&c.InflightMax, d.InflightMax)
	orInt(&c.EntryBytesMax, d.EntryBytesMax)
	orInt(&c.BatchMax, d.BatchMax)
	orTime(&c.HandshakeTimeout, d.HandshakeTimeout)
	orTime(&c.IOTimeout, d.IOTimeout)
	orTime(&c.CallTimeout, d.CallTimeout)
	orTime(&c.Heartbeat, d.Heartbeat)
	orTime(&c.Lease, d.Lease)
	orTime(&c.CommitInterval, d.CommitInterval)
	orTime(&c.SnapshotInterval, d.SnapshotInterval)
	orTime(&c.SpreadInterval, d.SpreadInterval)
	if c.SnapshotThreshold == 0 {
		c.SnapshotThreshold = d.SnapshotThreshold
	}
	if c.TrailingLogs == 0 {
		c.TrailingLogs = d.TrailingLogs
	}
	return c
}

// Validate reports every field that is missing or out of bounds, joined.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("consensus: %s=%v: %s", field, value, want))
	}
	within := func(field string, v, most int) {
		if v < 1 || v > most {
			bad(field, v, fmt.Sprintf("must be in [1, %d]", most))
		}
	}
	timeout := func(field string, v time.Duration) {
		if v < TimeoutMin || v > TimeoutLimit {
			bad(field, v, fmt.Sprintf("must be in [%s, %s]", TimeoutMin, TimeoutLimit))
		}
	}
	for _, f := range []struct {
		field   string
		missing bool
	}{
		{"ID", c.ID == ""},
		{"Addr", c.Addr == ""},
		{"Listener", c.Listener == nil && c.Dial != nil},
		{"Dial", c.Dial == nil && c.Listener != nil},
		{"Stores", c.Stores == nil},
		{"FSM", c.FSM == nil},
	} {
		if f.missing {
			errs = append(errs, fmt.Errorf("consensus: %s: must be given", f.field))
		}
	}
	within("Groups", c.Groups, GroupsLimit)
	within("ConnsMax", c.ConnsMax, ConnsLimit)
	within("HandshakesMax", c.HandshakesMax, HandshakesLimit)
	within("InflightMax", c.InflightMax, InflightLimit)
	within("EntryBytesMax", c.EntryBytesMax, EntryBytesLimit)
	within("BatchMax", c.BatchMax, BatchLimit)
	timeout("HandshakeTimeout", c.HandshakeTimeout)
	timeout("IOTimeout", c.IOTimeout)
	timeout("CallTimeout", c.CallTimeout)
	timeout("Heartbeat", c.Heartbeat)
	timeout("Lease", c.Lease)
	timeout("CommitInterval", c.CommitInterval)
	timeout("SnapshotInterval", c.SnapshotInterval)
	if c.SpreadInterval > 0 {
		timeout("SpreadInterval", c.SpreadInterval)
	}
	if c.Lease >= c.Heartbeat {
		bad("Lease", c.Lease, fmt.Sprintf("must be less than Heartbeat=%s", c.Heartbeat))
	}
	return errors.Join(append(errs, c.validateBootstrap()...)...)
}

// validateBootstrap reports what is wrong with the first voters.
func (c Config) validateBootstrap() (errs []error) {
	ids, addrs := map[string]bool{}, map[string]bool{}
	for i, s := range c.Bootstrap {
		switch {
		case s.ID == "" || s.Addr == "":
			errs = append(errs, fmt.Errorf("consensus: Bootstrap[%d]: must have ID and Addr", i))
		case ids[s.ID]:
			errs = append(errs, fmt.Errorf("consensus: Bootstrap[%d].ID=%s: is listed twice", i, s.ID))
		case addrs[s.Addr]:
			errs = append(errs, fmt.Errorf("consensus: Bootstrap[%d].Addr=%s: is listed twice", i, s.Addr))
		}
		ids[s.ID], addrs[s.Addr] = true, true
	}
	if len(c.Bootstrap) > 1 && c.Listener == nil {
		errs = append(errs, errors.New("consensus: Bootstrap: must list this node alone, since it has no Listener"))
	}
	if len(c.Bootstrap) > 0 && c.ID != "" && !ids[c.ID] {
		errs = append(errs, fmt.Errorf("consensus: Bootstrap: must list this node, ID=%s", c.ID))
	}
	return errs
}
