package app

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/headgate/headgate/internal/config"
)

const damageUsers = 8

// wornStore returns settings of a node whose data directory has files of every kind: it
// was started several times, has snapshots and compacted logs, and its newest grants are
// in the write-ahead log alone. Each user has 4 units.
func wornStore(t *testing.T) config.Config {
	t.Helper()
	c := patientConfig(t, yearly(1000))
	spend := func() {
		n := startNode(t, c)
		for i := range damageUsers {
			charge(t, n, fmt.Sprint("u", i), 1)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		spend()
	}
	takeSnapshots(t, filepath.Join(c.DataDir, quotasName))
	spend()
	return c
}

// newest returns the last one of the files in a data directory that match a pattern.
func newest(t *testing.T, dir, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	return slices.Max(files)
}

// A damage is what becomes of a file.
type damage struct {
	name string
	do   func(file string) error
}

func damages() []damage {
	rewrite := func(change func([]byte) []byte) func(string) error {
		return func(file string) error {
			b, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			return os.WriteFile(file, change(b), 0o600)
		}
	}
	return []damage{
		{"a bit of it", rewrite(func(b []byte) []byte {
			b[len(b)/2] ^= 0x10
			return b
		})},
		{"its last bit", rewrite(func(b []byte) []byte {
			b[len(b)-1] ^= 1
			return b
		})},
		{"cut to half", rewrite(func(b []byte) []byte { return b[:len(b)/2] })},
		{"gone", os.Remove},
	}
}

// TestADamagedStoreIsRefusedWithWhatToDoOrHasLostNothing damages each kind of file of a
// real store. The node refuses to start with it, names it and says how to go on; or it
// starts, since it needs nothing of that file, and then knows of every unit. A table with
// a bit that is wrong ends the process's use of its disk, so it is in a test of the real
// command.
func TestADamagedStoreIsRefusedWithWhatToDoOrHasLostNothing(t *testing.T) {
	worn := wornStore(t)
	kinds := map[string]struct {
		pattern string
		refused bool // whatever becomes of it
		only    string
	}{
		"identity":          {"quotas/store/STORE", false, ""},
		"write-ahead log":   {"quotas/store/db/*.log", true, ""},
		"list of logs":      {"quotas/store/CLOSED", false, ""},
		"table":             {"quotas/store/db/*.sst", true, "gone"},
		"table, cut":        {"quotas/store/db/*.sst", true, "cut to half"},
		"list of files":     {"quotas/store/db/MANIFEST-*", true, ""},
		"which list counts": {"quotas/store/db/marker.manifest.*", true, "gone"},
		"format":            {"quotas/store/db/marker.format-version.*", true, "gone"},
		"options":           {"quotas/store/db/OPTIONS-*", false, ""},
		"snapshot":          {"quotas/snapshots/0/snapshots/*/state.bin", false, ""},
		"about a snapshot":  {"quotas/snapshots/0/snapshots/*/meta.json", false, ""},
		"key secret":        {"key-secret", true, ""},
	}
	for kind, k := range kinds {
		for _, d := range damages() {
			if k.only != "" && k.only != d.name {
				continue
			}
			t.Run(kind+" "+d.name, func(t *testing.T) {
				c := copyOf(t, worn)
				claim(t, c.DataDir)
				if err := d.do(newest(t, c.DataDir, k.pattern)); err != nil {
					t.Fatal(err)
				}
				n, err := tryStart(t, c)
				if err != nil {
					if !strings.Contains(err.Error(), "headgate restore") || !strings.Contains(err.Error(), c.DataDir) {
						t.Errorf("it does not say what to do: %v", err)
					}
					return
				}
				if k.refused {
					t.Error("the node starts with it")
				}
				for i := range damageUsers {
					if q := quotaOf(t, n, fmt.Sprint("u", i)); q.Used+q.Stranded < 4 {
						t.Fatalf("user %d: %+v", i, q)
					}
				}
				if err := n.stop(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestAnAdoptedCopyHasTheSecretThatTheOriginalHad(t *testing.T) {
	c := patientConfig(t, yearly(5))
	n := startNode(t, c)
	charge(t, n, "alice", 1)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	c = copyOf(t, c)
	write(t, filepath.Join(c.DataDir, secretName), "0123456789abcdef")
	_, err := Adopt(t.Context(), AdoptOrder{Dir: c.DataDir, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), secretName) {
		t.Errorf("adopted with another secret: %v", err)
	}
}
