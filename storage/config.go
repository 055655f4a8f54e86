package storage

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Bounds of a Config.
const (
	// CacheBytesMin and CacheBytesLimit bound Config.CacheBytes.
	CacheBytesMin   = 1 << 20
	CacheBytesLimit = 1 << 36
	// MemTableBytesMin and MemTableBytesLimit bound Config.MemTableBytes.
	MemTableBytesMin   = 256 << 10
	MemTableBytesLimit = 1 << 30
	// OpenFilesMin and OpenFilesLimit bound Config.OpenFiles.
	OpenFilesMin   = 100
	OpenFilesLimit = 1_000_000
	// BallastBytesLimit bounds Config.BallastBytes.
	BallastBytesLimit = 1 << 36
	// NodeBytesMax bounds Config.Node.
	NodeBytesMax = 255
)

// memTables is how many memtables may wait to be flushed before writers wait.
const memTables = 4

// A Config says where a DB lives and what it may use. The zero value of a field
// stands for its default; Dir has none.
type Config struct {
	// Dir is the directory, made if it is missing.
	Dir string
	// FS is where Dir is. Default: the machine's files.
	FS vfs.FS
	// Node is the id of the node that owns the directory, at most 255 bytes
	// without spaces or control characters. It is recorded by the first Open that
	// has one; a later Open with another is refused. "" takes any.
	Node string
	// Existing says that there is a store: a directory without one is damaged. Else one
	// is made there.
	Existing bool

	// CacheBytes is what the cache of blocks takes, in [1 MiB, 64 GiB]. Default 32 MiB.
	CacheBytes int64
	// MemTableBytes is what one memtable takes, in [256 KiB, 1 GiB]; up to four
	// wait to be written. Default 16 MiB.
	MemTableBytes int64
	// OpenFiles is how many files are kept open, in [100, 1,000,000]. Default 500.
	OpenFiles int
	// BallastBytes is the size of a file that is given up when the disk is full, so
	// that there is room to end in order, at most 64 GiB; -1 keeps none. Default 64 MiB.
	BallastBytes int64
	// SlowAfter is how long a write or sync may take before Events.Slow hears of
	// it, in [10 ms, 1 min]; -1 measures none. Default 1 s.
	SlowAfter time.Duration

	// Events hear what the disk does.
	Events Events
}

// Default returns the settings that zero fields stand for, for the store in dir.
func Default(dir string) Config {
	return Config{
		Dir: dir, FS: vfs.Default, CacheBytes: 32 << 20, MemTableBytes: 16 << 20,
		OpenFiles: 500, BallastBytes: 64 << 20, SlowAfter: time.Second,
	}
}

// withDefaults returns c with every zero field set to its default.
func (c Config) withDefaults() Config {
	d := Default(c.Dir)
	if c.FS == nil {
		c.FS = d.FS
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = d.CacheBytes
	}
	if c.MemTableBytes == 0 {
		c.MemTableBytes = d.MemTableBytes
	}
	if c.OpenFiles == 0 {
		c.OpenFiles = d.OpenFiles
	}
	if c.BallastBytes == 0 {
		c.BallastBytes = d.BallastBytes
	}
	if c.SlowAfter == 0 {
		c.SlowAfter = d.SlowAfter
	}
	return c
}

// Validate reports every field that is out of bounds, joined.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("storage: Dir: must be set"))
	}
	if err := checkNode(c.Node); err != nil {
		errs = append(errs, fmt.Errorf("storage: Node=%q: %w", c.Node, err))
	}
	within := func(name string, value, low, high int64) {
		if value < low || value > high {
			errs = append(errs, fmt.Errorf("storage: %s=%d: must be in [%d, %d]", name, value, low, high))
		}
	}
	within("CacheBytes", c.CacheBytes, CacheBytesMin, CacheBytesLimit)
	within("MemTableBytes", c.MemTableBytes, MemTableBytesMin, MemTableBytesLimit)
	within("OpenFiles", int64(c.OpenFiles), OpenFilesMin, OpenFilesLimit)
	if c.BallastBytes != -1 {
		within("BallastBytes", c.BallastBytes, 1, BallastBytesLimit)
	}
	if c.SlowAfter != -1 && (c.SlowAfter < 10*time.Millisecond || c.SlowAfter > time.Minute) {
		errs = append(errs, fmt.Errorf("storage: SlowAfter=%s: must be in [10ms, 1m]", c.SlowAfter))
	}
	return errors.Join(errs...)
}

// checkNode reports what is wrong with a node's id; "" is none.
func checkNode(node string) error {
	if len(node) > NodeBytesMax {
		return fmt.Errorf("has %d bytes: at most %d", len(node), NodeBytesMax)
	}
	for i := range len(node) {
		if node[i] <= ' ' || node[i] == 0x7f {
			return errors.New("has a space or a control character")
		}
	}
	return nil
}
