package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A Comparison is what Compare has measured. Every ratio is Target's figure over
// Versus's: below 1 is better for latency and CPU, above 1 for throughput. A
// ratio is 0 where either figure is not known.
type Comparison struct {
	Target string  `json:"target"`
	Versus string  `json:"versus"`
	Rounds []Round `json:"rounds"`

	Throughput Spread `json:"throughput_ratio"`
	ServerCPU  Spread `json:"server_cpu_ratio"` // per decision; needs both PIDs
	P50        Spread `json:"p50_ratio"`
	P99        Spread `json:"p99_ratio"`

	// Warnings are reasons to doubt the figures.
	Warnings []string `json:"warnings"`
}

// A Round is one measurement of each target, right after one another.
type Round struct {
	Target *Report `json:"target"`
	Versus *Report `json:"versus"`

	Throughput float64 `json:"throughput_ratio"`
	ServerCPU  float64 `json:"server_cpu_ratio"`
	P50        float64 `json:"p50_ratio"`
	P99        float64 `json:"p99_ratio"`
}

// A Spread sums up the ratios of the rounds.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// Compare measures c.Target and c.Versus in turn, c.Rounds times each, with the
// same load; every second round begins with the other one, so that a machine
// that drifts favours neither. It stops at the first error. If ctx ends early it
// returns the rounds that are complete, if there is one.
func Compare(ctx context.Context, c Config, progress io.Writer) (*Comparison, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Versus == "" {
		return nil, errors.New("bench: config: versus: must not be empty")
	}
	a, b := subject{c.Target, c.ServerPID}, subject{c.Versus, c.VersusPID}
	cmp := &Comparison{Target: a.target, Versus: b.target, Rounds: []Round{}, Warnings: []string{}}
	for i := range c.Rounds {
		r, err := measureRound(ctx, &c, [2]subject{a, b}, i, progress)
		if ctx.Err() != nil && i > 0 {
			cmp.Warnings = append(cmp.Warnings, fmt.Sprintf("interrupted after %d of %d rounds", i, c.Rounds))
			break
		}
		if err != nil {
			return nil, err
		}
		cmp.Rounds = append(cmp.Rounds, *r)
	}
	cmp.sum()
	return cmp, nil
}

func measureRound(ctx context.Context, c *Config, s [2]subject, number int, progress io.Writer) (*Round, error) {
	var reports [2]*Report
	for i := range s {
		which := (i + number) % 2
		if progress != nil {
			fmt.Fprintf(progress, "round %d of %d: %s\n", number+1, c.Rounds, s[which].target)
		}
		r, err := measure(ctx, c, s[which], progress)
		if err == nil && r.Interrupted {
			err = fmt.Errorf("bench: ended before a round was complete: %w", context.Cause(ctx))
		}
		if err != nil {
			return nil, err
		}
		reports[which] = r
	}
	t, v := reports[0], reports[1]
	r := &Round{
		Target: t, Versus: v,
		Throughput: ratio(t.DecisionsPerSecond, v.DecisionsPerSecond),
		P50:        ratio(float64(t.LatencyNanoseconds.P50), float64(v.LatencyNanoseconds.P50)),
		P99:        ratio(float64(t.LatencyNanoseconds.P99), float64(v.LatencyNanoseconds.P99)),
	}
	if t.Server != nil && v.Server != nil {
		r.ServerCPU = ratio(t.Server.CPUPerMillion, v.Server.CPUPerMillion)
	}
	return r, nil
}

func (c *Comparison) sum() {
	for i := range c.Rounds {
		r := &c.Rounds[i]
		for _, rep := range []*Report{r.Target, r.Versus} {
			for _, w := range rep.Warnings {
				c.Warnings = append(c.Warnings, fmt.Sprintf("round %d, %s: %s", i+1, rep.Target, w))
			}
			if len(rep.Errors)+len(rep.TransportErrors) > 0 {
				c.Warnings = append(c.Warnings, fmt.Sprintf("round %d, %s: had errors", i+1, rep.Target))
			}
		}
	}
	c.Throughput = c.spread(func(r *Round) float64 { return r.Throughput })
	c.ServerCPU = c.spread(func(r *Round) float64 { return r.ServerCPU })
	c.P50 = c.spread(func(r *Round) float64 { return r.P50 })
	c.P99 = c.spread(func(r *Round) float64 { return r.P99 })
}

func (c *Comparison) spread(of func(*Round) float64) Spread {
	var v []float64
	for i := range c.Rounds {
		v = append(v, of(&c.Rounds[i]))
	}
	slices.Sort(v)
	n := len(v)
	return Spread{Median: (v[(n-1)/2] + v[n/2]) / 2, Min: v[0], Max: v[n-1]}
}

// WriteJSON writes c as one JSON object, indented.
func (c *Comparison) WriteJSON(w io.Writer) error { return writeJSON(w, c) }

// WriteText writes c for people.
func (c *Comparison) WriteText(w io.Writer) error {
	if _, err := io.WriteString(w, c.text()); err != nil {
		return fmt.Errorf("bench: write the comparison: %w", err)
	}
	return nil
}

func (c *Comparison) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "target %s  versus %s; ratios are target ÷ versus\n", c.Target, c.Versus)
	fmt.Fprintf(&b, "round   decisions/s            ratio   server CPU s/M     ratio   p50 ratio   p99 ratio\n")
	for i := range c.Rounds {
		r := &c.Rounds[i]
		fmt.Fprintf(&b, "%5d %10.0f / %-10.0f %6.3f %8s / %-8s %6s %11.3f %11.3f\n", i+1,
			r.Target.DecisionsPerSecond, r.Versus.DecisionsPerSecond, r.Throughput,
			cpuText(r.Target.Server), cpuText(r.Versus.Server), known(r.ServerCPU), r.P50, r.P99)
	}
	for _, s := range []struct {
		name string
		*Spread
	}{{"throughput", &c.Throughput}, {"server CPU", &c.ServerCPU}, {"p50", &c.P50}, {"p99", &c.P99}} {
		fmt.Fprintf(&b, "%-10s  median %s  (%s to %s)\n", s.name, known(s.Median), known(s.Min), known(s.Max))
	}
	for _, w := range c.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	return b.String()
}

func cpuText(p *Process) string {
	if p == nil {
		return "–"
	}
	return fmt.Sprintf("%.2f", p.CPUPerMillion)
}

// known renders a ratio, which is 0 where it is not known.
func known(ratio float64) string {
	if ratio == 0 {
		return "–"
	}
	return fmt.Sprintf("%.3f", ratio)
}
