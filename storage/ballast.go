package storage

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// roomBytesMin is what must be free, ballast aside, before writes go on after
// the disk was full: enough for all memtables at their default size.
const roomBytesMin = 64 << 20

// errNoRoom is what reserve finds before it writes anything.
var errNoRoom = errors.New("too little is free to begin")

// ballast is a file that takes room until the disk is full.
type ballast struct {
	fs    vfs.FS // not the one that watches for full disks
	path  string
	bytes int64 // -1: none
}

func newBallast(c Config) *ballast {
	return &ballast{fs: c.FS, path: c.FS.PathJoin(c.Dir, "ballast"), bytes: c.BallastBytes}
}

// reserve makes the file anew, if there is room for it and for work beside it.
func (b *ballast) reserve() error {
	b.release() // one that is already there is counted as free
	if err := b.room(0); err != nil || b.bytes < 0 {
		return err
	}
	f, err := b.fs.Create(b.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Preallocate(0, b.bytes), f.Sync(), f.Close()); err != nil {
		b.release()
		return err
	}
	return nil
}

// room reports whether there is room for the file and for work beside it, of which the
// file has taken some already. The directory need not be there yet.
func (b *ballast) room(taken uint64) error {
	dir := b.fs.PathDir(b.path)
	usage, err := b.fs.GetDiskUsage(dir)
	for ; errors.Is(err, fs.ErrNotExist) && dir != b.fs.PathDir(dir); usage, err = b.fs.GetDiskUsage(dir) {
		dir = b.fs.PathDir(dir)
	}
	switch need := uint64(max(b.bytes, 0)) + roomBytesMin; {
	case errors.Is(err, vfs.ErrUnsupported):
		return nil
	case err != nil:
		return err
	case usage.AvailBytes+taken < need:
		return fmt.Errorf("%d bytes are free, %d are needed: %w", usage.AvailBytes+taken, need, errNoRoom)
	}
	return nil
}

// Room reports whether the disk of c.Dir has room for a store to begin there: nil, or
// ErrFull. It opens and writes nothing.
func Room(c Config) error {
	c = c.withDefaults()
	b := newBallast(c)
	var taken uint64
	if info, err := c.FS.Stat(b.path); err == nil {
		taken = uint64(info.Size())
	}
	err := b.room(taken)
	if errors.Is(err, errNoRoom) {
		return fmt.Errorf("storage: %s: %w (%w)", c.Dir, ErrFull, err)
	}
	return err
}

// release gives the room back. If even that fails, the next write tells.
func (b *ballast) release() { _ = b.fs.Remove(b.path) }
