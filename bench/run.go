package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// ErrConnect is in the chain of the error of a run whose target could not be
// reached, or does not speak what it should.
var ErrConnect = errors.New("no connection")

// Run measures c.Target and reports. It writes a line a second to progress,
// unless that is nil. A run that ctx ends early reports what it measured until
// then, if it measured anything.
func Run(ctx context.Context, c Config, progress io.Writer) (*Report, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return measure(ctx, &c, subject{c.Target, c.ServerPID}, progress)
}

// A subject is what is measured.
type subject struct {
	target string
	pid    int // 0: its use of the machine is not measured
}

// A plan is what all lanes of a run share. Immutable once they have started.
type plan struct {
	config      *Config
	target      string
	workload    *workload
	headers     []headerField
	code        *hexCode
	schedule    schedule
	measureFrom int64 // ns since epoch, which is when the warm-up begins
	backlog     int64 // requests of one lane that may be due and not made
	epoch       time.Time
}

// now returns the time since the epoch in ns.
func (p *plan) now() int64 { return int64(time.Since(p.epoch)) }

func newPlan(c *Config, target string) (*plan, error) {
	w, err := newWorkload(c)
	if err != nil {
		return nil, err
	}
	p := &plan{
		config:      c,
		target:      target,
		workload:    w,
		headers:     newHeaders(c.Headers, c.scheme(), target, w.path),
		code:        newHexCode(),
		measureFrom: int64(c.Warmup),
		backlog:     max(1, int64(c.Backlog/c.Connections)),
		schedule:    schedule{lanes: c.Connections, until: int64(c.Warmup + c.Duration)},
	}
	if c.Rate > 0 {
		p.schedule.interval = float64(time.Second) / c.Rate
	}
	return p, nil
}

// A run is one measurement.
type run struct {
	*plan
	pid         int
	lanes       []*lane
	before, at  sample // when measuring began; when it ended
	interrupted bool
	began       time.Time
}

// A sample is what has been done, and what the processes have used for it.
type sample struct {
	at        int64
	decisions uint64
	client    time.Duration
	server    usage
	serverErr error
}

func measure(ctx context.Context, c *Config, s subject, progress io.Writer) (*Report, error) {
	p, err := newPlan(c, s.target)
	if err != nil {
		return nil, err
	}
	if s.pid != 0 {
		if _, err := processUsage(s.pid); err != nil {
			return nil, err
		}
	}
	r := &run{plan: p, pid: s.pid}
	for i := range c.Connections {
		r.lanes = append(r.lanes, newLane(p, i))
	}
	conns, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}

	// Attempts to connect outlive ctx, so that the end of a lane has one cause.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	p.epoch = time.Now()
	r.began = p.epoch
	for i, l := range r.lanes {
		l.start(work, conns[i])
	}
	var pacer sync.WaitGroup
	if p.schedule.interval > 0 {
		pacer.Go(func() { p.schedule.pace(work, p.now, r.lanes) })
	}
	r.watch(ctx, progress)
	r.finish(cancel)
	pacer.Wait()
	if r.at.at <= r.before.at {
		return nil, fmt.Errorf("bench: ended before anything was measured: %w", context.Cause(ctx))
	}
	return r.report(), nil
}

// connect connects all lanes at once, or none.
func (r *run) connect(ctx context.Context) ([]*link, error) {
	conns := make([]*link, len(r.lanes))
	errs := make([]error, len(r.lanes))
	var wg sync.WaitGroup
	for i, l := range r.lanes {
		wg.Go(func() { conns[i], errs[i] = connect(ctx, l) })
	}
	wg.Wait()
	for _, err := range errs {
		if err == nil {
			continue
		}
		for _, c := range conns {
			if c != nil {
				c.hangUp()
			}
		}
		return nil, fmt.Errorf("%w: %w", err, ErrConnect)
	}
	return conns, nil
}

// watch waits until the measurement is over, takes the samples and shows
// progress.
func (r *run) watch(ctx context.Context, progress io.Writer) {
	live := newProgress(r, progress)
	marks := []struct {
		at int64
		do func()
	}{
		{r.measureFrom, func() { r.before = r.sample() }},
		{r.schedule.until, func() { r.at = r.sample() }},
	}
	for line := int64(time.Second); len(marks) > 0; {
		next := min(line, marks[0].at)
		t := time.NewTimer(time.Duration(next - r.now()))
		select {
		case <-ctx.Done():
			t.Stop()
			r.interrupted = true
			if len(marks) == 1 {
				r.at = r.sample()
			}
			return
		case <-t.C:
		}
		if next == marks[0].at {
			marks[0].do()
			marks = marks[1:]
		}
		if next == line {
			live.line()
			line += int64(time.Second)
		}
	}
}

// finish waits for answers that are outstanding, and ends all lanes.
func (r *run) finish(cancel context.CancelFunc) {
	var late *time.Timer
	switch {
	case r.interrupted:
		for _, l := range r.lanes {
			l.cut()
		}
	default:
		late = time.AfterFunc(r.config.DrainTimeout, func() {
			for _, l := range r.lanes {
				l.abort()
			}
		})
		defer late.Stop()
		for _, l := range r.lanes {
			l.settle()
		}
	}
	for _, l := range r.lanes {
		<-l.end
	}
	cancel()
	for _, l := range r.lanes {
		l.wg.Wait()
	}
}

func (r *run) sample() sample {
	t := r.totals()
	s := sample{at: r.now(), decisions: t[0].verdicts() + t[1].verdicts()}
	s.client, _ = ownCPU() // zero where it is not known
	if r.pid != 0 {
		s.server, s.serverErr = processUsage(r.pid)
	}
	return s
}

// totals adds up what the lanes have counted, by phase.
func (r *run) totals() (t [2]tally) {
	for _, l := range r.lanes {
		l.mu.Lock()
		for i := range t {
			t[i].add(&l.tallies[i])
		}
		l.mu.Unlock()
	}
	return t
}

// latency merges what the lanes have measured.
func (r *run) latency() *hdrhistogram.Histogram {
	h := newHistogram()
	for _, l := range r.lanes {
		l.mu.Lock()
		h.Merge(l.latency)
		l.mu.Unlock()
	}
	return h
}
