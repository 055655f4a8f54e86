package storage

import (
	"errors"
	"fmt"

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
	usage, err := b.fs.GetDiskUsage(b.fs.PathDir(b.path))
	if err != nil && !errors.Is(err, vfs.ErrUnsupported) {
		return err
	}
	need := uint64(max(b.bytes, 0)) + roomBytesMin
	if err == nil && usage.AvailBytes < need {
		return fmt.Errorf("%d bytes are free, %d are needed: %w", usage.AvailBytes, need, errNoRoom)
	}
	if b.bytes < 0 {
		return nil
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

// release gives the room back. If even that fails, the next write tells.
func (b *ballast) release() { _ = b.fs.Remove(b.path) }
