package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headgate/headgate/internal/config"
	"github.com/headgate/headgate/storage"
)

// download takes a backup of a node that runs, over its admin API.
func download(t *testing.T, n *testNode) func(io.Writer) error {
	t.Helper()
	return func(w io.Writer) error {
		answer, err := http.Post("http://"+n.Admin+"/v1/backup", "application/json", strings.NewReader(`{"reason": "nightly"}`))
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			b, _ := io.ReadAll(answer.Body)
			return fmt.Errorf("%d %s", answer.StatusCode, b)
		}
		_, err = io.Copy(w, answer.Body)
		return err
	}
}

func restore(t *testing.T, file, dir string, keep bool) *Restored {
	t.Helper()
	r, err := Restore(t.Context(), RestoreOrder{File: file, Dir: dir, KeepOpenWindows: keep, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func offline(dir string) func(io.Writer) error {
	return BackupDir(context.Background(), dir, "test", slog.New(slog.DiscardHandler))
}

// moved is c for another data directory.
func moved(t *testing.T, c config.Config) config.Config {
	t.Helper()
	c.DataDir = filepath.Join(t.TempDir(), "restored")
	return c
}

func TestARestoredNodeKnowsEverythingAndGrantsNothingOfWhatHadBegun(t *testing.T) {
	c := patientConfig(t, yearly(9)+"  - {name: search, by: [ip], quota: 5/min}\n")
	n := startNode(t, c)
	charge(t, n, "alice", 4)
	charge(t, n, "bob", 1)
	adjust(t, n, "bob", map[string]any{"by": 3}, 200)
	file := filepath.Join(t.TempDir(), "a.backup")
	m, err := BackupFile(file, download(t, n))
	if err != nil || m.Counters() != 2 || m.Tenure() != 1 || time.Since(m.MadeAt) > time.Minute {
		t.Fatalf("%+v, %v", m, err)
	}
	charge(t, n, "alice", 2) // the backup does not know of it
	key := quotaOf(t, n, "alice").Key
	if _, log := get(t, "http://"+n.Admin+"/v1/audit"); !strings.Contains(log, `"action": "backup"`) || !strings.Contains(log, "nightly") {
		t.Error(log)
	}

	to := moved(t, c)
	r := restore(t, file, to.DataDir, false)
	if r.Store == m.Store || r.Tenure <= tenuresAhead || r.From.Counters() != 2 || time.Until(r.Frozen) > 11*time.Minute {
		t.Errorf("%+v of %+v", r, m)
	}
	second := startNode(t, to)
	q := quotaOf(t, second, "alice")
	if q.Key != key || q.Used+q.Stranded < 4 || q.Used > 4 || !q.Frozen || q.Remaining != 0 || q.Amount != 9 {
		t.Errorf("alice: %+v", q)
	}
	if q := quotaOf(t, second, "bob"); q.Amount != 12 || q.Correct != 3 || q.Revision != 1 || !q.Frozen {
		t.Errorf("bob: %+v", q)
	}
	for _, what := range []string{"adjust", "reset"} { // it would change nothing that anybody notices
		fields := map[string]any{"by": 5}
		if what == "reset" {
			fields = nil
		}
		if _, text := postQuota(t, second, what, "alice", fields, 409); !strings.Contains(text, "is frozen") {
			t.Errorf("%s: %s", what, text)
		}
	}
	allow(t, second, "alice", false)
	allow(t, second, "carol", false) // nobody knows what she was granted since
	if _, page := get(t, "http://"+second.HTTP+"/metrics"); !strings.Contains(page, `headgate_degraded_total{reason="unavailable"} 0`) {
		t.Error("they are told that the node is unavailable, not when the period ends")
	}
	if !strings.Contains(second.log.String(), fmt.Sprintf("tenure=%d ", r.Tenure+1)) {
		t.Errorf("the tenure is not above %d:\n%s", r.Tenure, second.log)
	}

	// Of a node that was stopped, periods can go on.
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	if m, err = BackupFile(file, offline(c.DataDir)); err != nil || m.Counters() != 2 {
		t.Fatalf("%+v, %v", m, err)
	}
	to = moved(t, c)
	restore(t, file, to.DataDir, true)
	third := startNode(t, to)
	if q := quotaOf(t, third, "alice"); q.Used != 6 || q.Stranded != 0 || q.Remaining != 3 || q.Frozen {
		t.Errorf("alice: %+v", q)
	}
	allow(t, third, "alice", true, true, true, false)
	allow(t, third, "carol", true)
	if err := third.stop(); err != nil {
		t.Fatal(err)
	}
	third = startNode(t, to)
	if q := quotaOf(t, third, "alice"); q.Used != 9 || q.Remaining != 0 {
		t.Errorf("after a restart: %+v", q)
	}
}

func TestABackupOfANodeThatIsChargedIsWhole(t *testing.T) {
	const users = 300
	c := patientConfig(t, yearly(1000))
	n := startNode(t, c)
	for i := range users {
		charge(t, n, fmt.Sprint("u", i), 1)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := range 2 * users {
			charge(t, n, fmt.Sprint("u", i%users), 1)
		}
	}()
	dir, seen := t.TempDir(), int64(0)
	for i := 0; ; i++ {
		file := filepath.Join(dir, fmt.Sprint(i))
		m, err := BackupFile(file, download(t, n))
		if err != nil || m.Counters() != users {
			t.Errorf("%+v, %v", m, err)
		}
		seen++
		select {
		case <-ended:
			to := moved(t, c)
			restore(t, filepath.Join(dir, "0"), to.DataDir, true)
			again := startNode(t, to)
			for i := range users {
				if q := quotaOf(t, again, fmt.Sprint("u", i)); q.Used+q.Stranded+q.Remaining != 1000 || q.Used+q.Stranded < 1 {
					t.Fatalf("user %d: %+v", i, q)
				}
			}
			return
		default:
		}
	}
}

func TestABackupThatCantBeMadeIsRefusedAndLeavesNothing(t *testing.T) {
	c := patientConfig(t, hourly(5))
	n := startNode(t, c)
	dir := t.TempDir()
	file := filepath.Join(dir, "a.backup")
	if _, err := BackupFile(file, download(t, n)); err == nil || !strings.Contains(err.Error(), "409") || !strings.Contains(err.Error(), ErrNothingDurable.Error()) {
		t.Errorf("without a quota: %v", err)
	}
	if _, err := BackupFile(file, offline(c.DataDir)); !errors.Is(err, ErrLocked) {
		t.Errorf("a directory that is in use: %v", err)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := BackupFile(file, offline(c.DataDir)); !errors.Is(err, ErrNothingDurable) {
		t.Errorf("a directory without quotas: %v", err)
	}
	none := filepath.Join(dir, "none")
	if _, err := BackupFile(file, offline(none)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("it left %v, %v", entries, err)
	}
	// What is cut off is no backup, and an older one stays.
	write(t, file, "older")
	if _, err := BackupFile(file, func(w io.Writer) error { _, err := io.WriteString(w, "headgate backup\nformat 1\n"); return err }); err == nil {
		t.Error("half a file is taken for a backup")
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "older" {
		t.Errorf("%q, %v", b, err)
	}
}

// backupOf makes a backup of a node with one counter.
func backupOf(t *testing.T) (file string, c config.Config) {
	t.Helper()
	c = patientConfig(t, yearly(5))
	n := startNode(t, c)
	charge(t, n, "alice", 2)
	file = filepath.Join(t.TempDir(), "a.backup")
	if _, err := BackupFile(file, download(t, n)); err != nil {
		t.Fatal(err)
	}
	return file, c
}

func TestARestoreRefusesWhatItCantMakeWhole(t *testing.T) {
	file, _ := backupOf(t)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "broken")
	try := func(file, dir string) error {
		_, err := Restore(t.Context(), RestoreOrder{File: file, Dir: dir, Log: slog.New(slog.DiscardHandler)})
		return err
	}
	for name, in := range map[string]struct {
		content string
		want    error
		says    string
	}{
		"damaged":        {string(whole[:len(whole)/2]) + "x" + string(whole[len(whole)/2+1:]), ErrBackup, "is damaged, at byte"},
		"cut off":        {string(whole[:len(whole)-3]), ErrBackup, "cut off"},
		"newer":          {strings.Replace(string(whole), "format 2", "format 3", 1), storage.ErrNewerFormat, "format 3"},
		"something else": {"hello", ErrBackup, "does not begin"},
	} {
		write(t, broken, in.content)
		dir := filepath.Join(t.TempDir(), "data")
		if err := try(broken, dir); !errors.Is(err, in.want) || !strings.Contains(err.Error(), in.says) || !strings.Contains(err.Error(), broken) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: it made the directory", name)
		}
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "key-secret"), "0123456789abcdef")
	if err := try(file, dir); !errors.Is(err, ErrNotEmpty) || !strings.Contains(err.Error(), "key-secret") {
		t.Errorf("a directory that is not empty: %v", err)
	}
	if err := try(filepath.Join(dir, "none"), t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	mounted := t.TempDir() // as a new file system is
	if err := os.Mkdir(filepath.Join(mounted, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := try(file, mounted); err != nil {
		t.Errorf("a new file system: %v", err)
	}
}

func TestNobodyStartsWithARestoreThatWasInterrupted(t *testing.T) {
	file, c := backupOf(t)
	c = moved(t, c)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	order := RestoreOrder{File: file, Dir: c.DataDir, Log: slog.New(slog.DiscardHandler)}
	if _, err := Restore(ended, order); err == nil {
		t.Fatal("it was not interrupted")
	}
	if err := Run(t.Context(), Options{Config: c, Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, ErrRestoring) {
		t.Errorf("a node that starts with it: %v", err)
	}
	if _, err := BackupFile(file+"2", offline(c.DataDir)); !errors.Is(err, ErrRestoring) {
		t.Errorf("a backup of it: %v", err)
	}
	if _, err := Restore(t.Context(), order); !errors.Is(err, ErrRestoring) {
		t.Errorf("restored over it: %v", err)
	}
	if err := os.RemoveAll(c.DataDir); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), order); err != nil {
		t.Error(err)
	}
}

func TestARestoreOfARestoreHasTenuresOfItsOwn(t *testing.T) {
	file, c := backupOf(t)
	var last uint64
	for range 2 {
		to := moved(t, c)
		r := restore(t, file, to.DataDir, true)
		if r.Tenure < last+tenuresAhead {
			t.Errorf("tenure %d after %d", r.Tenure, last)
		}
		last = r.Tenure
		if _, err := BackupFile(file, offline(to.DataDir)); err != nil {
			t.Fatal(err)
		}
	}
}
