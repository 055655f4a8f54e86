package app

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/headgate/headgate/storage"
)

// TestAStoreThatIsGoneIsNotMadeAnew removes what quotas are recorded in, between two starts.
func TestAStoreThatIsGoneIsNotMadeAnew(t *testing.T) {
	worn := wornStore(t)
	for name, tt := range map[string]struct {
		remove []string
		want   string
	}{
		"all of it":            {[]string{"quotas"}, "quotas/store"},
		"the store":            {[]string{"quotas/store"}, "quotas/store"},
		"what is in the store": {[]string{"quotas/store/db", "quotas/store/STORE", "quotas/store/CLOSED", "quotas/store/ballast"}, "STORE"},
		"whose store it is":    {[]string{"quotas/store/STORE"}, "STORE"},
		"the database":         {[]string{"quotas/store/db"}, "db"},
		"it, and the secret":   {[]string{"quotas", "key-secret"}, "key-secret"},
	} {
		t.Run(name, func(t *testing.T) {
			c := copyOf(t, worn)
			claimServed(t, c.DataDir)
			for _, file := range tt.remove {
				if err := os.RemoveAll(filepath.Join(c.DataDir, file)); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // trying does not help
				_, err := tryStart(t, c)
				if err == nil {
					t.Fatal("the node starts, and every quota begins anew")
				}
				for _, want := range []string{tt.want, c.DataDir, "headgate restore"} {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("it does not say %q: %v", want, err)
					}
				}
				if errors.Is(err, ErrPolicies) {
					t.Errorf("the policies are blamed: %v", err)
				}
			}
			_, err := Adopt(t.Context(), AdoptOrder{Dir: c.DataDir, Log: slog.New(slog.DiscardHandler)})
			if err == nil || errors.Is(err, ErrNothingDurable) {
				t.Errorf("adopted: %v", err)
			}
		})
	}
}

// TestQuotasBeginAnewWhereTheOperatorRemovesAllThatSaysTheyWereServed is the way that
// ErrGone and the manual say.
func TestQuotasBeginAnewWhereTheOperatorRemovesAllThatSaysTheyWereServed(t *testing.T) {
	c := patientConfig(t, yearly(1))
	for range 2 {
		n := startNode(t, c)
		allow(t, n, "alice", true, false)
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(c.DataDir, quotasName)); err != nil {
			t.Fatal(err)
		}
		if _, err := tryStart(t, c); !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "remove "+filepath.Join(c.DataDir, placeName)) {
			t.Fatalf("%v", err)
		}
		if err := os.Remove(filepath.Join(c.DataDir, placeName)); err != nil {
			t.Fatal(err)
		}
	}
}

// claimServed has a copy be where it was made, and served as often as the original was.
func claimServed(t *testing.T, dir string) {
	t.Helper()
	d, err := lockDataDir(dir)
	if err == nil {
		err = errors.Join(d.claim(d.served()), d.close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestALogWithAnEntryMissingInItsMiddleIsRefused removes an entry, as the loss of a
// write-ahead log between others does: raft would panic where it replays it.
func TestALogWithAnEntryMissingInItsMiddleIsRefused(t *testing.T) {
	c := wornStore(t)
	db, err := storage.Open(storage.Default(filepath.Join(c.DataDir, quotasName, storeName)))
	if err != nil {
		t.Fatal(err)
	}
	lower, upper := storage.Span(0, storage.KindLog)
	entries, err := db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		t.Fatal(err)
	}
	if !entries.Last() || !entries.Prev() {
		t.Fatal("its log has no two entries")
	}
	b := db.NewBatch()
	if err := errors.Join(b.Delete(bytes.Clone(entries.Key()), nil), entries.Close(), db.Commit(b, pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = tryStart(t, c)
	if err == nil || !strings.Contains(err.Error(), "group 0: entry ") || !strings.Contains(err.Error(), "headgate restore") {
		t.Errorf("%v", err)
	}
}
