// Command compare measures limiter/table beside other things on one machine:
// other Go rate limiters, a flat array, itself on more cores.
//
//	go run . text      text key to decision at 1 M random keys, beside other libraries
//	go run . flat      pre-hashed at 50 M keys, beside a random read of an array of that size (5 GB)
//	go run . scale     two goroutines beside one
//	go run . rss       bytes a key of the whole process at 20 sizes from 8 to 16 M keys
//	go run . longest   the longest single call in thread CPU time while growing to 16 M keys
//	go run . soak      100 M keys on one node (6 GB)
//
// What is compared alternates in rounds within one process; a figure is the
// median of the rounds, a ratio the median of the rounds' ratios. It is a
// module of its own, so that the other libraries never enter ours. It is not a
// load generator: that is bench, one directory up.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
)

// settings are the flags that the measurements share.
type settings struct {
	keys   int
	rounds int
	ops    int
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(2)
	}
}

func run(args []string) error {
	measurements := map[string]struct {
		measure func(settings) error
		keys    int
		ops     int
	}{
		"text":    {text, 1_000_000, 2_000_000},
		"flat":    {flat, 50_000_000, 4_000_000},
		"scale":   {scale, 1_000_000, 4_000_000},
		"rss":     {rss, 16_000_000, 0},
		"longest": {longest, 16_000_000, 0},
		"soak":    {soak, 100_000_000, 20_000_000},
	}
	if len(args) == 0 {
		return errors.New("which measurement? text, flat, scale, rss, longest or soak")
	}
	m, ok := measurements[args[0]]
	if !ok {
		return fmt.Errorf("no measurement %q: text, flat, scale, rss, longest or soak", args[0])
	}
	var s settings
	flags := flag.NewFlagSet("compare "+args[0], flag.ContinueOnError)
	flags.IntVar(&s.keys, "keys", m.keys, "number of keys")
	flags.IntVar(&s.rounds, "rounds", 7, "number of rounds")
	flags.IntVar(&s.ops, "ops", m.ops, "decisions in a round")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if s.keys < 1 || s.rounds < 1 || s.ops < 0 {
		return errors.New("-keys and -rounds must be at least 1, -ops at least 0")
	}
	fmt.Printf("%s: %d keys, %d rounds of %d, %s, GOMAXPROCS %d\n\n",
		args[0], s.keys, s.rounds, s.ops, runtime.Version(), runtime.GOMAXPROCS(0))
	return m.measure(s)
}
