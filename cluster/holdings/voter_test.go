package holdings_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage"
	ondisk "github.com/headgate/headgate/storage/ledger"
	"github.com/headgate/headgate/storage/raftlog"
)

// voterGroups is how many groups a voter has, and term where it keeps its terms.
const (
	voterGroups = 2
	term        = "CurrentTerm"
)

// The flaws of a voter. Each breaks one promise.
const (
	noFlaw         = ""
	answersEarly   = "it answers before the entry is on the disk"
	forgetsTheLog  = "what only the log has is not applied when it starts"
	reusesATenure  = "a process has the tenure of the one before"
	grantsLavishly = "grants are larger than they should be"
	losesRequests  = "a request is decided without its record"
)

// A voter is all groups of a lone voter, on one disk: what is submitted becomes an
// entry of a log, which is synced, then applied, then answered. It does what raft does
// with a group of one, one thing after the other.
type voter struct {
	flaw    string
	db      *storage.DB
	logs    [voterGroups]*raftlog.Log
	ledgers ondisk.Set
	tenure  uint64
	failed  error // no entry is stored any more
}

// openVoter opens what fs has, or makes it, applies what the logs have, and begins a
// term and a tenure.
func openVoter(fs vfs.FS, flaw string) (*voter, error) {
	db, err := storage.Open(storage.Config{
		Dir: "store", FS: fs, CacheBytes: storage.CacheBytesMin, MemTableBytes: storage.MemTableBytesMin, SlowAfter: -1,
	})
	if err != nil {
		return nil, err
	}
	v := &voter{flaw: flaw, db: db, ledgers: make(ondisk.Set, voterGroups)}
	for g := range v.logs {
		if err := v.openGroup(g); err != nil {
			return nil, errors.Join(fmt.Errorf("group %d: %w", g, err), db.Close())
		}
		v.tenure = max(v.tenure, v.ledgers[g].Tenure())
	}
	if v.tenure == 0 || flaw != reusesATenure {
		v.tenure++
	}
	return v, nil
}

func (v *voter) openGroup(g int) (err error) {
	if v.logs[g], err = raftlog.Open(v.db, storage.Group(g), nil); err != nil {
		return err
	}
	if v.ledgers[g], err = ondisk.Open(ondisk.Config{DB: v.db, Group: storage.Group(g)}); err != nil {
		return err
	}
	last, err := v.logs[g].LastIndex()
	if err != nil {
		return err
	}
	for i := v.ledgers[g].Applied() + 1; i <= last && v.flaw != forgetsTheLog; i++ {
		var e raft.Log
		if err := v.logs[g].GetLog(i, &e); err != nil {
			return err
		}
		if err, ok := v.ledgers[g].Apply(&e).(error); ok {
			return err
		}
	}
	return nil
}

// begin has the disk remember a new term of each group, and the tenure.
func (v *voter) begin(now limiter.Instant) error {
	for g := range v.logs {
		before, err := v.logs[g].GetUint64([]byte(term))
		if err != nil && !errors.Is(err, raftlog.ErrKeyNotFound) {
			return err
		}
		if err := v.logs[g].SetUint64([]byte(term), before+1); err != nil {
			return err
		}
	}
	_, err := v.propose(0, now, []quota.Command{{Op: quota.OpFence, Holder: quota.Holder{Tenure: v.tenure}}})
	return err
}

func (v *voter) close() error { return v.db.Close() }

// propose has an entry of commands committed and returns what they came to.
func (v *voter) propose(g int, now limiter.Instant, commands []quota.Command) ([]quota.Result, error) {
	if v.failed != nil {
		return nil, v.failed
	}
	last, _ := v.logs[g].LastIndex() // it has no error; 0 if all is compacted
	last = max(last, v.ledgers[g].Applied())
	for i := range commands {
		switch c := &commands[i]; {
		case v.flaw == grantsLavishly && c.Op == quota.OpEnsure && c.Target > c.Floor:
			c.Target += 200
		case v.flaw == losesRequests && c.Op == quota.OpSpend:
			c.Request.Lo = last // which nobody will ask for
		}
	}
	b := quota.Batch{At: int64(now) / int64(time.Millisecond), Commands: commands}
	e := &raft.Log{Index: last + 1, Term: 1, Type: raft.LogCommand, Data: b.AppendTo(nil)}
	if v.flaw == answersEarly { // it is nowhere but in what is applied, unsynced
		e.Index = v.ledgers[g].Applied() + 1
	} else if err := v.logs[g].StoreLog(e); err != nil {
		v.failed = err
		return nil, err
	}
	switch answer := v.ledgers[g].Apply(e).(type) {
	case []quota.Result:
		return answer, nil
	case error:
		v.failed = answer
		return nil, answer
	default:
		return nil, fmt.Errorf("entry %d of group %d was applied before", e.Index, g)
	}
}

// compact deletes all of a group's log but what is not applied and the newest entries.
func (v *voter) compact(g int, trailing uint64) error {
	applied := v.ledgers[g].Applied()
	first, _ := v.logs[g].FirstIndex()
	if first == 0 || applied < first+trailing {
		return nil
	}
	if err := v.logs[g].DeleteRange(first, applied-trailing); err != nil {
		v.failed = err
		return err
	}
	return nil
}
