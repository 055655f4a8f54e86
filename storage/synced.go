package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
	"github.com/cockroachdb/pebble/v2/wal"
)

// syncedFile says how much of the newest logs and of the list of files is known to be on
// the disk, with a checksum: after a process was killed, what is missing of that was lost
// later. It is rewritten in place and not synced, so that it costs nothing: after a power cut it
// may be an older one, and what that says is still true. It is one sector, which is
// written as a whole or not at all; one that can't be read says nothing.
const (
	syncedFile  = "SYNCED"
	syncedHead  = "headgate store, synced\n"
	syncedBytes = 512
	// syncedFiles is how many files it names: the logs that no table has, and the list.
	syncedFiles = memTables + 3
	// It is rewritten when so much more was synced, and when nothing waits to be.
	syncedAhead = 64 << 10
)

// A prefix is what is known to be on the disk of a file of the database.
type prefix struct {
	name  string
	bytes int64
	sum   uint32 // CRC-32C of them
}

// synced keeps the file.
type synced struct {
	mu      sync.Mutex // guards what follows
	file    vfs.File   // nil: nothing is written (any more)
	known   []prefix   // what was synced last is the last
	unsaved int64
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// text returns the content of the file.
func (s *synced) text() []byte {
	text := []byte(syncedHead)
	for _, p := range s.known {
		text = fmt.Appendf(text, "%s %d %08x\n", p.name, p.bytes, p.sum)
	}
	text = fmt.Appendf(text, "sum %08x\n", crc32.Checksum(text, castagnoli()))
	return append(text, make([]byte, syncedBytes-len(text))...)
}

// parseSynced is the inverse of text; ok is false if it is no such text.
func parseSynced(b []byte) (known []prefix, ok bool) {
	text, ok := strings.CutSuffix(strings.TrimRight(string(b), "\x00"), "\n")
	at := strings.LastIndexByte(text, '\n') + 1
	if !ok || text[at:] != fmt.Sprintf("sum %08x", crc32.Checksum([]byte(text[:at]), castagnoli())) {
		return nil, false
	}
	rest, ok := strings.CutPrefix(text[:at], syncedHead)
	for line := range strings.Lines(rest) {
		var p prefix
		if _, err := fmt.Sscanf(line, "%s %d %x\n", &p.name, &p.bytes, &p.sum); err != nil {
			return nil, false
		}
		known = append(known, p)
	}
	return known, ok
}

// begin makes the file, with what is known, and keeps it open.
func (s *synced) begin(fs vfs.FS, dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := writeDurably(fs, dir, syncedFile, s.text()); vfs.IsNoSpaceError(err) {
		return nil // it goes on without
	} else if err != nil {
		return err
	}
	file, err := fs.OpenReadWrite(fs.PathJoin(dir, syncedFile), vfs.WriteCategoryUnspecified)
	if err == nil {
		s.file = file
	}
	return err
}

// note takes down that p is on the disk.
func (s *synced) note(p prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsaved += p.bytes
	if i := slices.IndexFunc(s.known, func(q prefix) bool { return q.name == p.name }); i >= 0 {
		s.unsaved -= s.known[i].bytes
		s.known = slices.Delete(s.known, i, i+1)
	} else if len(s.known) == syncedFiles {
		s.known = slices.Delete(s.known, 0, 1)
	}
	s.known = append(s.known, p)
	if s.unsaved >= syncedAhead || strings.HasPrefix(p.name, listPrefix) {
		s.save()
	}
}

// idle writes what is known: nobody waits.
func (s *synced) idle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unsaved > 0 {
		s.save()
	}
}

// save rewrites the file. A disk that fails it fails what counts, too. s.mu is held.
func (s *synced) save() {
	s.unsaved = 0
	if s.file != nil {
		_, _ = s.file.WriteAt(s.text(), 0)
	}
}

// end writes what is known and closes the file.
func (s *synced) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.save()
	if s.file == nil {
		return nil
	}
	file := s.file
	s.file = nil
	return file.Close()
}

// A syncedFS notes what is synced of logs and lists of files.
type syncedFS struct {
	vfs.FS
	synced *synced
}

// Unwrap is of vfs.FS.
func (f syncedFS) Unwrap() vfs.FS { return f.FS }

// Create is of vfs.FS.
func (f syncedFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, category)
	return f.watch(name, file, err)
}

// ReuseForWrite is of vfs.FS.
func (f syncedFS) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.ReuseForWrite(from, to, category)
	return f.watch(to, file, err)
}

func (f syncedFS) watch(name string, file vfs.File, err error) (vfs.File, error) {
	name = f.PathBase(name)
	if err != nil || kindOf(name) == "" {
		return file, err
	}
	return &syncedPrefix{File: file, synced: f.synced, written: prefix{name: name}}, nil
}

// A syncedPrefix is a file that is written from its beginning to its end.
type syncedPrefix struct {
	vfs.File
	synced *synced

	mu      sync.Mutex // guards what follows
	written prefix
	unsure  bool // what a write that failed has left
}

// Write is of vfs.File.
func (f *syncedPrefix) Write(b []byte) (int, error) {
	f.mu.Lock()
	next := crc32.Update(f.written.sum, castagnoli(), b) // before the write, which may change b
	f.mu.Unlock()
	n, err := f.File.Write(b)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unsure = f.unsure || n != len(b) || err != nil
	f.written.bytes, f.written.sum = f.written.bytes+int64(n), next
	return n, err
}

// Sync is of vfs.File.
func (f *syncedPrefix) Sync() error { return f.after(f.File.Sync) }

// SyncData is of vfs.File.
func (f *syncedPrefix) SyncData() error { return f.after(f.File.SyncData) }

func (f *syncedPrefix) after(sync func() error) error {
	f.mu.Lock()
	p, unsure := f.written, f.unsure
	f.mu.Unlock()
	err := sync()
	if err == nil && !unsure {
		f.synced.note(p)
	}
	return err
}

// checkFiles compares the files of the database with what was recorded of them, before
// anything is written, and removes the records: they are true of this state alone.
func checkFiles(fs vfs.FS, dir string) error {
	if err := breakSeal(fs, dir); err != nil {
		return err
	}
	if err := checkSynced(fs, dir); err != nil {
		return err
	}
	if err := fs.Remove(fs.PathJoin(dir, syncedFile)); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return syncDir(fs, dir)
}

// checkSynced compares the files of the database with what is known to have been synced of
// them, before anything is written.
func checkSynced(fs vfs.FS, dir string) error {
	b, err := readUpTo(fs, fs.PathJoin(dir, syncedFile), syncedBytes)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a store of before
	} else if err != nil {
		return err
	}
	known, ok := parseSynced(b)
	if !ok {
		return nil
	}
	db := fs.PathJoin(dir, databaseDir)
	list, err := atomicfs.ReadMarker(fs, db, listMarker)
	if err != nil || list == "" {
		return nil //nolint:nilerr // whoever opens it says so
	}
	for _, p := range known {
		if p.name == list {
			if err := p.check(fs, dir); err != nil {
				return err
			}
		}
	}
	needed, err := firstNeeded(fs, fs.PathJoin(db, list))
	if err != nil {
		return nil //nolint:nilerr // as above
	}
	for _, p := range known {
		if number, _, ok := wal.ParseLogFilename(p.name); ok && uint64(number) >= needed {
			if err := p.check(fs, dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// check reports what is missing of a file that is needed.
func (p prefix) check(fs vfs.FS, dir string) error {
	path := fs.PathJoin(dir, databaseDir, p.name)
	damaged := func(format string, args ...any) error {
		return &DamagedError{Dir: dir, Cause: fmt.Errorf("the "+kindOf(p.name)+" "+databaseDir+"/"+p.name+" "+format, args...)}
	}
	f, err := fs.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return damaged("is gone, of which %d bytes were on the disk", p.bytes)
	} else if err != nil {
		return err
	}
	h := crc32.New(castagnoli())
	n, err := io.Copy(h, io.LimitReader(f, p.bytes))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	switch {
	case n < p.bytes:
		return damaged("has %d bytes, and %d were on the disk", n, p.bytes)
	case h.Sum32() != p.sum:
		return damaged("has changed in its first %d bytes, since they were on the disk", p.bytes)
	}
	return nil
}

// Tags of Pebble's version edits: the first of an edit may be the comparer's name, and
// then the number of the first log that no table has.
const (
	editComparer = 1
	editLog      = 2
)

// firstNeeded returns the number of the first log that a list of files needs.
func firstNeeded(fs vfs.FS, list string) (needed uint64, err error) {
	f, err := fs.Open(list)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for edits := record.NewReader(f, 0); ; {
		edit, err := edits.Next()
		if err != nil {
			return needed, nil
		}
		b, err := io.ReadAll(edit)
		if err != nil {
			return needed, nil
		}
		tag, n := binary.Uvarint(b)
		if n > 0 && tag == editComparer {
			length, m := binary.Uvarint(b[n:])
			if m <= 0 || length > uint64(len(b)-n-m) {
				return 0, errors.New("no comparer")
			}
			b = b[n+m+int(length):]
			tag, n = binary.Uvarint(b)
		}
		if n > 0 && tag == editLog {
			if log, m := binary.Uvarint(b[n:]); m > 0 {
				needed = log
			}
		}
	}
}

// readUpTo reads a file of at most so many bytes.
func readUpTo(fs vfs.FS, path string, bytes int64) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, bytes))
	return b, errors.Join(err, f.Close())
}
