package ledger

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

func exported(t *testing.T, l *Ledger) ([]byte, Summary) {
	t.Helper()
	var b bytes.Buffer
	s, err := l.Export(&b)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), s
}

func TestAnExportIsWhatASnapshotIs(t *testing.T) {
	b := filled(t, 300)
	stream, s := exported(t, b.ledger)
	if !bytes.Equal(stream, persist(t, b.ledger)) {
		t.Error("it has other bytes")
	}
	counters := int64(0)
	if err := b.ledger.Each(func(*Counter) error { counters++; return nil }); err != nil {
		t.Fatal(err)
	}
	want := Summary{Group: 3, Applied: b.ledger.Applied(), Clock: b.ledger.Clock(), Tenure: b.ledger.Tenure(), Counters: counters}
	if s != want || counters == 0 {
		t.Errorf("it says %+v, want %+v", s, want)
	}
	if got, err := Examine(bytes.NewReader(stream)); err != nil || got != want {
		t.Errorf("examined: %+v, %v", got, err)
	}
}

func TestAnImportHasEverythingButWhatWasApplied(t *testing.T) {
	from, to := filled(t, 300), mustOpen(t, vfs.NewMem())
	stream, s := exported(t, from.ledger)
	if got, err := to.ledger.Import(bytes.NewReader(stream)); err != nil || got != s {
		t.Fatalf("%+v, %v, want %+v", got, err, s)
	}
	if to.ledger.Applied() != 0 {
		t.Errorf("%d entries are taken for applied", to.ledger.Applied())
	}
	want, err := dump(from.ledger)
	if err != nil {
		t.Fatal(err)
	}
	got, err := dump(to.ledger)
	if err != nil {
		t.Fatal(err)
	}
	_, want, _ = strings.Cut(want, "\n")
	if _, got, _ = strings.Cut(got, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// The log begins anew, and its first entry counts.
	to.ledger.ApplyBatch([]*raft.Log{log(1, ensure(to.ledger.Time(), 1<<40, 1))})
	if to.ledger.Applied() != 1 {
		t.Errorf("the first entry of the new log: %d are applied", to.ledger.Applied())
	}
}

func TestDamageOfAnExportIsFoundWhereverItIs(t *testing.T) {
	stream, _ := exported(t, filled(t, 50).ledger)
	for i := 0; i < len(stream); i += 7 {
		broken := bytes.Clone(stream)
		broken[i] ^= 0x20
		if s, err := Examine(bytes.NewReader(broken)); err == nil {
			t.Errorf("byte %d of %d: %+v", i, len(stream), s)
		}
		if _, err := Examine(bytes.NewReader(stream[:i])); err == nil {
			t.Errorf("the first %d bytes of %d", i, len(stream))
		}
	}
}

func TestWindowsThatAreFrozenAreTold(t *testing.T) {
	b := mustOpen(t, vfs.NewMem())
	freeze := &quota.Batch{At: 1, Commands: []quota.Command{{Op: quota.OpFreeze, Window: quota.Window{Start: 100, End: 101}}}}
	b.ledger.Apply(log(1, freeze))
	for start, want := range map[int64]bool{0: true, 100: true, 101: false} {
		if got := b.ledger.Frozen(quota.Window{Start: start, End: start + 50}); got != want {
			t.Errorf("a window that starts at %d: %v", start, got)
		}
	}
	if p, found, err := b.ledger.Pool(limiter.Key{}, quota.Window{End: 1}); found || err != nil || p.Peak != 0 {
		t.Errorf("a freeze made a pool: %+v, %v", p, err)
	}
}
