package bench

import (
	"fmt"
	"io"
	"time"
)

// A progress writes a line a second about a run.
type progress struct {
	r    *run
	w    io.Writer // nil: nobody looks
	last tally
	at   int64
}

func newProgress(r *run, w io.Writer) *progress { return &progress{r: r, w: w} }

// line writes what happened since the last line. A writer that fails is not
// written to again.
func (p *progress) line() {
	if p.w == nil {
		return
	}
	t := p.r.totals()
	all := t[0]
	all.add(&t[1])
	now := p.r.now()
	seconds := time.Duration(now - p.at).Seconds()
	state := "warm-up"
	if p.at+int64(time.Second)/2 >= p.r.measureFrom { // most of the line is
		state = "measure"
	}
	text := fmt.Sprintf("%4ds %s %10.0f decisions/s  over limit %5.1f %%  errors %d",
		now/int64(time.Second), state, float64(all.verdicts()-p.last.verdicts())/seconds,
		100*ratio(float64(all.over-p.last.over), float64(all.verdicts()-p.last.verdicts())),
		all.errors()-p.last.errors())
	if h := p.r.latency(); h.TotalCount() > 0 {
		text += fmt.Sprintf("  p50 %v p99 %v so far", span(h.ValueAtQuantile(50)), span(h.ValueAtQuantile(99)))
	}
	if _, err := fmt.Fprintln(p.w, text); err != nil {
		p.w = nil
	}
	p.last, p.at = all, now
}

// span is ns to be read: three digits are plenty.
func span(ns int64) time.Duration {
	d := time.Duration(ns)
	switch {
	case d < time.Millisecond:
		return d.Round(100 * time.Nanosecond)
	case d < time.Second:
		return d.Round(10 * time.Microsecond)
	default:
		return d.Round(10 * time.Millisecond)
	}
}

// ratio is a / b, and 0 where b is.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
