package consensus

import (
	"io"
	"time"

	"github.com/hashicorp/raft"
)

// A machine is a group's state machine, and counts what raft has it do.
type machine struct {
	raft.FSM
	counts *counters
}

// A batchMachine is one that is given whole batches.
type batchMachine struct {
	machine
	batch raft.BatchingFSM
}

// watched returns fsm as raft is to see it.
func watched(fsm raft.FSM, counts *counters) raft.FSM {
	m := machine{fsm, counts}
	if batch, ok := fsm.(raft.BatchingFSM); ok {
		return batchMachine{m, batch}
	}
	return m
}

// Apply implements raft.FSM.
func (m machine) Apply(entry *raft.Log) any {
	start := time.Now()
	answer := m.FSM.Apply(entry)
	m.counts.applies.add(time.Since(start))
	return answer
}

// ApplyBatch implements raft.BatchingFSM.
func (m batchMachine) ApplyBatch(entries []*raft.Log) []any {
	start := time.Now()
	answers := m.batch.ApplyBatch(entries)
	m.counts.applies.add(time.Since(start))
	return answers
}

// Snapshot implements raft.FSM.
func (m machine) Snapshot() (raft.FSMSnapshot, error) {
	s, err := m.FSM.Snapshot()
	if err != nil {
		m.counts.snapshotsFailed.Add(1)
		return nil, err
	}
	return watchedSnapshot{s, m.counts}, nil
}

// Restore implements raft.FSM.
func (m machine) Restore(snapshot io.ReadCloser) error {
	err := m.FSM.Restore(snapshot)
	if err == nil {
		m.counts.restores.Add(1)
	}
	return err
}

// A watchedSnapshot is one that raft is writing.
type watchedSnapshot struct {
	raft.FSMSnapshot
	counts *counters
}

// Persist implements raft.FSMSnapshot.
func (s watchedSnapshot) Persist(sink raft.SnapshotSink) error {
	err := s.FSMSnapshot.Persist(sink)
	if err != nil {
		s.counts.snapshotsFailed.Add(1)
	} else {
		s.counts.snapshots.Add(1)
	}
	return err
}
