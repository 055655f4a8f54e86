package storage

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// pebbleFormat is pinned, so that an upgrade of Pebble alone never makes a
// directory that the version before can't read. Whoever raises it raises
// FormatVersion.
const pebbleFormat = pebble.FormatValueSeparation

// databaseDir is where Pebble's files are, in Config.Dir.
const databaseDir = "db"

// A DB is the database of a node.
type DB struct {
	fs       vfs.FS
	dir      string
	health   *health
	identity Identity
	checks   io.Closer // ends the measuring of slow operations
	pebble   *pebble.DB
	syncs    syncs
	synced   synced
}

// Open opens the store in c.Dir, and makes it if there is none. It fails if
// another process has it open; see the package comment for the other errors.
func Open(c Config) (*DB, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	if err := makeDir(c.FS, c.Dir); err != nil {
		return nil, openError(c.Dir, err)
	}
	recorded, found, err := readIdentity(c.FS, c.Dir)
	if err == nil && found {
		err = recorded.accepts(c)
	} else if err == nil && c.Existing {
		err = &DamagedError{Dir: c.Dir, Cause: fmt.Errorf("its file %s is gone", identityFile)}
	}
	if err != nil {
		return nil, openError(c.Dir, err)
	}
	if err := checkFiles(c.FS, c.Dir); err != nil {
		return nil, openError(c.Dir, err)
	}
	d := &DB{fs: c.FS, dir: c.Dir, health: newHealth(c), syncs: syncs{mergeMax: min(mergeBytesMax, int(c.MemTableBytes/4))}}
	if err := d.openPebble(c, found); err != nil {
		return nil, openError(c.Dir, err)
	}
	err = d.identify(c, recorded, found)
	if err == nil {
		err = d.synced.begin(c.FS, c.Dir)
	}
	if err != nil {
		return nil, openError(c.Dir, errors.Join(err, d.Close()))
	}
	if err := d.health.ballast.reserve(); errors.Is(err, errNoRoom) || vfs.IsNoSpaceError(err) {
		d.health.full(err)
	} else if err != nil {
		return nil, openError(c.Dir, errors.Join(err, d.Close()))
	}
	return d, nil
}

// openError says which directory could not be opened.
func openError(dir string, err error) error {
	if err, ok := forbidden(dir, err); ok {
		return err
	}
	var damaged *DamagedError
	if errors.As(err, &damaged) {
		return err
	}
	return fmt.Errorf("storage: open %s: %w", dir, err)
}

// judge tells what Pebble found wrong with its files, which has many types, from
// what the system refused. A file that is missing is the former.
func judge(dir string, err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) && errno != syscall.ENOENT && !pebble.IsCorruptionError(err) {
		return err
	}
	return &DamagedError{Dir: dir, Cause: err}
}

// openPebble opens the database itself; it must exist if the directory says so.
func (d *DB) openPebble(c Config, mustExist bool) error {
	fs := vfs.OnDiskFull(syncedFS{c.FS, &d.synced}, func() { d.health.full(syscall.ENOSPC) })
	slowAfter := max(c.SlowAfter, 0) // -1: none
	fs, d.checks = vfs.WithDiskHealthChecks(fs, slowAfter, nil, d.health.slowness)
	cache := pebble.NewCache(c.CacheBytes)
	defer cache.Unref()
	opts := &pebble.Options{
		FS:                          fs,
		Cache:                       cache,
		MemTableSize:                uint64(c.MemTableBytes),
		MemTableStopWritesThreshold: memTables,
		MaxOpenFiles:                c.OpenFiles,
		CompactionConcurrencyRange:  func() (lower, upper int) { return 1, 1 },
		FormatMajorVersion:          pebbleFormat,
		ErrorIfNotExists:            mustExist,
		EventListener:               d.health.listener(),
		Logger:                      d.health,
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	// A disk that fails while Pebble opens stops that goroutine for ever: see Fatalf.
	opened := make(chan error, 1)
	var db *pebble.DB
	go func() {
		defer d.health.ended("open")
		var err error
		db, err = pebble.Open(c.FS.PathJoin(c.Dir, databaseDir), opts)
		opened <- err
	}()
	select {
	case err := <-opened:
		if errors.Is(err, pebble.ErrDBDoesNotExist) {
			err = fmt.Errorf("%s is there but the database %s is gone", identityFile, databaseDir)
		}
		if err != nil {
			return errors.Join(judge(c.Dir, err), d.checks.Close())
		}
		d.pebble = db
		return nil
	case <-d.health.failed:
		return d.health.refusal()
	}
}

// accepts reports why c may not open the directory with this identity.
func (id Identity) accepts(c Config) error {
	if id.Format > FormatVersion {
		return fmt.Errorf("it has format %d, this version reads up to %d: %w; start that version", id.Format, FormatVersion, ErrNewerFormat)
	}
	if c.Node != "" && id.Node != "" && c.Node != id.Node {
		return fmt.Errorf("this node is %q, the directory is of %q: %w", c.Node, id.Node, ErrOtherNode)
	}
	return nil
}

// identify compares the database's identity with the file's, and makes both on
// the first open, or of this format: the database's first, which is what counts.
func (d *DB) identify(c Config, recorded Identity, found bool) error {
	id, known, err := d.recordedIdentity(c)
	if err != nil {
		return err
	}
	if err := id.accepts(Config{}); err != nil { // of a newer format nothing else was read
		return err
	}
	if found && (!known || id.Store != recorded.Store) {
		return &DamagedError{Dir: c.Dir, Cause: fmt.Errorf("%s and the database %s are not of the same store", identityFile, databaseDir)}
	}
	if !known {
		id = newIdentity(c.Node)
	} else if err := id.accepts(c); err != nil {
		return err
	}
	if before := id; !known || before != before.taken(c) {
		id = before.taken(c)
		b := d.NewBatch()
		if err := b.Set(storeKey(), id.text(), nil); err != nil {
			return err
		}
		if err := d.Commit(b, pebble.Sync); err != nil {
			return err
		}
	}
	d.identity = id
	if found && id == recorded {
		return nil
	}
	return writeIdentity(c.FS, c.Dir, id)
}

// taken returns what id is once it was opened with c: of this format, and of the node that
// is named first.
func (id Identity) taken(c Config) Identity {
	if id.Format = FormatVersion; id.Node == "" {
		id.Node = c.Node
	}
	return id
}

// recordedIdentity reads the identity that the database has; known is false if
// it is new.
func (d *DB) recordedIdentity(c Config) (id Identity, known bool, err error) {
	known, err = d.Get(storeKey(), func(value []byte) (err error) {
		if id, err = parseIdentity(value); err != nil {
			err = &DamagedError{Dir: c.Dir, Cause: fmt.Errorf("the database's identity %w", err)}
		}
		return err
	})
	return id, known, err
}

// Close writes what is not on disk yet and ends the store. Nothing may use the
// DB, an iterator or a snapshot of it any more. A failed store is left as it is.
func (d *DB) Close() error {
	if d.health.hasFailed() {
		return d.health.refusal()
	}
	if err := errors.Join(d.pebble.Close(), d.checks.Close(), d.synced.end()); err != nil {
		return fmt.Errorf("storage: close: %w", err)
	}
	if err := seal(d.fs, d.dir); err != nil {
		return fmt.Errorf("storage: close: %w", err)
	}
	return nil
}

// Identity returns whose store it is.
func (d *DB) Identity() Identity { return d.identity }

// Err returns why writes are refused: nil, ErrFull or ErrFailed.
func (d *DB) Err() error { return d.health.refusal() }

// Recheck looks for room if the disk was full, takes the ballast again, and lets
// writes go on. Its owner calls it every few seconds. It returns Err.
func (d *DB) Recheck() error {
	err := d.Err()
	if err == nil || d.health.hasFailed() || d.health.ballast.reserve() != nil {
		return err
	}
	d.health.recovered()
	return d.Err()
}

// Get calls use with the value of key, which is valid until use returns, and
// returns use's error. found is false if there is no such key.
func (d *DB) Get(key []byte, use func(value []byte) error) (found bool, err error) {
	if d.health.hasFailed() {
		return false, d.health.refusal()
	}
	value, closer, err := d.pebble.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	} else if err != nil {
		d.health.fail(err) // what the disk can't return, it may not have
		return false, d.health.refusal()
	}
	defer closer.Close()
	return true, use(value)
}

// NewBatch returns an empty batch, to be given to Commit.
func (d *DB) NewBatch() *pebble.Batch { return d.pebble.NewBatch() }

// Commit writes all of b or, if it fails, perhaps nothing; it takes b over. With
// pebble.Sync it returns when b and everything that was committed before it
// would outlive a power cut; with pebble.NoSync at once. ErrFull means that
// nothing was written; NoSync goes on when the disk is full, since what it writes
// follows from what was acknowledged. ErrFailed means that nobody knows; then
// nothing that follows is written or read.
func (d *DB) Commit(b *pebble.Batch, opts *pebble.WriteOptions) error {
	if err := d.health.refusal(); err != nil && (opts.GetSync() || d.health.hasFailed()) {
		_ = b.Close()
		return err
	}
	if opts.GetSync() {
		return d.await("commit", d.syncs.add(d, b))
	}
	return d.apart("commit", func() error {
		err := b.Commit(opts)
		return errors.Join(err, b.Close())
	})
}

// apart has do done by a goroutine that is left behind if the store fails: what Pebble
// can't finish never returns, and may keep a lock that do needs (see Fatalf).
func (d *DB) apart(action string, do func() error) error {
	if d.health.hasFailed() {
		return d.health.refusal()
	}
	done := make(chan error, 1)
	go func() {
		defer d.health.ended(action)
		done <- do()
	}()
	return d.await(action, done)
}

// await returns the outcome of an action, unless the store fails first.
func (d *DB) await(action string, done <-chan error) error {
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("storage: %s: %w", action, err)
		}
		return nil
	case <-d.health.failed:
		return d.health.refusal()
	}
}

// NewIter returns an iterator over what is in the store now, in [lower, upper).
func (d *DB) NewIter(o *pebble.IterOptions) (*Iterator, error) {
	if d.health.hasFailed() {
		return nil, d.health.refusal()
	}
	return d.iterator(d.pebble.NewIter(o))
}

// Metrics returns what Pebble measures, fsync latency and stalls included.
func (d *DB) Metrics() *pebble.Metrics { return d.pebble.Metrics() }
