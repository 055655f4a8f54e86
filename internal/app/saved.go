package app

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/headgate/headgate/internal/clock"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
)

// savedBuffer is how much of a saved file is read or written at once.
const savedBuffer = 1 << 20

// A savedFile is what a node leaves between a graceful stop and the next start.
type savedFile struct {
	file string
	what string // it has
	log  *slog.Logger
}

// load reads the file by read, and returns false if there is none or it is damaged, which
// isDamage tells. Then it is set aside and said so: the node starts without what was
// in it. Only a file that is there and can't be read or set aside is an error.
func (s *savedFile) load(read func(io.Reader) error, isDamage func(error) bool) (ok bool, err error) {
	f, err := os.Open(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("app: saved %s: %w", s.what, err)
	}
	err = read(bufio.NewReaderSize(f, savedBuffer))
	_ = f.Close() // only read from
	switch {
	case err == nil:
		return true, nil
	case !isDamage(err):
		return false, fmt.Errorf("app: saved %s %s: %w", s.what, s.file, err)
	default:
		return false, s.setAside(err)
	}
}

// setAside keeps the file, which is damaged, for people to look at.
func (s *savedFile) setAside(damage error) error {
	aside := s.file + damaged + time.Now().UTC().Format("20060102T150405.000000000")
	if err := os.Rename(s.file, aside); err != nil {
		return fmt.Errorf("app: set damaged %s aside: %w", s.what, errors.Join(err, damage))
	}
	s.log.Error("a saved file is damaged: starting without what it had", slog.String("what", s.what),
		slog.String("error", damage.Error()), slog.String("set_aside_as", aside))
	older := func(name string) bool {
		return strings.HasPrefix(name, filepath.Base(s.file)+damaged) && name != filepath.Base(aside)
	}
	if err := removeAll(filepath.Dir(s.file), older); err != nil {
		s.log.Warn("older damaged files stay behind", slog.String("what", s.what), slog.String("error", err.Error()))
	}
	return nil
}

// forget removes the file, surely, once what it has is in use: after a crash it would be of
// a time that nobody can tell.
func (s *savedFile) forget() error {
	err := os.Remove(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = syncDir(filepath.Dir(s.file))
	}
	if err != nil {
		return fmt.Errorf("app: remove loaded %s: %w", s.what, err)
	}
	return nil
}

// save writes the file by write.
func (s *savedFile) save(write func(io.Writer) error) error {
	return writeFile(s.file, func(f *os.File) error {
		w := bufio.NewWriterSize(f, savedBuffer)
		return errors.Join(write(w), w.Flush())
	})
}

// A savedTable is the counters of a node between a graceful stop and the next start.
type savedTable struct {
	savedFile
	clock *clock.Clock
	whole bool // load has found them, all of them
}

// load puts the saved counters into t, which is not in use yet. Without them it allows more
// than it should rather than nothing.
func (s *savedTable) load(t *table.Table) error {
	began := time.Now()
	var loaded table.Loaded
	ok, err := s.savedFile.load(func(r io.Reader) (err error) {
		loaded, err = t.Load(r, s.clock.Now())
		return err
	}, func(err error) bool {
		return errors.Is(err, table.ErrDamaged) || errors.Is(err, table.ErrVersion) || errors.Is(err, limiter.ErrSpecVersion)
	})
	if !ok || err != nil {
		return err
	}
	s.whole = loaded.Dropped == 0
	s.log.Info("saved counters loaded", slog.Int64("counters", loaded.Entries), slog.Int64("due", loaded.Due),
		slog.Int64("dropped", loaded.Dropped), slog.Time("saved_at", loaded.SavedAt.Time()), slog.Duration("took", time.Since(began)))
	return nil
}

// save writes the counters of t, which nobody charges any more.
func (s *savedTable) save(t *table.Table) error {
	began := time.Now()
	if err := s.savedFile.save(func(w io.Writer) error { return t.Save(w, s.clock.Now()) }); err != nil {
		return err
	}
	s.log.Info("counters saved", slog.String("file", s.file), slog.Duration("took", time.Since(began)))
	return nil
}
