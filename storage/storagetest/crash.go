package storagetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// An Op is one step of a history.
type Op[S any] struct {
	// Name says in a failure's text what was done.
	Name string
	// Do does it. An error ends the history: nobody knows whether it was done.
	Do func(S) error
	// Durable says that after Do returned nil, it and all before it outlive a
	// crash. Otherwise they may or may not, in order.
	Durable bool
}

// A Model makes a history up and knows what a store must say after it.
type Model[S any] interface {
	// Next makes up the next step and notes it as done.
	Next(rng *rand.Rand) Op[S]
	// State returns what Subject.State must return after the steps so far.
	State() string
}

// A Subject is a store to be tested.
type Subject[S any] struct {
	// Open opens the store in fs, and makes it there if there is none.
	Open func(fs vfs.FS) (S, error)
	// Close closes it.
	Close func(S) error
	// State returns all that it holds, as text.
	State func(S) (string, error)
	// NewModel returns the model of an empty store.
	NewModel func() Model[S]
}

// A Plan says how much is tried. Each field has to be set.
type Plan struct {
	// Seed makes all choices but those of the scheduler.
	Seed uint64
	// Histories is how many are run; Ops is how long each is.
	Histories, Ops int
	// CrashesMax bounds the crashes of one history: above it, a part of the points
	// is drawn.
	CrashesMax int
	// Faults makes one write or sync of each history, and all that follow it with
	// probability 1/2, return an error.
	Faults bool
}

// A Report says how much was tried.
type Report struct{ Histories, Ops, Crashes, Faults int }

// Add adds r's counts to those of s.
func (r Report) Add(s Report) Report {
	return Report{r.Histories + s.Histories, r.Ops + s.Ops, r.Crashes + s.Crashes, r.Faults + s.Faults}
}

// Crash runs plan against the subject and returns the first broken promise.
func Crash[S any](subject Subject[S], plan Plan) (Report, error) {
	var total Report
	for i := range plan.Histories {
		h := &history[S]{subject: subject, plan: plan, rng: rand.New(rand.NewPCG(plan.Seed, uint64(i)))} //nolint:gosec // a test's choices are meant to be repeatable
		report, err := h.run()
		total = total.Add(report)
		if err != nil {
			return total, fmt.Errorf("seed %d, history %d: %w", plan.Seed, i, err)
		}
	}
	return total, nil
}

// A history is one run of random steps, with the crashes that were recorded.
type history[S any] struct {
	subject Subject[S]
	plan    Plan
	rng     *rand.Rand

	states []string // after 0, 1, … steps
	names  []string

	// Read by the recorder, which runs in whatever goroutine syncs.
	started, durable atomic.Int64
}

// A crash is what a disk held when the power went, and which states it may show.
type crash struct {
	fs        *vfs.MemFS
	low, high int
}

func (h *history[S]) run() (Report, error) {
	disk := vfs.NewCrashableMem()
	rec := newRecorder(disk, h.rng.Uint64(), func() int { return int(h.durable.Load()) }, func() int { return int(h.started.Load()) })
	if h.plan.Faults {
		rec.failAt, rec.failOn = h.rng.Int64N(int64(2*h.plan.Ops))+1, h.rng.IntN(2) == 0
	}
	err := h.steps(rec)
	if err != nil && !rec.injected.Load() {
		return Report{}, err
	}
	rec.take(0)
	rec.take(100)
	crashes := rec.draw(h.rng, h.plan.CrashesMax)
	report := Report{Histories: 1, Ops: len(h.names), Crashes: len(crashes)}
	if rec.injected.Load() {
		report.Faults = 1
	}
	for i, c := range crashes {
		if err := h.check(c, i%4 == 0); err != nil {
			return report, fmt.Errorf("crash %d of %d, in or after step %d (%s): %w", i, len(crashes), c.high, h.name(c.high), err)
		}
	}
	return report, nil
}

func (h *history[S]) name(step int) string {
	if step == 0 || step > len(h.names) {
		return "open"
	}
	return h.names[step-1]
}

// steps runs the history and compares the store with the model after each step.
func (h *history[S]) steps(rec *recorder) error {
	model := h.subject.NewModel()
	h.states = append(h.states, model.State())
	s, err := openIn(h.subject, rec)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	for step := 1; step <= h.plan.Ops; step++ {
		if h.rng.IntN(h.plan.Ops) == 0 { // about once in a history
			if err := h.subject.Close(s); err != nil {
				return fmt.Errorf("close after step %d: %w", step-1, err)
			}
			h.durable.Store(int64(step - 1))
			if s, err = openIn(h.subject, rec); err != nil {
				return fmt.Errorf("open after step %d: %w", step-1, err)
			}
		}
		op := model.Next(h.rng)
		h.states, h.names = append(h.states, model.State()), append(h.names, op.Name)
		h.started.Store(int64(step))
		if err := op.Do(s); err != nil {
			return errors.Join(fmt.Errorf("step %d (%s): %w", step, op.Name, err), h.closeFailed(s))
		}
		if op.Durable {
			h.durable.Store(int64(step))
		}
		got, err := h.subject.State(s)
		if err != nil {
			return errors.Join(fmt.Errorf("state after step %d (%s): %w", step, op.Name, err), h.closeFailed(s))
		}
		if got != h.states[step] {
			return fmt.Errorf("after step %d (%s) the store has\n%s\nand the model\n%s", step, op.Name, got, h.states[step])
		}
	}
	if err := h.subject.Close(s); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	h.durable.Store(int64(h.plan.Ops))
	return nil
}

// closeFailed closes a store whose step failed; what it says of that doesn't matter.
func (h *history[S]) closeFailed(s S) error {
	_ = h.subject.Close(s)
	return nil
}

// check opens what a crash left. Again also cuts the power while it is opened,
// and closes and opens it once more.
func (h *history[S]) check(c crash, again bool) error {
	rec := newRecorder(c.fs, h.rng.Uint64(), func() int { return c.low }, func() int { return c.high })
	rec.opening.Store(true)
	shown, err := h.open(rec.fs())
	if err != nil {
		return err
	}
	at := -1
	for k := c.low; k <= c.high; k++ {
		if h.states[k] == shown {
			at = k
		}
	}
	if at < 0 {
		return h.explain(c, shown)
	}
	if !again {
		return nil
	}
	second, err := h.open(c.fs)
	if err != nil {
		return fmt.Errorf("opened once more: %w", err)
	}
	if second != shown {
		return fmt.Errorf("opened once more it has\n%s\nand before\n%s", second, shown)
	}
	for _, nested := range rec.draw(h.rng, 1) {
		if err := h.check(nested, false); err != nil {
			return fmt.Errorf("crashed again while it was opened: %w", err)
		}
	}
	return nil
}

// open returns what the store in fs says it holds.
func (h *history[S]) open(fs vfs.FS) (string, error) {
	s, err := h.subject.Open(fs)
	if err != nil {
		return "", fmt.Errorf("open: %w", err)
	}
	shown, err := h.subject.State(s)
	return shown, errors.Join(err, h.subject.Close(s))
}

// explain says which promise is broken by showing a state outside [low, high].
func (h *history[S]) explain(c crash, shown string) error {
	for k, state := range h.states {
		if state == shown && k < c.low {
			return fmt.Errorf("lost what was acknowledged: step %d (%s) and on; %d were", k+1, h.name(k+1), c.low)
		}
	}
	return fmt.Errorf("shows no prefix of the history:\n%s\nsteps %d to %d would have left\n%s\nto\n%s", shown, c.low, c.high, h.states[c.low], h.states[c.high])
}

// openIn opens the store on rec's disk.
func openIn[S any](subject Subject[S], rec *recorder) (S, error) {
	rec.opening.Store(true)
	defer rec.opening.Store(false)
	return subject.Open(rec.fs())
}

// A recorder is asked before each operation on a file. Before a sync, what changes
// a directory and some writes, it keeps what a crash would leave.
type recorder struct {
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

	reusing sync.Mutex // held while a file is reused, or cloned: see reuse

	mu      sync.Mutex // guards the rest; taken before reusing
	rng     *rand.Rand
	crashes []crash
}

// fs returns the disk, watched.
func (r *recorder) fs() vfs.FS { return errorfs.Wrap(reuse{r.disk, &r.reusing}, r) }

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

func newRecorder(disk *vfs.MemFS, seed uint64, durable, started func() int) *recorder {
	return &recorder{disk: disk, durable: durable, started: started, rng: rand.New(rand.NewPCG(seed, 1))} //nolint:gosec // as above
}

// String names the recorder for errorfs.
func (r *recorder) String() string { return "recorder" }

// MaybeError records a crash before op, and returns an error if op is to fail.
func (r *recorder) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo, errorfs.OpRename, errorfs.OpRemove, errorfs.OpLink:
		r.mu.Lock()
		percents := []int{0, 0, 100, 50}
		if r.opening.Load() {
			percents = percents[:3]
		}
		percent := percents[r.rng.IntN(len(percents))]
		r.mu.Unlock()
		r.take(percent)
	case errorfs.OpFileWrite: // what was written before may be there without it
		r.mu.Lock()
		drawn := r.rng.IntN(writesDrawn) == 0
		r.mu.Unlock()
		if drawn {
			r.take(100)
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

// take records a crash now, after which percent of what was not synced is there.
func (r *recorder) take(percent int) {
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
	r.crashes = append(r.crashes, crash{clone, low, r.started()})
}

// draw returns at most n of the crashes, the last two always if n allows.
func (r *recorder) draw(rng *rand.Rand, n int) []crash {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.crashes) > n {
		i := rng.IntN(max(1, len(r.crashes)-2))
		r.crashes = append(r.crashes[:i], r.crashes[i+1:]...)
	}
	return r.crashes
}
