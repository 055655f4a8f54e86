package ledger

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage/raftlog"
	"github.com/headgate/headgate/storage/storagetest"
)

var (
	histories = flag.Int("histories", 8, "random histories of each crash test")
	seed      = flag.Uint64("seed", 0, "another one of other histories")
)

func crash[S any](t *testing.T, subject storagetest.Subject[S], plan storagetest.Plan) {
	t.Helper()
	plan.Seed += *seed << 8
	if testing.Short() {
		plan.Histories = (plan.Histories + 4) / 5
	}
	report, err := storagetest.Crash(subject, plan)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d: %+v", plan.Seed, report)
	if report.Crashes < plan.Histories || (plan.Faults && report.Faults == 0) {
		t.Fatalf("too few: %+v", report)
	}
}

// What a crash leaves of a ledger is what it was after some entry; a snapshot that
// is restored is there as a whole or not at all.
func TestACrashLeavesTheStateAfterSomeEntry(t *testing.T) {
	for _, faults := range []bool{false, true} {
		crash(t, storagetest.Subject[*bench]{
			Open: open, Close: (*bench).close,
			State:    func(b *bench) (string, error) { return dump(b.ledger) },
			NewModel: func() storagetest.Model[*bench] { return &ledgerModel{model: newModel()} },
		}, storagetest.Plan{Seed: 3, Histories: *histories, Ops: 40, CrashesMax: 20, Faults: faults})
	}
}

// A ledgerModel applies entries, takes snapshots and goes back to them.
type ledgerModel struct {
	*model
	kept  *model // what the snapshot is of
	bytes []byte
}

func (m *ledgerModel) State() string { return m.dump() }

func (m *ledgerModel) Next(rng *rand.Rand) storagetest.Op[*bench] {
	switch what := rng.IntN(10); {
	case what == 0:
		return m.takeSnapshot()
	case what == 1 && m.kept != nil:
		return m.restoreSnapshot()
	}
	var entries []*raft.Log
	for range 1 + rng.IntN(4) {
		m.applied++
		e := m.entry(rng)
		m.apply(e)
		entries = append(entries, log(m.applied, e))
	}
	return storagetest.Op[*bench]{Name: fmt.Sprintf("apply %d entries", len(entries)), Do: func(b *bench) error {
		return applyAll(b.ledger, entries)
	}}
}

func (m *ledgerModel) takeSnapshot() storagetest.Op[*bench] {
	m.kept = m.clone()
	return storagetest.Op[*bench]{Name: "take a snapshot", Do: func(b *bench) error {
		snap, err := b.ledger.Snapshot()
		if err != nil {
			return err
		}
		defer snap.Release()
		var s sink
		err = snap.Persist(&s)
		m.bytes = s.Bytes()
		return err
	}}
}

func (m *ledgerModel) restoreSnapshot() storagetest.Op[*bench] {
	m.model = m.kept.clone()
	return storagetest.Op[*bench]{Name: "restore the snapshot", Durable: true, Do: func(b *bench) error {
		return b.ledger.Restore(reader(m.bytes))
	}}
}

// A snapshot that is larger than what the log of the database writes at once.
func TestACrashLeavesALargeSnapshotAsAWholeOrNotAtAll(t *testing.T) {
	crash(t, storagetest.Subject[*bench]{
		Open: open, Close: (*bench).close,
		State:    func(b *bench) (string, error) { return dump(b.ledger) },
		NewModel: func() storagetest.Model[*bench] { return &largeModel{ledgerModel{model: newModel()}} },
	}, storagetest.Plan{Seed: 6, Histories: 2, Ops: 8, CrashesMax: 40})
}

// A largeModel fills the ledger, takes a snapshot, changes every counter, and goes
// back to it, again and again.
type largeModel struct{ ledgerModel }

func (m *largeModel) Next(*rand.Rand) storagetest.Op[*bench] {
	switch m.applied % 3 {
	case 1:
		if m.kept == nil {
			return m.takeSnapshot()
		}
	case 2:
		return m.restoreSnapshot()
	}
	e := &quota.Batch{At: now}
	for key := range uint64(1000) {
		e.Commands = append(e.Commands, ensure(now, key+1, 10*(m.applied+1)).Commands...)
	}
	m.applied++
	m.apply(e)
	entry := log(m.applied, e)
	return storagetest.Op[*bench]{Name: "apply a large entry", Do: func(b *bench) error {
		return applyAll(b.ledger, []*raft.Log{entry})
	}}
}

// applyAll applies entries and returns an error if one was not.
func applyAll(l *Ledger, entries []*raft.Log) error {
	var errs []error
	for _, answer := range l.ApplyBatch(entries) {
		if err, ok := answer.(error); ok {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// A replica is a ledger with its log, which is synced, and from which the ledger
// catches up when it is opened.
type replica struct {
	*bench
	log *raftlog.Log
}

func openReplica(fs vfs.FS) (*replica, error) {
	b, err := open(fs)
	if err != nil {
		return nil, err
	}
	r := &replica{bench: b}
	if r.log, err = raftlog.Open(b.db, 3, nil); err == nil {
		err = r.catchUp()
	}
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	return r, nil
}

// catchUp applies what is in the log; none may be missing.
func (r *replica) catchUp() error {
	first, _ := r.log.FirstIndex()
	last, _ := r.log.LastIndex()
	if first > r.ledger.Applied()+1 {
		return fmt.Errorf("the log begins with %d, and only %d was applied", first, r.ledger.Applied())
	}
	for index := r.ledger.Applied() + 1; index <= last; index++ {
		var e raft.Log
		if err := r.log.GetLog(index, &e); err != nil {
			return err
		}
		if err := applyAll(r.ledger, []*raft.Log{&e}); err != nil {
			return err
		}
	}
	return nil
}

// With its log, no entry is lost, also when the log has been compacted up to what
// was applied.
func TestNoCrashLosesAnEntryOfTheLog(t *testing.T) {
	for _, faults := range []bool{false, true} {
		crash(t, storagetest.Subject[*replica]{
			Open: openReplica, Close: func(r *replica) error { return r.close() },
			State:    func(r *replica) (string, error) { return dump(r.ledger) },
			NewModel: func() storagetest.Model[*replica] { return &replicaModel{newModel()} },
		}, storagetest.Plan{Seed: 4, Histories: *histories, Ops: 40, CrashesMax: 20, Faults: faults})
	}
}

type replicaModel struct{ *model }

func (m *replicaModel) State() string { return m.dump() }

func (m *replicaModel) Next(rng *rand.Rand) storagetest.Op[*replica] {
	if rng.IntN(8) == 0 {
		return storagetest.Op[*replica]{Name: "compact the log", Durable: true, Do: func(r *replica) error {
			return r.log.DeleteRange(1, r.ledger.Applied())
		}}
	}
	var entries []*raft.Log
	for range 1 + rng.IntN(4) {
		m.applied++
		e := m.entry(rng)
		m.apply(e)
		entries = append(entries, log(m.applied, e))
	}
	return storagetest.Op[*replica]{Name: fmt.Sprintf("store and apply %d entries", len(entries)), Durable: true, Do: func(r *replica) error {
		if err := r.log.StoreLogs(entries); err != nil {
			return err
		}
		return applyAll(r.ledger, entries)
	}}
}
