package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"
)

type settings struct {
	headgate, gubernator      string
	connections, keys, rounds int
	duration                  time.Duration
	batch                     int
}

func main() {
	var s settings
	flag.StringVar(&s.headgate, "headgate", "", "Headgate's binary")
	flag.StringVar(&s.gubernator, "gubernator", "", "Gubernator's binary")
	flag.IntVar(&s.connections, "connections", 8, "connections, each with one batch in flight")
	flag.IntVar(&s.keys, "keys", 10_000, "distinct keys, a multiple of the batch")
	flag.IntVar(&s.batch, "batch", 1000, "requests in a batch")
	flag.IntVar(&s.rounds, "rounds", 5, "measurements of each")
	flag.DurationVar(&s.duration, "duration", 5*time.Second, "of one measurement")
	flag.Parse()
	if err := s.run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A result is one measurement.
type result struct {
	perSecond float64 // decisions
	cpu       float64 // seconds of the server, for a million decisions
}

func (s *settings) run(ctx context.Context) error {
	ours, err := startHeadgate(ctx, s.headgate)
	if err != nil {
		return fmt.Errorf("headgate: %w", err)
	}
	defer ours.stop()
	theirs, err := startGubernator(ctx, s.gubernator)
	if err != nil {
		return fmt.Errorf("gubernator: %w", err)
	}
	defer theirs.stop()
	servers := []*process{ours, theirs}
	results := make([][]result, len(servers))
	fmt.Printf("batches of %d over %d connections, %d keys, %d × %v each, %d CPUs, client included\n", s.batch, s.connections, s.keys, s.rounds, s.duration, runtime.NumCPU())
	for range s.rounds + 1 {
		for i, p := range servers {
			r, err := s.measure(ctx, p)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			results[i] = append(results[i], r)
		}
	}
	fmt.Printf("%-12s %16s %20s\n", "", "decisions/s", "server CPU s/million")
	mine, other := results[0][1:], results[1][1:] // the first is to warm up
	for i, rs := range [][]result{mine, other} {
		fmt.Printf("%-12s %16.0f %20.2f\n", servers[i].name, median(rs, perSecond), median(rs, cpu))
	}
	more, less := ratios(mine, other, perSecond), ratios(other, mine, cpu)
	fmt.Printf("round by round, median and range: %.1f× (%.1f to %.1f) the decisions, 1/%.1f (%.1f to %.1f) the CPU\n",
		more[len(more)/2], more[0], more[len(more)-1], less[len(less)/2], less[0], less[len(less)-1])
	return nil
}

func perSecond(r result) float64 { return r.perSecond }

func cpu(r result) float64 { return r.cpu }

func median(rs []result, of func(result) float64) float64 {
	values := make([]float64, len(rs))
	for i, r := range rs {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// ratios returns a ÷ b, round by round, the least first.
func ratios(a, b []result, of func(result) float64) []float64 {
	values := make([]float64, len(a))
	for i := range a {
		values[i] = of(a[i]) / of(b[i])
	}
	slices.Sort(values)
	return values
}
