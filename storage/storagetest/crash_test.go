package storagetest_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/headgate/headgate/storage/storagetest"
)

// A journal is a store of lines in one file, with a flaw or without.
type journal struct {
	flaw string
	fs   vfs.FS
	file vfs.File
	text string
}

// The flaws. Each breaks one promise.
const (
	none          = "none"
	forgetsToSync = "it forgets to sync the file"
	forgetsDir    = "it forgets to sync the directory"
	ignoresErrors = "it ignores an error of a sync"
	reorders      = "a later line is on the disk first"
)

func openJournal(flaw string) func(fs vfs.FS) (*journal, error) {
	return func(fs vfs.FS) (*journal, error) {
		j := &journal{flaw: flaw, fs: fs}
		if f, err := fs.Open("journal"); err == nil {
			b, err := io.ReadAll(f)
			if err := errors.Join(err, f.Close()); err != nil {
				return nil, err
			}
			j.text = string(b[:strings.LastIndexByte(string(b), '\n')+1])
		} else if !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		// Written anew under another name, which ends what a crash left half done.
		f, err := fs.Create("journal.new", vfs.WriteCategoryUnspecified)
		if err != nil {
			return nil, err
		}
		if _, err := f.Write([]byte(j.text)); err != nil {
			return nil, err
		}
		if err := errors.Join(f.Sync(), fs.Rename("journal.new", "journal")); err != nil {
			return nil, err
		}
		if j.file = f; flaw != forgetsDir {
			d, err := fs.OpenDir("/")
			if err != nil {
				return nil, err
			}
			if err := errors.Join(d.Sync(), d.Close()); err != nil {
				return nil, err
			}
		}
		return j, nil
	}
}

func (j *journal) add(line string) error {
	j.text += line
	if _, err := j.file.Write([]byte(line)); err != nil {
		return err
	}
	switch j.flaw {
	case forgetsToSync:
		return nil
	case ignoresErrors:
		_ = j.file.Sync()
		return nil
	default:
		return j.file.Sync()
	}
}

// A journalModel counts lines.
type journalModel struct {
	flaw  string
	lines []string
}

func (m *journalModel) Next(rng *rand.Rand) storagetest.Op[*journal] {
	line := fmt.Sprintf("%d\n", len(m.lines))
	m.lines = append(m.lines, line)
	return storagetest.Op[*journal]{Name: "add " + line[:len(line)-1], Durable: rng.IntN(3) > 0, Do: func(j *journal) error {
		if m.flaw == reorders {
			return j.swap(line, "later\n")
		}
		return j.add(line)
	}}
}

// swap writes line in the end, but later is on the disk before it.
func (j *journal) swap(line, later string) error {
	before := j.text
	if err := j.add(later); err != nil {
		return err
	}
	f, err := j.fs.Create("journal", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(before + line))
	j.file, j.text = f, before+line
	return errors.Join(err, f.Sync())
}

func (m *journalModel) State() string { return strings.Join(m.lines, "") }

func run(flaw string, plan storagetest.Plan) (storagetest.Report, error) {
	return storagetest.Crash(storagetest.Subject[*journal]{
		Open:     openJournal(flaw),
		Close:    func(j *journal) error { return j.file.Close() },
		State:    func(j *journal) (string, error) { return j.text, nil },
		NewModel: func() storagetest.Model[*journal] { return &journalModel{flaw: flaw} },
	}, plan)
}

func TestTheKitPassesAStoreThatKeepsItsPromise(t *testing.T) {
	for _, faults := range []bool{false, true} {
		report, err := run(none, storagetest.Plan{Seed: 1, Histories: 20, Ops: 20, CrashesMax: 100, Faults: faults})
		if err != nil {
			t.Fatal(err)
		}
		if report.Crashes < 100 || faults != (report.Faults > 0) {
			t.Fatalf("%+v", report)
		}
	}
}

func TestTheKitCatchesAStoreThatBreaksIt(t *testing.T) {
	for _, tt := range []struct {
		flaw   string
		faults bool
		want   string
	}{
		{forgetsToSync, false, "lost what was acknowledged"},
		{forgetsDir, false, "lost what was acknowledged"},
		{ignoresErrors, true, "lost what was acknowledged"},
		{reorders, false, "shows no prefix"},
	} {
		t.Run(tt.flaw, func(t *testing.T) {
			_, err := run(tt.flaw, storagetest.Plan{Seed: 1, Histories: 20, Ops: 20, CrashesMax: 100, Faults: tt.faults})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want an error with %q", err, tt.want)
			}
			t.Log(err)
		})
	}
}
