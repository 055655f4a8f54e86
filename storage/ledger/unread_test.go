package ledger

import (
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/limiter/quota"
)

// A snapshot is restored and written; then the disk does not return, once, what is read of
// it. The ledger has what the snapshot has, or it has stopped: it must not go on with the
// state that is deleted, where every counter is new.
func TestALedgerThatCanNotReadWhatItRestoredStops(t *testing.T) {
	snapshot := persist(t, filled(t, 30_000).ledger)
	stopped := 0
	for nth := int64(1); nth <= 6; nth++ {
		var restored atomic.Bool
		var reads atomic.Int64
		fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if restored.Load() && op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst") && reads.Add(1) == nth {
				return syscall.EIO
			}
			return nil
		}))
		b := mustOpen(t, fs)
		b.ledger.Apply(log(1, ensure(now, 1, 5)))
		err := b.ledger.Restore(endTold{reader(snapshot), func() {
			for deadline := time.Now().Add(10 * time.Second); b.db.Metrics().Flush.Count == 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("nothing of the snapshot is in a table")
				}
			}
			restored.Store(true)
		}})
		restored.Store(false)
		if b.ledger.Err() != nil {
			stopped++
			continue
		}
		// Of key 7, 5 of 100 units are granted in the snapshot.
		e := ensure(now, 7, 98)
		e.Commands[0].Holder.Tenure = 2
		answer := b.ledger.Apply(&raft.Log{Index: 100_000, Type: raft.LogCommand, Data: e.AppendTo(nil)})
		if r, ok := answer.([]quota.Result); ok && r[0].Granted > 95 {
			t.Errorf("read %d failed (%v): %d of 100 units are granted, 5 were before", nth, err, r[0].Granted)
		}
	}
	if stopped == 0 {
		t.Error("no read failed behind the restore")
	}
}

// An endTold says that all was read of it, before who reads hears of it.
type endTold struct {
	io.ReadCloser
	end func()
}

func (r endTold) Read(b []byte) (int, error) {
	n, err := r.ReadCloser.Read(b)
	if err == io.EOF {
		r.end()
	}
	return n, err
}
