// Command front measures the real `headgate serve` over the wire, beside the
// grpc-go hello-world of bench/hello: the figures of docs/performance.md.
//
//	go run ./bench/front [flags] [CASE...]     all cases without any
//	go run ./bench/front -list
//
// It starts both servers itself, on free ports of this machine: headgate with
// nothing left out (policies matched, metrics counted) and its default settings;
// the hello-world with grpc-go's and Go's default settings. The two are measured
// in turn, a round right after one another; a ratio is the median of the rounds'
// ratios. The load generator is bench, in this process.
//
// It is not a test: a figure that misses its aim is printed as such, and the exit
// code is 0. It is 1 if something could not be measured, 2 on misuse.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// settings are what all cases share.
type settings struct {
	headgate, hello, stock string   // the binaries
	policies               []string // files
	quotas                 string   // another, of the case quota
	rounds                 int
	warmup                 time.Duration
	duration               time.Duration // of a measurement; a round has two
	keys                   int
	idle                   int           // connections
	settle                 time.Duration // before memory is looked at
	progress               io.Writer
}

var errMisuse = errors.New("misuse")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return
	case errors.Is(err, errMisuse):
		fmt.Fprintln(os.Stderr, "front:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "front:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	s := settings{progress: stderr}
	f := flag.NewFlagSet("front", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&s.headgate, "headgate", "bin/headgate", "`path` of the headgate binary")
	f.StringVar(&s.hello, "hello", "bin/hello", "`path` of the hello-world binary")
	f.StringVar(&s.stock, "stock", "bin/stock", "`path` of the binary of internal/stock")
	policies := f.String("policies", "deploy/examples/bench.yaml,bench/front/edge.yaml", "policy `files`, separated by commas")
	f.StringVar(&s.quotas, "quotas", "bench/front/quota.yaml", "another policy `file`, of the case quota")
	f.IntVar(&s.rounds, "rounds", 5, "how often each is measured")
	f.DurationVar(&s.warmup, "warmup", time.Second, "run this long before each measurement")
	f.DurationVar(&s.duration, "duration", 3*time.Second, "measure this long")
	f.IntVar(&s.keys, "keys", 1_000_000, "how many different keys; the recorded request wants six digits")
	f.IntVar(&s.idle, "idle", 10_000, "connections of the case idle")
	f.DurationVar(&s.settle, "settle", 3*time.Second, "how long they are idle before memory is looked at")
	list := f.Bool("list", false, "list the cases and end")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errMisuse, err)
	}
	s.policies = strings.Split(*policies, ",")
	if s.rounds < 1 || s.idle < 1 {
		return fmt.Errorf("%w: -rounds and -idle must be at least 1, not %d and %d", errMisuse, s.rounds, s.idle)
	}
	all := cases()
	if *list {
		for _, c := range all {
			fmt.Fprintf(stdout, "%-12s %s\n", c.name, c.what)
		}
		return nil
	}
	chosen, err := choose(all, f.Args())
	if err != nil {
		return err
	}
	return measureAll(ctx, &s, chosen, stdout)
}

// choose returns the cases with the given names, all if there are none.
func choose(all []benchCase, names []string) ([]benchCase, error) {
	if len(names) == 0 {
		return all, nil
	}
	var chosen []benchCase
	for _, name := range names {
		i := slices.IndexFunc(all, func(c benchCase) bool { return c.name == name })
		if i < 0 {
			return nil, fmt.Errorf("%w: no case %q: -list shows them", errMisuse, name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// measureAll measures the cases one after the other and prints a table.
func measureAll(ctx context.Context, s *settings, chosen []benchCase, w io.Writer) error {
	began := time.Now()
	dir, err := os.MkdirTemp("", "front")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is the system's place for what may stay
	b, err := newBed(ctx, s, dir)
	if err != nil {
		return err
	}
	defer b.close()
	fmt.Fprintf(w, "%d processors, %s; %d rounds of %v, %d keys; headgate with its default settings, hello-world with Go's\n\n",
		runtime.NumCPU(), runtime.Version(), s.rounds, s.duration, s.keys)
	fmt.Fprintln(w, "| case | what | aim | measured |")
	fmt.Fprintln(w, "|---|---|---|---|")
	var failed, notes []string
	for _, c := range chosen {
		fmt.Fprintf(s.progress, "%s: %s\n", c.name, c.what)
		results, err := c.measure(ctx, b)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			failed = append(failed, c.name)
			fmt.Fprintf(w, "| %s | %s | | **not measured**: %v |\n", c.name, c.what, err)
			continue
		}
		for _, r := range results {
			fmt.Fprintf(w, "| %s | %s | %s | %s |\n", c.name, c.what, r.aimText(), r.text())
		}
		for _, note := range b.takeNotes() {
			notes = append(notes, c.name+": "+note)
		}
	}
	fmt.Fprintln(w)
	for _, note := range notes {
		fmt.Fprintln(w, "doubt:", note)
	}
	fmt.Fprintf(w, "took %v\n", time.Since(began).Round(time.Second))
	if len(failed) > 0 {
		return fmt.Errorf("could not measure %s", strings.Join(failed, ", "))
	}
	return nil
}
