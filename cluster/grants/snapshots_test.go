package grants_test

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
)

// snapshots keep the last snapshot of a group in memory: no test waits for a disk, which
// simulated time would not know of. Unlike raft's own store in memory they hand out none
// that is still being written. The zero value has none.
type snapshots struct {
	mu    sync.Mutex
	made  int // names them
	last  raft.SnapshotMeta
	bytes []byte
}

// Create implements raft.SnapshotStore.
func (s *snapshots) Create(
	version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, _ raft.Transport,
) (raft.SnapshotSink, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	return &snapshotSink{store: s, meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d-%d", term, index, s.made), Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex,
	}}, nil
}

// List implements raft.SnapshotStore.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last.ID == "" {
		return nil, nil
	}
	meta := s.last
	return []*raft.SnapshotMeta{&meta}, nil
}

// Open implements raft.SnapshotStore.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last.ID != id {
		return nil, nil, fmt.Errorf("open snapshot %s: the last is %q", id, s.last.ID)
	}
	meta := s.last
	return &meta, io.NopCloser(bytes.NewReader(s.bytes)), nil
}

// A snapshotSink is a snapshot that is being written.
type snapshotSink struct {
	bytes.Buffer
	store *snapshots
	meta  raft.SnapshotMeta
	ended bool
}

// ID implements raft.SnapshotSink.
func (k *snapshotSink) ID() string { return k.meta.ID }

// Cancel implements raft.SnapshotSink.
func (k *snapshotSink) Cancel() error {
	k.ended = true
	return nil
}

// Close implements raft.SnapshotSink. What was cancelled before is not kept, nor what is
// older than the last.
func (k *snapshotSink) Close() error {
	if k.ended {
		return nil
	}
	k.ended = true
	s := k.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.meta.Term > s.last.Term || k.meta.Term == s.last.Term && k.meta.Index >= s.last.Index {
		k.meta.Size = int64(k.Len())
		s.last, s.bytes = k.meta, k.Bytes()
	}
	return nil
}

func TestOnlyWholeSnapshotsAreHandedOut(t *testing.T) {
	var store snapshots
	begin := func(index, term uint64, text string) raft.SnapshotSink {
		t.Helper()
		sink, err := store.Create(1, index, term, raft.Configuration{}, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(sink, text); err != nil {
			t.Fatal(err)
		}
		return sink
	}
	end := func(do func() error) {
		t.Helper()
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	last := func() string {
		t.Helper()
		list, err := store.List()
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return ""
		}
		meta, r, err := store.Open(list[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil || int64(len(text)) != meta.Size || meta.Index != list[0].Index {
			t.Fatalf("%q, %+v, %v", text, meta, err)
		}
		return string(text)
	}
	for _, step := range []struct {
		name string
		do   func()
		want string
	}{
		{"none at first", func() {}, ""},
		{"none while it is written", func() { begin(5, 1, "half") }, ""},
		{"one that was closed", func() { end(begin(5, 1, "whole").Close) }, "whole"},
		{"not one that was cancelled, and closed then", func() {
			sink := begin(6, 1, "cancelled")
			end(sink.Cancel)
			end(sink.Close)
		}, "whole"},
		{"not an older one that was slower", func() { end(begin(4, 1, "old").Close) }, "whole"},
		{"a later one", func() { end(begin(7, 2, "later").Close) }, "later"},
	} {
		if step.do(); last() != step.want {
			t.Errorf("%s: got %q, want %q", step.name, last(), step.want)
		}
	}
	if _, _, err := store.Open("1-5-1"); err == nil {
		t.Error("a snapshot that is gone can be opened")
	}
}
