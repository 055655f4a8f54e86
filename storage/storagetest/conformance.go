package storagetest

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// TestLogs runs the conformance test: what raft relies on, case by case.
func TestLogs(t *testing.T, open func(fs vfs.FS) (Logs, error)) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, *bench){
		"an empty log says zero and ErrLogNotFound itself":              emptyLog,
		"an entry comes back as it was given":                           roundTrip,
		"a log may begin anywhere and has no gap":                       noGap,
		"ranges are deleted inclusively, and never leave a gap":         deleteRange,
		"a value that was never set is not found, by the text raft has": neverSet,
		"values are replaced, and may be empty":                         replaced,
		"groups don't see each other":                                   apart,
		"everything is there after it was closed and opened":            reopened,
	} {
		t.Run(name, func(t *testing.T) {
			b := &bench{open: open, fs: vfs.NewMem()}
			b.reopen(t)
			test(t, b)
			if err := b.logs.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A bench is a store under test.
type bench struct {
	open func(fs vfs.FS) (Logs, error)
	fs   vfs.FS
	logs Logs
}

func (b *bench) reopen(t *testing.T) {
	t.Helper()
	if b.logs != nil {
		if err := b.logs.Close(); err != nil {
			t.Fatal(err)
		}
	}
	logs, err := b.open(b.fs)
	if err != nil {
		t.Fatal(err)
	}
	b.logs = logs
}

func (b *bench) group(t *testing.T, n int) LogStore {
	t.Helper()
	log, err := b.logs.Group(n)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func store(t *testing.T, log LogStore, from, to uint64) {
	t.Helper()
	var entries []*raft.Log
	for i := from; i <= to; i++ {
		entries = append(entries, &raft.Log{Index: i, Term: 1, Data: []byte{byte(i)}})
	}
	if err := log.StoreLogs(entries); err != nil {
		t.Fatal(err)
	}
}

// wantBounds also looks for the entries at both ends and beyond.
func wantBounds(t *testing.T, log LogStore, first, last uint64) {
	t.Helper()
	gotFirst, err1 := log.FirstIndex()
	gotLast, err2 := log.LastIndex()
	if err := errors.Join(err1, err2); err != nil || gotFirst != first || gotLast != last {
		t.Fatalf("it has [%d, %d], %v; want [%d, %d]", gotFirst, gotLast, err, first, last)
	}
	for _, index := range []uint64{0, first - 1, first, last, last + 1} {
		var e raft.Log
		err := log.GetLog(index, &e)
		if there := index != 0 && index >= first && index <= last; there && (err != nil || e.Index != index) {
			t.Fatalf("GetLog(%d) = %+v, %v", index, e, err)
		} else if !there && err != raft.ErrLogNotFound { //nolint:errorlint // raft compares with ==
			t.Fatalf("GetLog(%d) = %v, want exactly ErrLogNotFound", index, err)
		}
	}
}

func emptyLog(t *testing.T, b *bench) {
	t.Helper()
	log := b.group(t, 0)
	wantBounds(t, log, 0, 0)
	if err := errors.Join(log.StoreLogs(nil), log.DeleteRange(1, 100)); err != nil {
		t.Fatal(err)
	}
	wantBounds(t, log, 0, 0)
	if !log.IsMonotonic() {
		t.Fatal("raft would leave gaps")
	}
}

func roundTrip(t *testing.T, b *bench) {
	t.Helper()
	log := b.group(t, 0)
	full := raft.Log{
		Index: 1, Term: 1 << 60, Type: raft.LogConfiguration, Data: []byte("data"),
		Extensions: []byte("extensions"), AppendedAt: time.Unix(1_700_000_000, 123_456_789),
	}
	large := raft.Log{Index: 2, Term: 1, Data: bytes.Repeat([]byte("0123456789abcdef"), 1<<16)}
	for _, want := range []raft.Log{full, large, {Index: 3}} {
		if err := log.StoreLog(&want); err != nil {
			t.Fatal(err)
		}
		got := raft.Log{Data: []byte("of before"), Extensions: []byte("of before"), Term: 9}
		if err := log.GetLog(want.Index, &got); err != nil {
			t.Fatal(err)
		}
		same := got.Index == want.Index && got.Term == want.Term && got.Type == want.Type &&
			bytes.Equal(got.Data, want.Data) && bytes.Equal(got.Extensions, want.Extensions) && got.AppendedAt.Equal(want.AppendedAt)
		if !same {
			t.Fatalf("entry %d: got term %d type %d at %v", want.Index, got.Term, got.Type, got.AppendedAt)
		}
	}
}

func noGap(t *testing.T, b *bench) {
	t.Helper()
	log := b.group(t, 0)
	store(t, log, 500, 502)
	wantBounds(t, log, 500, 502)
	for _, indexes := range [][]uint64{{504}, {502}, {501}, {503, 505}, {0}, {503, 503}} {
		var entries []*raft.Log
		for _, i := range indexes {
			entries = append(entries, &raft.Log{Index: i})
		}
		if err := log.StoreLogs(entries); err == nil {
			t.Fatalf("entries %d were stored after 502", indexes)
		}
		wantBounds(t, log, 500, 502)
	}
	if err := b.group(t, 1).StoreLog(&raft.Log{Index: 0}); err == nil {
		t.Fatal("index 0 was stored")
	}
}

func deleteRange(t *testing.T, b *bench) {
	t.Helper()
	log := b.group(t, 0)
	remove := func(low, high, first, last uint64) {
		t.Helper()
		if err := log.DeleteRange(low, high); err != nil {
			t.Fatal(err)
		}
		wantBounds(t, log, first, last)
		b.reopen(t)
		log = b.group(t, 0)
		wantBounds(t, log, first, last)
	}
	store(t, log, 10, 30)
	remove(1, 9, 10, 30)
	remove(31, 99, 10, 30)
	remove(20, 19, 10, 30)
	remove(10, 12, 13, 30)
	remove(0, 14, 15, 30)
	remove(28, 30, 15, 27)
	remove(25, 1000, 15, 24)
	if err := log.DeleteRange(17, 18); err == nil {
		t.Fatal("the middle was deleted")
	}
	wantBounds(t, log, 15, 24)
	store(t, log, 25, 26)
	remove(1, 1<<64-1, 0, 0)
	store(t, log, 3, 4)
	wantBounds(t, log, 3, 4)
	remove(3, 4, 0, 0)
}

func neverSet(t *testing.T, b *bench) {
	t.Helper()
	log := b.group(t, 0)
	if v, err := log.Get([]byte("k")); len(v) > 0 || (err != nil && err.Error() != "not found") {
		t.Fatalf("Get = %q, %v", v, err)
	}
	if v, err := log.GetUint64([]byte("k")); v != 0 || (err != nil && err.Error() != "not found") {
		t.Fatalf("GetUint64 = %d, %v", v, err)
	}
}

func replaced(t *testing.T, b *bench) {
	t.Helper()
	log := b.group(t, 0)
	for _, want := range []string{"one", "another", ""} {
		if err := log.Set([]byte("k"), []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := log.Get([]byte("k")); err != nil || string(got) != want {
			t.Fatalf("Get = %q, %v; want %q", got, err, want)
		}
	}
	for _, want := range []uint64{7, 1<<64 - 1, 0} {
		if err := log.SetUint64([]byte("n"), want); err != nil {
			t.Fatal(err)
		}
		if got, err := log.GetUint64([]byte("n")); err != nil || got != want {
			t.Fatalf("GetUint64 = %d, %v; want %d", got, err, want)
		}
	}
	if _, err := log.GetUint64([]byte("k")); err == nil {
		t.Fatal("a text was read as a number")
	}
}

func apart(t *testing.T, b *bench) {
	t.Helper()
	store(t, b.group(t, 0), 1, 3)
	store(t, b.group(t, 1), 7, 9)
	store(t, b.group(t, 2), 1, 1)
	if err := errors.Join(b.group(t, 0).Set([]byte("k"), []byte("v")), b.group(t, 1).DeleteRange(0, 1<<64-1)); err != nil {
		t.Fatal(err)
	}
	b.reopen(t)
	wantBounds(t, b.group(t, 0), 1, 3)
	wantBounds(t, b.group(t, 1), 0, 0)
	wantBounds(t, b.group(t, 2), 1, 1)
	neverSet(t, &bench{logs: otherGroup{b.logs}})
}

// otherGroup shows group 1 as group 0.
type otherGroup struct{ Logs }

func (o otherGroup) Group(int) (LogStore, error) { return o.Logs.Group(1) }

func reopened(t *testing.T, b *bench) {
	t.Helper()
	log := b.group(t, 0)
	store(t, log, 1, 5)
	if err := errors.Join(log.Set([]byte("k"), []byte("v")), log.SetUint64([]byte("n"), 3), log.DeleteRange(1, 1)); err != nil {
		t.Fatal(err)
	}
	b.reopen(t)
	log = b.group(t, 0)
	wantBounds(t, log, 2, 5)
	v, err1 := log.Get([]byte("k"))
	n, err2 := log.GetUint64([]byte("n"))
	if err := errors.Join(err1, err2); err != nil || string(v) != "v" || n != 3 {
		t.Fatalf("%q, %d, %v", v, n, err)
	}
}
