package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// killed returns what a process leaves that is killed with several logs that no table has.
func killed(t *testing.T) (fs *vfs.MemFS, logs []string) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	d := mustOpen(t, small(mem))
	for i := range 3 {
		if err := put(d, fmt.Sprint("\x02a", i), strings.Repeat("x", 100<<10), pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	d.synced.idle() // as soon as no other waits
	fs = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	mustClose(t, d)
	return fs, logsOf(t, fs)
}

func TestWhatIsMissingOfALogAfterAKillIsRefused(t *testing.T) {
	for name, damage := range map[string]func(b []byte) []byte{
		"gone":             nil,
		"empty":            func([]byte) []byte { return nil },
		"cut":              func(b []byte) []byte { return b[:len(b)/2] },
		"its end is zero":  func(b []byte) []byte { clear(b[len(b)-100:]); return b },
		"its end is wrong": func(b []byte) []byte { b[len(b)-20] ^= 1; return b },
	} {
		fs, logs := killed(t)
		log := logs[len(logs)-1]
		if damage == nil {
			if err := fs.Remove(log); err != nil {
				t.Fatal(err)
			}
		} else {
			b, err := fs.UnsafeGetFileDataBuffer(log)
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, fs, log, damage(slices.Clone(b)))
		}
		var damaged *DamagedError
		if _, err := Open(small(fs)); !errors.As(err, &damaged) || !strings.Contains(err.Error(), log[len("data/store/"):]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	fs, logs := killed(t)
	if len(logs) < 2 {
		t.Fatalf("the logs are %v", logs)
	}
	overwrite(t, fs, logs[0], nil)
	if d, err := Open(small(fs)); err == nil { // a table had it all by then
		if get(t, d, "\x02a0") == "" {
			t.Error("what one before others had is lost")
		}
		mustClose(t, d)
	} else if !strings.Contains(err.Error(), "has 0 bytes, and ") {
		t.Errorf("one before others is empty: %v", err)
	}
	fs, _ = killed(t)
	mustClose(t, mustOpen(t, small(fs)))
}
