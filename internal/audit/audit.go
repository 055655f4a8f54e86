package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Bounds of a log.
const (
	// FileBytesMax is how large the file may become before it is set aside as
	// NAME.1, in place of an older one: both together are at most twice that.
	FileBytesMax = 1 << 20
	// RecordBytesMax is how large one record may be.
	RecordBytesMax = 16 << 10
)

// older is what the name of the file before this one ends in.
const older = ".1"

// A Record is one change.
type Record struct {
	Time   time.Time  `json:"time"`
	Action string     `json:"action"` // such as mode
	Domain string     `json:"domain,omitempty"`
	From   string     `json:"from,omitempty"`
	To     string     `json:"to,omitempty"`
	Until  *time.Time `json:"until,omitempty"` // when it ends by itself
	Reason string     `json:"reason,omitempty"`
	User   string     `json:"user,omitempty"`   // as the caller says
	Remote string     `json:"remote,omitempty"` // address of the connection; empty: the node itself
	Detail string     `json:"detail,omitempty"`
}

// A Log is a file of records, oldest first.
type Log struct {
	path string

	mu   sync.Mutex // guards file and size, and serialises writing
	file *os.File
	size int64
}

// Open opens the log at path and makes the file if there is none. The caller
// closes it.
func Open(path string) (*Log, error) {
	l := &Log{path: path}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("audit: open %s: %w", path, err)
	}
	return l, nil
}

func (l *Log) open() error {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	stat, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size = f, stat.Size()
	return nil
}

// Append adds r; it is on disk when Append returns without an error.
func (l *Log) Append(r *Record) error {
	line, err := json.Marshal(r)
	if err == nil && len(line) > RecordBytesMax {
		err = fmt.Errorf("the record has %d bytes, at most %d", len(line), RecordBytesMax)
	}
	if err == nil {
		err = l.write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("audit: append to %s: %w", l.path, err)
	}
	return nil
}

func (l *Log) write(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(line)) > FileBytesMax {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	if l.size > 0 { // a crash may have left half a line
		last := make([]byte, 1)
		if _, err := l.file.ReadAt(last, l.size-1); err != nil {
			return err
		}
		if last[0] != '\n' {
			line = append([]byte{'\n'}, line...)
		}
	}
	n, err := l.file.Write(line)
	l.size += int64(n)
	if err != nil {
		return err
	}
	return l.file.Sync()
}

// rotate sets the file aside. l.mu is held.
func (l *Log) rotate() error {
	if err := os.Rename(l.path, l.path+older); err != nil {
		return err
	}
	old := l.file
	if err := l.open(); err != nil {
		return err // old goes on being written
	}
	dir, err := os.Open(filepath.Dir(l.path))
	if err != nil {
		return errors.Join(err, old.Close())
	}
	return errors.Join(old.Close(), dir.Sync(), dir.Close())
}

// Recent returns the last n records, newest first. Lines that are no records,
// as a crash may leave one, are skipped.
func (l *Log) Recent(n int) ([]Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var records []Record
	for _, name := range []string{l.path + older, l.path} {
		text, err := readBounded(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("audit: read %s: %w", name, err)
		}
		for line := range bytes.Lines(text) {
			var r Record
			if json.Unmarshal(line, &r) == nil {
				records = append(records, r)
			}
		}
	}
	slices.Reverse(records)
	return records[:min(n, len(records))], nil
}

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // a file of ours
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	return io.ReadAll(io.LimitReader(f, 2*FileBytesMax))
}

// Close closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
