package app

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/headgate/headgate/internal/config"
)

// copyOf copies the data directory of c, and returns settings of a node with the copy.
func copyOf(t *testing.T, c config.Config) config.Config {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(c.DataDir)); err != nil {
		t.Fatal(err)
	}
	c.DataDir = dir
	return c
}

// claim has a data directory be where it was made.
func claim(t *testing.T, dir string) {
	t.Helper()
	d, err := lockDataDir(dir)
	if err == nil {
		err = errors.Join(d.claim(0), d.close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, c config.Config) {
	t.Helper()
	err := Run(t.Context(), Options{Config: c, Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, ErrCopied) || !strings.Contains(err.Error(), c.DataDir) || !strings.Contains(err.Error(), "headgate adopt") {
		t.Errorf("a node that starts with a copy: %v", err)
	}
}

func onlyWhereCopiesAreTold(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("copies are not told from the original here")
	}
}

func TestACopiedDataDirectoryIsRefusedUntilItIsAdopted(t *testing.T) {
	onlyWhereCopiesAreTold(t)
	c := patientConfig(t, yearly(6))
	n := startNode(t, c)
	charge(t, n, "alice", 2)
	hot := copyOf(t, c) // while it is in use
	charge(t, n, "alice", 1)
	refused(t, hot)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	cold := copyOf(t, c)
	refused(t, cold)

	// The original, and a directory that was only renamed, are where they were made.
	name := c.DataDir + "2"
	if err := os.Rename(c.DataDir, name); err != nil {
		t.Fatal(err)
	}
	c.DataDir = name
	n = startNode(t, c)
	charge(t, n, "alice", 1)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}

	quiet := slog.New(slog.DiscardHandler)
	a, err := Adopt(t.Context(), AdoptOrder{Dir: hot.DataDir, Log: quiet})
	if err != nil || a.Frozen.IsZero() || a.Tenure <= tenuresAhead {
		t.Fatalf("%+v, %v", a, err)
	}
	n = startNode(t, hot)
	allow(t, n, "alice", false)
	if q := quotaOf(t, n, "alice"); !q.Frozen || q.Remaining != 0 {
		t.Errorf("%+v", q)
	}
	if a, err = Adopt(t.Context(), AdoptOrder{Dir: cold.DataDir, Log: quiet, KeepOpenWindows: true}); err != nil || !a.Frozen.IsZero() {
		t.Fatalf("%+v, %v", a, err)
	}
	n = startNode(t, cold)
	allow(t, n, "alice", true, true, true, false)
}

func TestACopyWithoutQuotasIsOfNoConcern(t *testing.T) {
	c := patientConfig(t, hourly(5))
	n := startNode(t, c)
	allow(t, n, "alice", true)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n = startNode(t, copyOf(t, c))
	allow(t, n, "alice", true)
	if _, err := Adopt(t.Context(), AdoptOrder{Dir: c.DataDir, Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, ErrNothingDurable) {
		t.Errorf("adopted: %v", err)
	}
}

func TestTheFirstQuotaInACopyIsServedAndTheStoreIsTiedToIt(t *testing.T) {
	onlyWhereCopiesAreTold(t)
	c := patientConfig(t, hourly(5))
	if err := startNode(t, c).stop(); err != nil {
		t.Fatal(err)
	}
	c = copyOf(t, c)
	write(t, c.Policy.Paths[0], yearly(2))
	n := startNode(t, c)
	allow(t, n, "alice", true)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	refused(t, copyOf(t, c))
	if err := os.Truncate(filepath.Join(c.DataDir, placeName), 3); err != nil {
		t.Fatal(err)
	}
	refused(t, c)
	if err := os.Remove(filepath.Join(c.DataDir, placeName)); err != nil {
		t.Fatal(err)
	}
	refused(t, c)
}

func TestAnOlderStoreThatWasPutBackIsRefusedUntilItIsAdopted(t *testing.T) {
	c := patientConfig(t, yearly(6))
	spend := func() {
		n := startNode(t, c)
		charge(t, n, "alice", 1)
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	}
	spend()
	store, older := filepath.Join(c.DataDir, quotasName), filepath.Join(t.TempDir(), "older")
	if err := os.CopyFS(older, os.DirFS(store)); err != nil {
		t.Fatal(err)
	}
	spend()
	if err := errors.Join(os.RemoveAll(store), os.CopyFS(store, os.DirFS(older))); err != nil {
		t.Fatal(err)
	}
	for range 2 { // trying does not help
		err := Run(t.Context(), Options{Config: c, Log: slog.New(slog.DiscardHandler)})
		if !errors.Is(err, ErrOlder) || !strings.Contains(err.Error(), c.DataDir) || !strings.Contains(err.Error(), "headgate adopt") {
			t.Errorf("a node that starts with it: %v", err)
		}
	}
	if _, err := Adopt(t.Context(), AdoptOrder{Dir: c.DataDir, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	n := startNode(t, c)
	allow(t, n, "alice", false)
}

func TestPlacesAreToldByWhatIsKnownOfThem(t *testing.T) {
	for name, p := range map[string]struct {
		a, b place
		want bool
	}{
		"the same":                         {place{5, 6}, place{5, 6}, true},
		"made at another time":             {place{5, 6}, place{7, 6}, false},
		"numbered anew":                    {place{5, 6}, place{5, 9}, true},
		"another file, of unknown age":     {place{0, 6}, place{0, 9}, false},
		"the same file, of unknown age":    {place{0, 6}, place{0, 6}, true},
		"age known now, and the same file": {place{0, 6}, place{5, 6}, true},
		"nothing is known":                 {place{}, place{}, true},
	} {
		if p.a.is(p.b) != p.want || p.b.is(p.a) != p.want {
			t.Errorf("%s: want %v", name, p.want)
		}
	}
}
