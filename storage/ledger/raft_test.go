package ledger

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/storage/raftlog"
)

// A voter is a group of one, with everything in one store but its snapshots.
type voter struct {
	*bench
	raft *raft.Raft
}

// startVoter starts raft as a node does: a snapshot is restored only if the
// database has less than it.
func startVoter(t *testing.T, fs vfs.FS, snapshots raft.SnapshotStore) (v *voter, restored bool) {
	t.Helper()
	b, err := open(fs)
	if err != nil {
		t.Fatal(err)
	}
	logs, err := raftlog.Open(b.db, 3, snapshots)
	if err != nil {
		t.Fatal(err)
	}
	c := raft.DefaultConfig()
	c.LocalID, c.Logger, c.BatchApplyCh = "one", hclog.NewNullLogger(), true
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	c.TrailingLogs = 3
	addr, trans := raft.NewInmemTransport("one")
	if list, err := snapshots.List(); err != nil {
		t.Fatal(err)
	} else if len(list) > 0 {
		_, stream, err := snapshots.Open(list[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		c.NoSnapshotRestoreOnStart, err = b.ledger.Covers(stream)
		if err := errors.Join(err, stream.Close()); err != nil {
			t.Fatal(err)
		}
		restored = !c.NoSnapshotRestoreOnStart
	} else if last, _ := logs.LastIndex(); last == 0 {
		members := raft.Configuration{Servers: []raft.Server{{ID: "one", Address: addr}}}
		if err := raft.BootstrapCluster(c, logs, logs, snapshots, trans, members); err != nil {
			t.Fatal(err)
		}
	}
	r, err := raft.NewRaft(c, b.ledger, logs, logs, snapshots, trans)
	if err != nil {
		t.Fatal(err)
	}
	<-r.LeaderCh()
	if err := r.Barrier(time.Minute).Error(); err != nil {
		t.Fatal(err)
	}
	return &voter{b, r}, restored
}

func (v *voter) stop(t *testing.T) {
	t.Helper()
	if err := errors.Join(v.raft.Shutdown().Error(), v.close()); err != nil {
		t.Fatal(err)
	}
}

func TestRaftGoesOnAfterCrashesAndSnapshots(t *testing.T) {
	disk, snapshots := vfs.NewCrashableMem(), raft.NewInmemSnapshotStore()
	rng := rand.New(rand.NewPCG(5, 5))
	m := newModel()
	restores := 0
	for round := range 8 {
		v, restored := startVoter(t, disk, snapshots)
		if restored {
			restores++
		}
		for range 10 {
			e := m.entry(rng)
			f := v.raft.Apply(e.AppendTo(nil), time.Minute)
			if err := f.Error(); err != nil {
				t.Fatal(err)
			}
			if got, want := fmt.Sprint(f.Response()), fmt.Sprint(m.apply(e)); got != want {
				t.Fatalf("round %d: %s, want %s", round, got, want)
			}
		}
		if round%2 == 0 {
			if err := v.raft.Snapshot().Error(); err != nil {
				t.Fatal(err)
			}
		}
		m.applied = v.ledger.Applied()
		if got, err := dump(v.ledger); err != nil || got != m.dump() {
			t.Fatalf("round %d: %v\n%s\nwant\n%s", round, err, got, m.dump())
		}
		after := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100 * (round % 2), RNG: rng})
		v.stop(t)
		disk = after
	}
	// Compacting the log is synced, so what a snapshot has is in the database by then.
	if restores > 0 {
		t.Fatalf("%d of 8 starts restored a snapshot", restores)
	}
}
