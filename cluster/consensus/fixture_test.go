package consensus_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/consensus/consensustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A journal is a state machine that keeps every entry, and answers with its number.
type journal struct {
	mu      sync.Mutex
	entries []string
	batches []int         // sizes of the batches
	gate    chan struct{} // nil: open; otherwise nothing is applied until it is closed
}

func (j *journal) Apply(l *raft.Log) any { return j.ApplyBatch([]*raft.Log{l})[0] }

func (j *journal) ApplyBatch(logs []*raft.Log) []any {
	j.mu.Lock()
	gate := j.gate
	j.mu.Unlock()
	if gate != nil {
		<-gate
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	answers := make([]any, len(logs))
	commands := 0
	for i, l := range logs {
		if l.Type == raft.LogCommand {
			j.entries = append(j.entries, string(l.Data))
			answers[i] = len(j.entries)
			commands++
		}
	}
	if commands > 0 {
		j.batches = append(j.batches, commands)
	}
	return answers
}

func (j *journal) Snapshot() (raft.FSMSnapshot, error) {
	return snapshot(j.all()), nil
}

func (j *journal) Restore(rc io.ReadCloser) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = nil
	return json.NewDecoder(rc).Decode(&j.entries)
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.entries)
}

// hold keeps entries from being applied until the returned function is called.
func (j *journal) hold() (release func()) {
	gate := make(chan struct{})
	j.mu.Lock()
	j.gate = gate
	j.mu.Unlock()
	return func() {
		j.mu.Lock()
		j.gate = nil
		j.mu.Unlock()
		close(gate)
	}
}

type snapshot []string

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if err := json.NewEncoder(sink).Encode([]string(s)); err != nil {
		_ = sink.Cancel()
		return err
	}
	return sink.Close()
}

func (snapshot) Release() {}

// A machine is what survives a restart of a node, and the node that runs on it.
type machine struct {
	*consensus.Node
	cfg      consensus.Config
	stores   []consensus.Stores
	journals []*journal
}

// newMachine returns a node's settings on the network, not started.
func newMachine(n *consensustest.Network, id string, groups int, voters ...string) *machine {
	m := &machine{}
	for range groups {
		log := raft.NewInmemStore()
		m.stores = append(m.stores, consensus.Stores{Log: log, Stable: log, Snapshots: raft.NewInmemSnapshotStore()})
	}
	m.cfg = consensus.Config{
		ID: id, Addr: id + ":1", Groups: groups, Dial: n.Dialer(id + ":1"), SpreadInterval: -1,
		Stores: func(g uint32) (consensus.Stores, error) { return m.stores[g], nil },
		FSM:    func(g uint32) (raft.FSM, error) { return m.journals[g], nil },
	}
	for _, v := range voters {
		m.cfg.Bootstrap = append(m.cfg.Bootstrap, consensus.Server{ID: v, Addr: v + ":1"})
	}
	return m
}

// begin starts the machine's node with an empty state machine.
func (m *machine) begin(tb testing.TB, n *consensustest.Network) {
	tb.Helper()
	m.journals = nil
	for range m.stores {
		m.journals = append(m.journals, &journal{})
	}
	m.cfg.Listener = n.Listen(m.cfg.Addr)
	node, err := consensus.Start(m.cfg)
	if err != nil {
		tb.Fatal(err)
	}
	m.Node = node
}

// halt stops the machine's node, and fails if that is not done in time.
func (m *machine) halt(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := m.Stop(ctx); err != nil {
		tb.Error(err)
	}
}

// cluster starts one machine for each id, all of them voters of every group.
func cluster(t *testing.T, n *consensustest.Network, groups int, adjust func(*consensus.Config), ids ...string) map[string]*machine {
	t.Helper()
	ms := map[string]*machine{}
	for _, id := range ids {
		m := newMachine(n, id, groups, ids...)
		if adjust != nil {
			adjust(&m.cfg)
		}
		m.begin(t, n)
		ms[id] = m
	}
	return ms
}

// eventually waits until what is true, for 30 s at most.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in 30 s: %s", what)
		}
	}
}

// leaderOf waits until the machines agree who of them leads the group.
func leaderOf(t *testing.T, group uint32, ms ...*machine) (leader *machine) {
	t.Helper()
	eventually(t, fmt.Sprintf("group %d is led", group), func() bool {
		leader = nil
		for _, m := range ms {
			if m.Leads(group) {
				leader = m
			}
		}
		if leader == nil {
			return false
		}
		for _, m := range ms {
			if l, known := m.Leader(group); !known || l.ID != leader.cfg.ID {
				return false
			}
		}
		return true
	})
	return leader
}

func propose(t *testing.T, m *machine, group uint32, entry string) any {
	t.Helper()
	answer, err := m.Propose(t.Context(), group, []byte(entry))
	if err != nil {
		t.Fatalf("propose %q: %v", entry, err)
	}
	return answer
}
