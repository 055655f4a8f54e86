package app

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage"
	"github.com/headgate/headgate/storage/ledger"
	"github.com/headgate/headgate/storage/raftlog"
)

const (
	snapshotsKept = 2
	// leadPoll is how often a group is asked whether it leads yet.
	leadPoll = 5 * time.Millisecond
	// closeWait is how long the groups of a store that can't be used may take to stop.
	closeWait = 10 * time.Second
	// lonelyAddr is the address of a node that nobody dials.
	lonelyAddr = "localhost:0"
	// A lone voter elects itself after this long.
	loneHeartbeat = 100 * time.Millisecond
)

// A quotaStore is where quotas are recorded: the groups of a lone voter, on one
// database.
type quotaStore struct {
	id      string
	growth  *quotaGrowth // is told of units that became free
	db      *storage.DB
	ledgers ledger.Set // by group
	groups  *consensus.Node
}

// openQuotaStore opens the store in dir, and makes it first if there is none and none
// has to exist. Without room on the disk it fails with storage.ErrFull: groups that start
// without room wait for it, and who starts them with them.
func openQuotaStore(dir string, exists bool, log *slog.Logger, growth *quotaGrowth) (*quotaStore, error) {
	c := storage.Default(filepath.Join(dir, storeName))
	c.Existing = exists
	c.Events = storageEvents(log)
	db, err := storage.Open(c)
	if err != nil {
		return nil, fmt.Errorf("app: quotas: %w", err)
	}
	if err := db.Err(); errors.Is(err, storage.ErrFull) {
		return nil, fmt.Errorf("app: quotas: %w", errors.Join(err, db.Close()))
	}
	store := db.Identity().Store
	s := &quotaStore{growth: growth, db: db, ledgers: make(ledger.Set, quota.Groups), id: hex.EncodeToString(store[:])}
	self := consensus.Server{ID: s.id, Addr: lonelyAddr}
	s.groups, err = consensus.Start(consensus.Config{
		ID: self.ID, Addr: self.Addr, Groups: quota.Groups,
		Stores:    func(group uint32) (consensus.Stores, error) { return s.stores(dir, group, log) },
		FSM:       func(group uint32) (raft.FSM, error) { return s.ledgers[group], nil },
		Bootstrap: []consensus.Server{self},
		Heartbeat: loneHeartbeat, Lease: loneHeartbeat / 2,
		SpreadInterval: -1,
		Events:         consensus.Events{Log: raftLog(log, db.Err)},
	})
	if err != nil {
		return nil, fmt.Errorf("app: quotas: %w", errors.Join(err, db.Close()))
	}
	return s, nil
}

// stores opens what one group keeps, and its ledger.
func (s *quotaStore) stores(dir string, group uint32, log *slog.Logger) (consensus.Stores, error) {
	stopped := func(err error) { log.Error("a group of quotas stopped", slog.String("error", err.Error())) }
	l, err := ledger.Open(ledger.Config{
		DB: s.db, Group: storage.Group(group), Stopped: stopped,
		Grown: s.growth.grown, Replaced: func() { s.growth.replaced(group) },
	})
	if err != nil {
		return consensus.Stores{}, err
	}
	s.ledgers[group] = l
	path := filepath.Join(dir, "snapshots", strconv.Itoa(int(group)))
	if err := os.MkdirAll(path, 0o700); err != nil {
		return consensus.Stores{}, err
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(path, snapshotsKept, hclog.NewNullLogger())
	if err != nil {
		return consensus.Stores{}, err
	}
	restored, err := covers(l, path, snapshots)
	if err != nil {
		return consensus.Stores{}, damagedSnapshot(path, err)
	}
	logs, err := raftlog.Open(s.db, storage.Group(group), snapshots)
	if err != nil {
		return consensus.Stores{}, err
	}
	if err := joined(l, logs, snapshots); err != nil {
		return consensus.Stores{}, &storage.DamagedError{Dir: dir, Cause: fmt.Errorf("group %d: %w", group, err)}
	}
	return consensus.Stores{Log: logs, Stable: patientStore{logs}, Snapshots: snapshots, Restored: restored}, nil
}

// covers reports whether the ledger has all that the newest snapshot has, of those that
// raft keeps in path. It reads the head of the snapshot, which has a checksum of its own:
// to open it as raft does is to read it to its end, which takes seconds if it has ten
// million counters, and nothing of it is needed if the ledger is as far.
func covers(l *ledger.Ledger, path string, snapshots raft.SnapshotStore) (bool, error) {
	list, err := snapshots.List()
	if err != nil || len(list) == 0 {
		return false, err
	}
	head, err := os.Open(filepath.Join(path, "snapshots", list[0].ID, "state.bin")) //nolint:gosec // the id is a name in this directory
	if err != nil {
		return false, err
	}
	covered, err := l.Covers(head)
	return covered, errors.Join(err, head.Close())
}

// damagedSnapshot tells a snapshot that is not what was written from one that the system
// does not let us read.
func damagedSnapshot(path string, err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) && errno != syscall.ENOENT {
		return err
	}
	return &storage.DamagedError{Dir: path, Cause: fmt.Errorf("its newest snapshot: %w", err)}
}

// joined reports a gap between what a snapshot has, the log that follows it, and what was
// applied of both: a piece is missing then.
func joined(l *ledger.Ledger, logs *raftlog.Log, snapshots raft.SnapshotStore) error {
	list, err := snapshots.List()
	if err != nil {
		return err
	}
	newest := uint64(0)
	if len(list) > 0 {
		newest = list[0].Index
	}
	first, _ := logs.FirstIndex() // in memory: no errors
	last, _ := logs.LastIndex()
	switch applied := l.Applied(); {
	case first > newest+1:
		return fmt.Errorf("its log begins with entry %d, and the newest snapshot that can be read ends with %d", first, newest)
	case applied > max(last, newest):
		return fmt.Errorf("its log ends with entry %d, and entries up to %d were applied", last, applied)
	}
	for index := max(first, newest+1); index <= last && index > 0; index++ { // raft panics if one of these is missing
		var entry raft.Log
		if err := logs.GetLog(index, &entry); errors.Is(err, raft.ErrLogNotFound) {
			return fmt.Errorf("entry %d of its log is missing, of %d to %d", index, first, last)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// lead waits until this node leads every group and has applied its log.
func (s *quotaStore) lead(ctx context.Context) error {
	tick, look := time.NewTicker(leadPoll), time.NewTicker(recheckEvery)
	defer tick.Stop()
	defer look.Stop()
	for group := range uint32(quota.Groups) {
		for !s.groups.Leads(group) {
			select {
			case <-ctx.Done():
				return fmt.Errorf("group %d has no leader: %w", group, errors.Join(ctx.Err(), s.db.Err()))
			case <-look.C:
				_ = s.db.Recheck() // it may have become full meanwhile
			case <-tick.C:
			}
		}
		if err := s.groups.Barrier(ctx, group); err != nil {
			return err
		}
	}
	return nil
}

// tenure returns the highest tenure that any group has seen.
func (s *quotaStore) tenure() (highest uint64) {
	for _, l := range s.ledgers {
		highest = max(highest, l.Tenure())
	}
	return highest
}

// takeTenure returns a tenure that no process has had, and none will have again: ahead
// above every one that the ledger knows, and recorded there before it is used. Not every
// command of a holder would have it recorded.
func (s *quotaStore) takeTenure(ctx context.Context, ahead uint64) (uint64, error) {
	const group = 0 // tenure asks all of them
	next := s.tenure() + ahead
	if err := s.propose(ctx, group, quota.Command{Op: quota.OpFence, Holder: quota.Holder{Tenure: next}}); err != nil {
		return 0, fmt.Errorf("tenure %d: %w", next, err)
	}
	return next, nil
}

// propose has a group apply a command that concerns no pool.
func (s *quotaStore) propose(ctx context.Context, group uint32, c quota.Command) error {
	l := s.ledgers[group]
	at := l.Time()
	entry := quota.Batch{At: at, Ahead: max(0, l.Clock()-at), Commands: []quota.Command{c}} // it moves neither time nor clock
	answer, err := s.groups.Propose(ctx, group, entry.AppendTo(nil))
	if err == nil {
		err, _ = answer.(error)
	}
	return err
}

// close stops the groups, and then closes the database. It stays open if that takes
// longer than ctx: closed, it would fail under those that still run.
func (s *quotaStore) close(ctx context.Context) error {
	err := s.groups.Stop(ctx)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("the database stays open: %w", err)
	}
	return errors.Join(err, s.db.Close())
}

func storageEvents(log *slog.Logger) storage.Events {
	return storage.Events{
		Full: func(err error) {
			log.Error("the disk is full: quotas get no more units", slog.String("error", err.Error()))
		},
		Recovered: func() { log.Info("there is room on the disk again: quotas go on") },
		Slow: func(op storage.SlowOperation) {
			log.Warn("the disk is slow", slog.String("what", op.What), slog.String("path", op.Path), slog.Duration("took", op.Took))
		},
		Stalled: func(reason string) { log.Warn("the disk can't keep up: quotas wait", slog.String("reason", reason)) },
		Resumed: func() { log.Info("the disk keeps up again") },
		Failed: func(err error) {
			log.Error("the quota store failed: quotas get no more units until the node is started again", slog.String("error", err.Error()))
		},
	}
}

// raftLog logs what goes wrong in the groups, but for what follows from a disk that is full,
// as health says, and was told.
func raftLog(log *slog.Logger, health func() error) func(uint32, consensus.Severity, string, []any) {
	return func(group uint32, severity consensus.Severity, msg string, attrs []any) {
		if severity != consensus.Error {
			return // how a lone voter elects itself, at each start
		}
		say := log.Warn
		if errors.Is(health(), storage.ErrFull) {
			say = log.Debug
		}
		say("raft says", append([]any{slog.Uint64("group", uint64(group)), slog.String("what", msg)}, attrs...)...)
	}
}
