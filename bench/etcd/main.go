// Command etcd measures puts of a real etcd beside exact decisions of a real node:
// both are one entry of a replicated log, synced to the same disk before the answer.
//
//	go run . -headgate BINARY -etcd BINARY [-clients 64,512] [-connections 8] [-keys 10000]
//	         [-rounds 5] [-duration 5s] [-dir DIR] [-nodes 3 -voter BINARY]
//
// Clients ask in a closed loop over loopback, by a small client of unary gRPC calls with
// messages that are made once: what differs is the server, which they share the machine
// with. With -nodes 3 each is three members, and the connections are spread over them: of
// Headgate they are internal/voter, nodes with all but what a cluster is not yet. Rounds
// alternate; a figure is the median of the rounds, a ratio that of the rounds' ratios.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

type settings struct {
	headgate, voter, etcd, dir       string
	clients                          string
	connections, keys, rounds, nodes int
	duration                         time.Duration
	mode                             string
}

func main() {
	var s settings
	flag.StringVar(&s.headgate, "headgate", "", "Headgate's binary")
	flag.StringVar(&s.voter, "voter", "", "internal/voter's binary, for several nodes")
	flag.IntVar(&s.nodes, "nodes", 1, "members of each")
	flag.StringVar(&s.etcd, "etcd", "", "etcd's binary; none: only Headgate is measured")
	flag.StringVar(&s.dir, "dir", "", "where both keep their data: a directory of a real disk; empty: where temporary files are")
	flag.StringVar(&s.clients, "clients", "64,512", "how many ask at once, each with one request in flight")
	flag.IntVar(&s.connections, "connections", 8, "connections that the clients share")
	flag.IntVar(&s.keys, "keys", 10_000, "distinct keys")
	flag.IntVar(&s.rounds, "rounds", 5, "measurements of each")
	flag.DurationVar(&s.duration, "duration", 5*time.Second, "of one measurement")
	flag.StringVar(&s.mode, "mode", "exact", "of the quota: exact or escrow")
	flag.Parse()
	if err := s.run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (s *settings) run(ctx context.Context) (err error) {
	ours, err := startHeadgate(ctx, s)
	if err != nil {
		return fmt.Errorf("headgate: %w", err)
	}
	defer ours.stop()
	servers := []*server{ours}
	if s.etcd != "" {
		theirs, err := startEtcd(ctx, s)
		if err != nil {
			return fmt.Errorf("etcd: %w", err)
		}
		defer theirs.stop()
		servers = append(servers, theirs)
	}
	fmt.Printf("%d nodes, %d keys, %d connections, %d × %v each, %d CPUs, clients included\n", s.nodes, s.keys, s.connections, s.rounds, s.duration, runtime.NumCPU())
	for text := range strings.SplitSeq(s.clients, ",") {
		clients, err := strconv.Atoi(text)
		if err != nil || clients < 1 {
			return fmt.Errorf("-clients=%q: must be numbers above 0, separated by commas", s.clients)
		}
		if err := s.compare(servers, clients); err != nil {
			return fmt.Errorf("%d clients: %w", clients, err)
		}
	}
	return nil
}

// compare measures the servers in turns, so many clients at a time.
func (s *settings) compare(servers []*server, clients int) error {
	results := make([][]result, len(servers))
	for range s.rounds + 1 {
		for i, p := range servers {
			r, err := s.measure(p, clients)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			results[i] = append(results[i], r)
		}
	}
	for i, p := range servers {
		rs := results[i][1:] // the first is to warm up
		fmt.Printf("%4d clients  %-9s %8.0f/s  p50 %6.2f ms  p99 %6.2f ms  server CPU %5.1f s a million  refused %.4f %%\n", clients, p.name,
			median(rs, perSecond), median(rs, p50), median(rs, p99), median(rs, cpu), 100*median(rs, refused))
	}
	if len(servers) == 2 {
		ratios := make([]float64, s.rounds)
		for i := range ratios {
			ratios[i] = results[0][i+1].perSecond / results[1][i+1].perSecond
		}
		slices.Sort(ratios)
		fmt.Printf("%4d clients  %.2f × the puts (%.2f to %.2f)\n", clients, ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1])
	}
	return nil
}

// A result is one measurement.
type result struct {
	perSecond float64 // puts or decisions that were done
	p50, p99  float64 // milliseconds
	cpu       float64 // seconds of the server, for a million
	refused   float64 // the part that the server did not do
}

func perSecond(r result) float64 { return r.perSecond }
func p50(r result) float64       { return r.p50 }
func p99(r result) float64       { return r.p99 }
func cpu(r result) float64       { return r.cpu }
func refused(r result) float64   { return r.refused }

func median(rs []result, of func(result) float64) float64 {
	values := make([]float64, len(rs))
	for i, r := range rs {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
