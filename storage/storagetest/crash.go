package storagetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
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

// Crash runs plan against the subject and returns the first broken promise that it
// finds. Histories run beside each other, as many as there are processors; each is
// what it is by the seed and its number alone.
func Crash[S any](subject Subject[S], plan Plan) (Report, error) {
	report, err := Histories(plan.Histories, func(i int) (Report, error) {
		h := &history[S]{subject: subject, plan: plan, rng: rand.New(rand.NewPCG(plan.Seed, uint64(i)))} //nolint:gosec // a test's choices are meant to be repeatable
		return h.run()
	})
	if err != nil {
		err = fmt.Errorf("seed %d, %w", plan.Seed, err)
	}
	return report, err
}

// Histories calls run with 0 to n−1, as many at once as there are processors, and adds
// up what it reports. After an error it begins no other, and returns one.
func Histories(n int, run func(i int) (Report, error)) (total Report, err error) {
	var (
		next    atomic.Int64
		running sync.WaitGroup
		mu      sync.Mutex // guards total and err
	)
	for range runtime.GOMAXPROCS(0) {
		running.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				report, problem := run(i)
				mu.Lock()
				if total = total.Add(report); problem != nil {
					err = fmt.Errorf("history %d: %w", i, problem)
					next.Store(int64(n))
				}
				mu.Unlock()
			}
		})
	}
	running.Wait()
	return total, err
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

func (h *history[S]) run() (Report, error) {
	disk := vfs.NewCrashableMem()
	rec := NewRecorder(disk, h.rng.Uint64(), func() int { return int(h.durable.Load()) }, func() int { return int(h.started.Load()) })
	if h.plan.Faults {
		// Early ones more often: a store that syncs little does not get far in the count.
		rec.FailAt(h.rng.Int64N(h.rng.Int64N(int64(2*h.plan.Ops))+1)+1, h.rng.IntN(2) == 0)
	}
	err := h.steps(rec)
	if err != nil && !rec.Injected() {
		return Report{}, err
	}
	rec.Take(0)
	rec.Take(100)
	rec.End()
	crashes := rec.Draw(h.rng, h.plan.CrashesMax)
	report := Report{Histories: 1, Ops: len(h.names), Crashes: len(crashes)}
	if rec.Injected() {
		report.Faults = 1
	}
	for i, c := range crashes {
		if err := h.check(c, i%4 == 0); err != nil {
			return report, fmt.Errorf("crash %d of %d, in or after step %d (%s): %w", i, len(crashes), c.High, h.name(c.High), err)
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
func (h *history[S]) steps(rec *Recorder) error {
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
func (h *history[S]) check(c Moment, again bool) error {
	rec := NewRecorder(c.FS, h.rng.Uint64(), func() int { return c.Low }, func() int { return c.High })
	rec.Opening(true)
	shown, err := h.open(rec.FS())
	if err != nil {
		return err
	}
	at := -1
	for k := c.Low; k <= c.High; k++ {
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
	second, err := h.open(c.FS)
	if err != nil {
		return fmt.Errorf("opened once more: %w", err)
	}
	if second != shown {
		return fmt.Errorf("opened once more it has\n%s\nand before\n%s", second, shown)
	}
	for _, nested := range rec.Draw(h.rng, 1) {
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
func (h *history[S]) explain(c Moment, shown string) error {
	for k, state := range h.states {
		if state == shown && k < c.Low {
			return fmt.Errorf("lost what was acknowledged: step %d (%s) and on; %d were", k+1, h.name(k+1), c.Low)
		}
	}
	return fmt.Errorf("shows no prefix of the history:\n%s\nsteps %d to %d would have left\n%s\nto\n%s", shown, c.Low, c.High, h.states[c.Low], h.states[c.High])
}

// openIn opens the store on rec's disk.
func openIn[S any](subject Subject[S], rec *Recorder) (S, error) {
	rec.Opening(true)
	defer rec.Opening(false)
	return subject.Open(rec.FS())
}
