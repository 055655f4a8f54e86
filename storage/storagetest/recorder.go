package storagetest

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// A Moment is what a disk held when the power went, and where its user was then: it
// had got to Low, and not beyond High.
type Moment struct {
	FS        *vfs.MemFS
	Low, High int
}

// A Recorder is asked before each operation on a file of a disk. Before a sync, what
// changes a directory and some writes, it keeps what a crash would leave.
type Recorder struct {
	disk             *vfs.MemFS
	durable, started func() int
	failAt           int64 // the write that fails, counted from 1; 0 = none
	failOn           bool  // those after it fail too
	writes           atomic.Int64
	injected         atomic.Bool
	// opening says that the store is being opened. What was not synced then survives
	// all or not at all: Pebble relies on its new marker not reaching the disk without
	// the file list that it names, two entries of one directory, as journaling file
	// systems have it. And nothing fails: Pebble goes on in the background after it
	// could not open, and panics; a node ends then.
	opening atomic.Bool
	ended   atomic.Bool // nothing is kept any more, and nothing fails
	stop    stop

	reusing sync.Mutex // held while a file is reused, or cloned: see reuse

	mu      sync.Mutex // guards the rest; taken before reusing
	rng     *rand.Rand
	crashes []Moment
}

// FS returns the disk, watched.
func (r *Recorder) FS() vfs.FS { return watched{errorfs.Wrap(reuse{r.disk, &r.reusing}, r), r} }

// watched also watches the files that are reused, as Pebble does its logs: errorfs
// gives them out bare.
type watched struct {
	*errorfs.FS
	r *Recorder
}

// ReuseForWrite is that of the disk, watched.
func (w watched) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := w.FS.ReuseForWrite(from, to, category)
	if err != nil {
		return nil, err
	}
	return errorfs.WrapFile(file, reused{w.r, to}), nil
}

// reused asks the recorder about the operations on one file: errorfs.WrapFile leaves
// its path out, and without one it would be taken for the root directory.
type reused struct {
	*Recorder
	path string
}

// MaybeError is that of the recorder.
func (f reused) MaybeError(op errorfs.Op) error {
	op.Path = f.path
	return f.Recorder.MaybeError(op)
}

// reuse is a disk whose ReuseForWrite is not cloned halfway: it takes a lock for
// reading twice, and a clone that waits in between would wait for ever.
type reuse struct {
	*vfs.MemFS
	mu *sync.Mutex
}

// ReuseForWrite is that of the disk.
func (d reuse) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.MemFS.ReuseForWrite(from, to, category)
}

// writesDrawn says that there is a crash before one of so many writes.
const writesDrawn = 4

// kept bounds the crashes that a recorder holds in memory.
const kept = 1 << 12

// NewRecorder watches a disk. The moments that it keeps have as Low what durable
// returned just before, and as High what started returned just after; both are called
// from any goroutine.
func NewRecorder(disk *vfs.MemFS, seed uint64, durable, started func() int) *Recorder {
	return &Recorder{disk: disk, durable: durable, started: started, rng: rand.New(rand.NewPCG(seed, 1))} //nolint:gosec // as above
}

// String names the recorder for errorfs.
func (r *Recorder) String() string { return "recorder" }

// End ends the watching: nothing more is kept, and nothing fails. A store that has
// failed can't be closed, and what it has running would try again and again, for ever.
func (r *Recorder) End() { r.ended.Store(true) }

// MaybeError records a crash before op, and returns an error if op is to fail.
func (r *Recorder) MaybeError(op errorfs.Op) error {
	r.stop.here(r, op)
	if r.ended.Load() {
		return nil
	}
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo, errorfs.OpRename, errorfs.OpRemove, errorfs.OpLink:
		r.mu.Lock()
		percents := []int{0, 0, 100, 50}
		if r.opening.Load() {
			percents = percents[:3]
		}
		percent := percents[r.rng.IntN(len(percents))]
		r.mu.Unlock()
		r.Take(percent)
	case errorfs.OpFileWrite: // what was written before may be there without it
		r.mu.Lock()
		drawn := r.rng.IntN(writesDrawn) == 0
		r.mu.Unlock()
		if drawn {
			r.Take(100)
		}
	case errorfs.OpCreate, errorfs.OpReuseForWrite:
	default:
		return nil
	}
	if r.opening.Load() {
		return nil
	}
	// Pebble ends the process when it can't sync a directory, here the test's.
	if at, err := r.disk.Stat(op.Path); err == nil && at.IsDir() {
		return nil
	}
	if n := r.writes.Add(1); r.failAt > 0 && (n == r.failAt || (r.failOn && n > r.failAt)) {
		r.injected.Store(true)
		return errorfs.ErrInjected
	}
	return nil
}

// Opening says that a store is being opened from here on, or not any more.
func (r *Recorder) Opening(opening bool) { r.opening.Store(opening) }

// FailAt has the n-th write or sync from now on fail, and those after it if on is set.
// It is to be called before the disk is used.
func (r *Recorder) FailAt(n int64, on bool) { r.failAt, r.failOn = n, on }

// Injected reports whether a write or sync has failed.
func (r *Recorder) Injected() bool { return r.injected.Load() }

// Take keeps a crash now, after which percent of what was not synced is there.
func (r *Recorder) Take(percent int) {
	low := r.durable() // before the clone: what is acknowledged later may be missing
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.crashes) == kept {
		return
	}
	cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(r.rng.Uint64(), 2))} //nolint:gosec // as above
	r.reusing.Lock()
	defer r.reusing.Unlock()
	clone := r.disk.CrashClone(cfg)
	r.crashes = append(r.crashes, Moment{clone, low, r.started()})
}

// Draw returns at most n of the moments, the last two always if n allows.
func (r *Recorder) Draw(rng *rand.Rand, n int) []Moment {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.crashes) > n {
		i := rng.IntN(max(1, len(r.crashes)-2))
		r.crashes = append(r.crashes[:i], r.crashes[i+1:]...)
	}
	return r.crashes
}
