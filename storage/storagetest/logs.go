package storagetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// A LogStore is the log and the stable store of one group.
type LogStore interface {
	raft.LogStore
	raft.StableStore
	raft.MonotonicLogStore
}

// Logs are the logs of several groups in one store.
type Logs interface {
	// Group returns the log of group n, the same one each time.
	Group(n int) (LogStore, error)
	Close() error
}

// groups is how many groups the histories of logs have.
const groups = 3

// LogSubject returns the subject that Crash tests logs as: random appends,
// conflicting ends that are replaced, compactions, resets and votes, in several
// groups, against slices and maps.
func LogSubject(open func(fs vfs.FS) (Logs, error)) Subject[Logs] {
	return Subject[Logs]{
		Open:     open,
		Close:    func(s Logs) error { return s.Close() },
		State:    stateOfLogs,
		NewModel: func() Model[Logs] { return &logModel{} },
	}
}

// stableKeys are what is set in the stable store: a text, and numbers.
func stableKeys() (text string, numbers []string) {
	return "LastVoteCand", []string{"CurrentTerm", "LastVoteTerm"}
}

// A logModel is what groups of logs hold.
type logModel struct {
	group [groups]struct {
		entries []raft.Log
		text    string
		numbers [2]uint64 // 0 = never set
		term    uint64
		next    uint64 // the index that an empty log begins with
	}
}

// Next makes up a step, in the proportions in which raft takes them.
func (m *logModel) Next(rng *rand.Rand) Op[Logs] {
	n := rng.IntN(groups)
	switch what := rng.IntN(20); {
	case what < 12:
		return m.append(rng, n)
	case what < 14:
		return m.conflict(rng, n)
	case what < 16:
		return m.compact(rng, n)
	case what < 17:
		return m.reset(rng, n)
	default:
		return m.vote(rng, n)
	}
}

func (m *logModel) append(rng *rand.Rand, n int) Op[Logs] {
	g := &m.group[n]
	index := max(g.next, 1)
	if len(g.entries) > 0 {
		index = g.entries[len(g.entries)-1].Index + 1
	}
	var batch []*raft.Log
	for range 1 + rng.IntN(5) {
		e := raft.Log{Index: index, Term: g.term, Type: raft.LogType(rng.IntN(4)), Data: bytesOf(rng, rng.IntN(200))}
		if rng.IntN(20) == 0 {
			e.Data = bytesOf(rng, 20_000)
		}
		if rng.IntN(3) == 0 {
			e.Extensions, e.AppendedAt = bytesOf(rng, 1+rng.IntN(9)), time.Unix(0, 1+rng.Int64N(1<<60))
		}
		g.entries = append(g.entries, e)
		batch = append(batch, &e)
		index++
	}
	return Op[Logs]{
		Name: fmt.Sprintf("group %d: store %d to %d", n, batch[0].Index, index-1), Durable: true,
		Do: onGroup(n, func(s LogStore) error {
			if len(batch) == 1 {
				return s.StoreLog(batch[0])
			}
			return s.StoreLogs(batch)
		}),
	}
}

// conflict cuts off the end, as a follower does whose leader has other entries.
func (m *logModel) conflict(rng *rand.Rand, n int) Op[Logs] {
	g := &m.group[n]
	g.term++
	if len(g.entries) == 0 {
		return m.vote(rng, n)
	}
	keep := rng.IntN(len(g.entries))
	low, high := g.entries[keep].Index, g.entries[len(g.entries)-1].Index
	return m.delete(n, low, high)
}

// compact cuts off the beginning, as after a snapshot.
func (m *logModel) compact(rng *rand.Rand, n int) Op[Logs] {
	g := &m.group[n]
	if len(g.entries) == 0 {
		return m.vote(rng, n)
	}
	return m.delete(n, g.entries[0].Index, g.entries[rng.IntN(len(g.entries))].Index)
}

// reset empties the log and lets it go on further on, as when a snapshot is installed.
func (m *logModel) reset(rng *rand.Rand, n int) Op[Logs] {
	g := &m.group[n]
	if len(g.entries) == 0 {
		return m.vote(rng, n)
	}
	low, high := g.entries[0].Index, g.entries[len(g.entries)-1].Index
	g.next = high + 1 + rng.Uint64N(1000)
	return m.delete(n, low, high)
}

func (m *logModel) delete(n int, low, high uint64) Op[Logs] {
	g := &m.group[n]
	g.next = max(g.next, high+1)
	g.entries = slices.DeleteFunc(slices.Clone(g.entries), func(e raft.Log) bool { return e.Index >= low && e.Index <= high })
	return Op[Logs]{
		Name: fmt.Sprintf("group %d: delete %d to %d", n, low, high), Durable: true,
		Do: onGroup(n, func(s LogStore) error { return s.DeleteRange(low, high) }),
	}
}

func (m *logModel) vote(rng *rand.Rand, n int) Op[Logs] {
	g := &m.group[n]
	text, numbers := stableKeys()
	i := rng.IntN(len(numbers) + 1)
	if i < len(numbers) {
		number := 1 + rng.Uint64()>>rng.IntN(64)
		g.numbers[i] = number
		return Op[Logs]{
			Name: fmt.Sprintf("group %d: set %s", n, numbers[i]), Durable: true,
			Do: onGroup(n, func(s LogStore) error { return s.SetUint64([]byte(numbers[i]), number) }),
		}
	}
	value := bytesOf(rng, 1+rng.IntN(20))
	g.text = string(value)
	return Op[Logs]{
		Name: fmt.Sprintf("group %d: set %s", n, text), Durable: true,
		Do: onGroup(n, func(s LogStore) error { return s.Set([]byte(text), value) }),
	}
}

// onGroup returns what does do to the log of group n.
func onGroup(n int, do func(LogStore) error) func(Logs) error {
	return func(s Logs) error {
		log, err := s.Group(n)
		if err != nil {
			return err
		}
		return do(log)
	}
}

func bytesOf(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// State writes the model out as stateOfLogs writes a store.
func (m *logModel) State() string {
	var b strings.Builder
	for n := range m.group {
		g := &m.group[n]
		first, last := uint64(0), uint64(0)
		if len(g.entries) > 0 {
			first, last = g.entries[0].Index, g.entries[len(g.entries)-1].Index
		}
		fmt.Fprintf(&b, "group %d: %d to %d, text %q, numbers %d\n", n, first, last, g.text, g.numbers)
		for i := range g.entries {
			writeEntry(&b, &g.entries[i])
		}
	}
	return b.String()
}

// stateOfLogs reads everything that the groups of s hold.
func stateOfLogs(s Logs) (string, error) {
	var b strings.Builder
	text, numbers := stableKeys()
	for n := range groups {
		log, err := s.Group(n)
		if err != nil {
			return "", err
		}
		first, err1 := log.FirstIndex()
		last, err2 := log.LastIndex()
		vote, err3 := log.Get([]byte(text))
		var values [2]uint64
		err = errors.Join(err1, err2, unlessNotFound(err3))
		for i, name := range numbers {
			var err4 error
			values[i], err4 = log.GetUint64([]byte(name))
			err = errors.Join(err, unlessNotFound(err4))
		}
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "group %d: %d to %d, text %q, numbers %d\n", n, first, last, vote, values)
		for index := first; index <= last && index > 0; index++ {
			var e raft.Log
			if err := log.GetLog(index, &e); err != nil {
				return "", fmt.Errorf("entry %d: %w", index, err)
			}
			writeEntry(&b, &e)
		}
	}
	return b.String(), nil
}

// unlessNotFound returns err, but not what raft takes for "never set".
func unlessNotFound(err error) error {
	if err != nil && err.Error() == "not found" {
		return nil
	}
	return err
}

func writeEntry(b *strings.Builder, e *raft.Log) {
	at := int64(0)
	if !e.AppendedAt.IsZero() {
		at = e.AppendedAt.UnixNano()
	}
	fmt.Fprintf(b, "  %d term %d type %d at %d ext %x data %d:%.20x\n", e.Index, e.Term, e.Type, at, e.Extensions, len(e.Data), e.Data)
}
