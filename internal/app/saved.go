package app

import (
	"bufio"
	"errors"
	"fmt"
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

// savedBuffer is how much of a saved table is read or written at once.
const savedBuffer = 1 << 20

// A savedTable is the counters of a node between a graceful stop and the next
// start.
type savedTable struct {
	file  string
	clock *clock.Clock
	log   *slog.Logger
}

// load puts the saved counters into t, which is not in use yet. A file that is
// damaged is set aside and said so: the node then starts with fresh counters,
// which allows more than it should rather than nothing. Only a file that is
// there and can't be read or set aside is an error.
func (s *savedTable) load(t *table.Table) error {
	f, err := os.Open(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("app: saved counters: %w", err)
	}
	began := time.Now()
	loaded, err := t.Load(bufio.NewReaderSize(f, savedBuffer), s.clock.Now())
	_ = f.Close() // only read from
	if err == nil {
		s.log.Info("saved counters loaded", slog.Int64("counters", loaded.Entries), slog.Int64("due", loaded.Due),
			slog.Int64("dropped", loaded.Dropped), slog.Time("saved_at", loaded.SavedAt.Time()), slog.Duration("took", time.Since(began)))
		return nil
	}
	if !isDamage(err) {
		return fmt.Errorf("app: saved counters %s: %w", s.file, err)
	}
	aside := s.file + damaged + time.Now().UTC().Format("20060102T150405.000000000")
	if renameErr := os.Rename(s.file, aside); renameErr != nil {
		return fmt.Errorf("app: set damaged counters aside: %w", errors.Join(renameErr, err))
	}
	s.log.Error("saved counters are damaged: starting with fresh ones",
		slog.String("error", err.Error()), slog.String("set_aside_as", aside))
	older := func(name string) bool {
		return strings.HasPrefix(name, savedName+damaged) && name != filepath.Base(aside)
	}
	if err := removeAll(filepath.Dir(s.file), older); err != nil {
		s.log.Warn("older damaged counters stay behind", slog.String("error", err.Error()))
	}
	return nil
}

// isDamage reports whether err is about what a file says rather than about
// reading it.
func isDamage(err error) bool {
	return errors.Is(err, table.ErrDamaged) || errors.Is(err, table.ErrVersion) || errors.Is(err, limiter.ErrSpecVersion)
}

// forget removes the file once its counters are in use: after a crash they
// would be of a time that nobody can tell.
func (s *savedTable) forget() error {
	if err := os.Remove(s.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("app: remove loaded counters: %w", err)
	}
	return nil
}

// save writes the counters of t, which nobody charges any more.
func (s *savedTable) save(t *table.Table) error {
	began := time.Now()
	err := writeFile(s.file, func(f *os.File) error {
		w := bufio.NewWriterSize(f, savedBuffer)
		return errors.Join(t.Save(w, s.clock.Now()), w.Flush())
	})
	if err != nil {
		return err
	}
	s.log.Info("counters saved", slog.String("file", s.file), slog.Duration("took", time.Since(began)))
	return nil
}
