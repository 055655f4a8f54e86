package storage

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// closed returns a store that was closed in order, whose last write is in the log alone,
// and the path of that log.
func closed(t *testing.T) (fs *vfs.MemFS, log string) {
	t.Helper()
	fs = vfs.NewCrashableMem()
	d := mustOpen(t, small(fs))
	if err := put(d, "\x02a", "1", pebble.Sync); err != nil {
		t.Fatal(err)
	}
	mustClose(t, d)
	logs := logsOf(t, fs)
	return fs, logs[len(logs)-1]
}

// logsOf returns the paths of a store's logs, the newest last.
func logsOf(t *testing.T, fs vfs.FS) (logs []string) {
	t.Helper()
	names, err := fs.List("data/store/db")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	for _, name := range names {
		if strings.HasSuffix(name, logSuffix) {
			logs = append(logs, "data/store/db/"+name)
		}
	}
	return logs
}

// overwrite replaces a file, as a disk that errs does.
func overwrite(t *testing.T, fs vfs.FS, path string, text []byte) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestALogThatIsNotAsItWasClosedIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		damage func(b []byte) []byte // nil: gone
		want   string
	}{
		"a bit is another":  {func(b []byte) []byte { b[len(b)/2] ^= 1; return b }, "has changed, since it was closed"},
		"its end is gone":   {func(b []byte) []byte { return b[:len(b)/2] }, "has changed"},
		"something follows": {func(b []byte) []byte { return append(b, 0) }, "has changed"},
		"it is gone":        {nil, "is gone, since it was closed"},
	} {
		fs, log := closed(t)
		if tt.damage == nil {
			if err := fs.Remove(log); err != nil {
				t.Fatal(err)
			}
		} else {
			b, err := fs.UnsafeGetFileDataBuffer(log)
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, fs, log, tt.damage(slices.Clone(b)))
		}
		for range 2 { // it stays refused
			_, err := Open(small(fs))
			var damaged *DamagedError
			if !errors.As(err, &damaged) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), log[len("data/store/"):]) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestASealIsForOneOpenAndSaysNothingAfterACrash(t *testing.T) {
	fs, log := closed(t)
	d := mustOpen(t, small(fs))
	if _, err := fs.Stat("data/store/" + sealFile); err == nil {
		t.Error("the store is open, and says that it is closed")
	}
	if err := put(d, "\x02b", "2", pebble.Sync); err != nil {
		t.Fatal(err)
	}
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, d)
	for _, left := range []vfs.FS{fs, crashed} {
		d = mustOpen(t, small(left))
		if a, b := get(t, d, "\x02a"), get(t, d, "\x02b"); a != "1" || b != "2" {
			t.Errorf("%q, %q", a, b)
		}
		mustClose(t, d)
	}
	// A log that was deleted, and is back since a crash undid that, does no harm.
	overwrite(t, fs, log, []byte("old"))
	mustClose(t, mustOpen(t, small(fs)))
}

func TestASealThatIsDamagedIsRefused(t *testing.T) {
	for _, text := range []string{"", "x", sealHead[:20], sealHead + "000002.log", sealHead + "../STORE 00\n", sealHead + "nothing\n"} {
		fs, _ := closed(t)
		overwrite(t, fs, "data/store/"+sealFile, []byte(text))
		var damaged *DamagedError
		if _, err := Open(small(fs)); !errors.As(err, &damaged) || !strings.Contains(err.Error(), sealFile) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestWhatTheSystemForbidsIsNotCalledDamage has single files of a store be forbidden.
func TestWhatTheSystemForbidsIsNotCalledDamage(t *testing.T) {
	for name, forbids := range map[string]func(errorfs.Op) bool{
		"a log":             func(op errorfs.Op) bool { return op.Kind == errorfs.OpOpen && strings.HasSuffix(op.Path, logSuffix) },
		"the list of files": func(op errorfs.Op) bool { return op.Kind == errorfs.OpOpen && strings.Contains(op.Path, "MANIFEST") },
		"whose store it is": func(op errorfs.Op) bool { return op.Kind == errorfs.OpOpen && strings.HasSuffix(op.Path, identityFile) },
		"new files":         func(op errorfs.Op) bool { return op.Kind == errorfs.OpCreate },
	} {
		fs, _ := closed(t)
		_, err := Open(small(errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if forbids(op) {
				return &os.PathError{Op: "open", Path: op.Path, Err: syscall.EACCES}
			}
			return nil
		}))))
		if !errors.Is(err, ErrPermission) || strings.Contains(err.Error(), "headgate restore") || !strings.Contains(err.Error(), "data/store") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAStoreThatMustBeThereIsNotMade(t *testing.T) {
	c := small(vfs.NewMem())
	c.Existing = true
	var damaged *DamagedError
	if _, err := Open(c); !errors.As(err, &damaged) || !strings.Contains(err.Error(), identityFile) {
		t.Errorf("%v", err)
	}
}

// TestAListOfFilesThatIsNotAsItWasClosedIsRefused damages the end of the list, which the
// database takes for the end that a crash cut off.
func TestAListOfFilesThatIsNotAsItWasClosedIsRefused(t *testing.T) {
	for name, damage := range map[string]func(b []byte) []byte{
		"its last bit is another": func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"its last byte is gone":   func(b []byte) []byte { return b[:len(b)-1] },
		"something follows":       func(b []byte) []byte { return append(b, 0) },
	} {
		fs, _ := closed(t)
		list, err := atomicfs.ReadMarker(fs, "data/store/db", listMarker)
		if err != nil || list == "" {
			t.Fatalf("%q, %v", list, err)
		}
		b, err := fs.UnsafeGetFileDataBuffer("data/store/db/" + list)
		if err != nil {
			t.Fatal(err)
		}
		overwrite(t, fs, "data/store/db/"+list, damage(slices.Clone(b)))
		var damaged *DamagedError
		if _, err := Open(small(fs)); !errors.As(err, &damaged) || !strings.Contains(err.Error(), list+" has changed, since it was closed") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
