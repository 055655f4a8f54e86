package storage

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

// sealFile is there while the store is closed in order. It has the checksums of the
// write-ahead logs and of the list of files: where one of them ends can't be told from
// where it is damaged, since a crash may have cut it off, so what is lost at its end is not
// noticed without this. All other files of the database have checksums that are looked at.
const (
	sealFile     = "CLOSED"
	sealHead     = "headgate store, closed with these write-ahead logs\n"
	sealBytesMax = 64 << 10
	logSuffix    = ".log"
	listPrefix   = "MANIFEST-"
	listMarker   = "manifest" // of Pebble's: which list counts
)

// kindOf says what a file of the database is of which the end can't be told from damage:
// "" for all others.
func kindOf(name string) string {
	switch {
	case strings.HasSuffix(name, logSuffix):
		return "write-ahead log"
	case strings.HasPrefix(name, listPrefix):
		return "list of files"
	default:
		return ""
	}
}

// seal records the logs and the list as they are. The database is closed.
func seal(fs vfs.FS, dir string) error {
	text, err := sealText(fs, dir)
	if err != nil {
		return err
	}
	return writeDurably(fs, dir, sealFile, text)
}

// sealText returns what the seal of the logs and the list as they are now says.
func sealText(fs vfs.FS, dir string) ([]byte, error) {
	names, err := fs.List(fs.PathJoin(dir, databaseDir))
	if err != nil {
		return nil, err
	}
	list, err := atomicfs.ReadMarker(fs, fs.PathJoin(dir, databaseDir), listMarker)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	text := []byte(sealHead)
	for _, name := range names {
		if name != list && !strings.HasSuffix(name, logSuffix) {
			continue
		}
		sum, err := sumOf(fs, fs.PathJoin(dir, databaseDir, name))
		if err != nil {
			return nil, err
		}
		text = fmt.Appendf(text, "%s %x\n", name, sum)
	}
	return text, nil
}

func sumOf(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

// breakSeal compares the logs and the list with the seal, if there is one, and removes it, before
// anything is written. A store without one was not closed in order.
func breakSeal(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(fs.PathJoin(dir, databaseDir)); err != nil {
		return nil //nolint:nilerr // whoever opens it says so
	}
	path := fs.PathJoin(dir, sealFile)
	recorded, err := readUpTo(fs, path, sealBytesMax)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := broken(fs, dir, recorded); err != nil {
		return err
	}
	return errors.Join(fs.Remove(path), syncDir(fs, dir))
}

// broken says what is not as it was recorded. A log that was not there is one that was
// deleted, and came back since a crash undid that.
func broken(fs vfs.FS, dir string, recorded []byte) error {
	damaged := func(format string, args ...any) error {
		return &DamagedError{Dir: dir, Cause: fmt.Errorf(format+", since it was closed", args...)}
	}
	text, ok := strings.CutPrefix(string(recorded), sealHead)
	for line := range strings.Lines(text) {
		name, want, found := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		kind := kindOf(name)
		if ok = ok && found && kind != "" && fs.PathBase(name) == name && strings.HasSuffix(line, "\n"); !ok {
			break
		}
		sum, err := sumOf(fs, fs.PathJoin(dir, databaseDir, name))
		switch {
		case errors.Is(err, os.ErrPermission):
			return err
		case errors.Is(err, os.ErrNotExist):
			return damaged("the %s %s/%s is gone", kind, databaseDir, name)
		case err != nil:
			return damaged("the %s %s/%s can't be read (%w)", kind, databaseDir, name, err)
		case hex.EncodeToString(sum) != want:
			return damaged("the %s %s/%s has changed", kind, databaseDir, name)
		}
	}
	if !ok {
		return damaged("the file %s, which has the checksums of its logs, has changed", sealFile)
	}
	return nil
}
