package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/headgate/headgate/bench"
)

// A benchCase is one measurement that has a name.
type benchCase struct {
	name, what string
	measure    func(ctx context.Context, b *bed) ([]result, error)
}

// cases returns all cases in the order in which they are measured.
func cases() []benchCase {
	return []benchCase{
		{"minimal", "minimal request, 8 connections × 32 in flight", beside(minimal,
			throughput(8), serverCPU(1.0/10))},
		{"envoy", "Envoy's recorded request, 8 × 32", beside(recorded,
			throughput(5), serverCPU(1.0/6))},
		{"wide", "minimal request, 64 connections × 1", beside(wide,
			throughput(2.5), serverCPU(1/3.5))},
		{"open", "open loop, 5,000 requests/s", beside(open, latency50(1.1), latency99(1.1))},
		{"stock", "minimal request, 8 × 32, RLS over grpc-go's own server", stock},
		{"single", "1 connection × 1 in flight", beside(single, throughput(1))},
		{"idle", "idle connections, each after one request", idle},
		{"quota", "minimal request, 8 × 32, 10,000 keys, a durable quota beside a rate", metered},
		{"tls", "minimal request, 8 × 32, TLS beside cleartext", encrypted},
		{"stream1000", "CheckStream, 1,000 checks a message", alone(streamOf(1000, 4, 4), 3e6, 0.5)},
		{"stream16", "CheckStream, 16 checks a message", alone(streamOf(16, 8, 32), 2e6, 0)},
	}
}

// A load makes of the defaults what is asked for.
type load func(s *settings) bench.Config

func minimal(s *settings) bench.Config {
	c := bench.Default()
	c.Keys, c.Warmup, c.Duration = s.keys, s.warmup, s.duration
	return c
}

func recorded(s *settings) bench.Config {
	c := minimal(s)
	c.Domain, c.Descriptors, c.Headers = "edge", bench.EnvoyDescriptors(), bench.EnvoyHeaders
	return c
}

func wide(s *settings) bench.Config {
	c := minimal(s)
	c.Connections, c.InFlight = 64, 1
	return c
}

func open(s *settings) bench.Config {
	c := minimal(s)
	c.Rate = 5000
	return c
}

func single(s *settings) bench.Config {
	c := minimal(s)
	c.Connections, c.InFlight = 1, 1
	return c
}

func streamOf(batch, connections, inFlight int) load {
	return func(s *settings) bench.Config {
		c := minimal(s)
		c.Protocol, c.Batch, c.Connections, c.InFlight = bench.Stream, batch, connections, inFlight
		return c
	}
}

// beside measures headgate beside the hello-world.
func beside(l load, figures ...figure) func(context.Context, *bed) ([]result, error) {
	return func(ctx context.Context, b *bed) ([]result, error) {
		c := l(b.settings)
		rounds, err := b.alternate(ctx, b.headgate.aim(c), b.hello.aim(c))
		if err != nil {
			return nil, err
		}
		var results []result
		for _, f := range figures {
			results = append(results, f.of(rounds))
		}
		return results, nil
	}
}

// stock measures the decision path behind grpc-go's own server beside the
// hello-world: what deciding adds to a call.
func stock(ctx context.Context, b *bed) ([]result, error) {
	node, err := b.startStock(ctx)
	if err != nil {
		return nil, err
	}
	defer node.stop()
	c := minimal(b.settings)
	rounds, err := b.alternate(ctx, node.aim(c), b.hello.aim(c))
	if err != nil {
		return nil, err
	}
	return []result{serverCPU(1.15).of(rounds)}, nil
}

const (
	// meteredKeys are the keys of the case quota, each asked often.
	meteredKeys = 10_000
	// meteredWarmup is how many warm-ups it has: grants grow with steady use.
	meteredWarmup = 10
)

// metered measures calls that are charged to durable quotas beside calls that are
// charged to rates, on one node.
func metered(ctx context.Context, b *bed) ([]result, error) {
	node, err := b.startNode(ctx, "--policy", b.settings.quotas)
	if err != nil {
		return nil, err
	}
	defer node.stop()
	c := minimal(b.settings)
	c.Domain, c.Keys, c.Warmup = "metered", meteredKeys, meteredWarmup*c.Warmup
	quota, rate := node.aim(c), node.aim(c)
	quota.Descriptors, rate.Descriptors = []string{"metered=%d"}, []string{"rated=%d"}
	rounds, err := b.alternate(ctx, quota, rate)
	if err != nil {
		return nil, err
	}
	own := serverCPU(0)
	own.bound = noAim
	return []result{throughput(0.9).of(rounds), bothCPU(1 / 0.9).of(rounds), own.of(rounds)}, nil
}

// encrypted measures headgate over TLS beside headgate in cleartext.
func encrypted(ctx context.Context, b *bed) ([]result, error) {
	node, client, err := b.startTLS(ctx)
	if err != nil {
		return nil, err
	}
	defer node.stop()
	c := minimal(b.settings)
	over := node.aim(c)
	over.TLS = client
	rounds, err := b.alternate(ctx, over, b.headgate.aim(c))
	if err != nil {
		return nil, err
	}
	return []result{serverCPU(1.5).of(rounds)}, nil
}

// alone measures headgate against an absolute throughput in decisions a second,
// and CPU seconds per million; 0 is no aim.
func alone(l load, perSecond, cpu float64) func(context.Context, *bed) ([]result, error) {
	return func(ctx context.Context, b *bed) ([]result, error) {
		var speed, used []float64
		for range b.settings.rounds {
			r, err := b.measure(ctx, b.headgate.aim(l(b.settings)))
			if err != nil {
				return nil, err
			}
			speed = append(speed, r.DecisionsPerSecond/1e6)
			if r.Server != nil {
				used = append(used, r.Server.CPUPerMillion)
			}
		}
		if len(used) != len(speed) {
			return nil, errors.New("the server's CPU time is not known")
		}
		results := []result{{name: "throughput", unit: " M decisions/s", values: speed, bound: atLeast, aim: perSecond / 1e6}}
		r := result{name: "server CPU", unit: " s/M", values: used, bound: atMost, aim: cpu}
		if cpu == 0 {
			r.bound = noAim
		}
		return append(results, r), nil
	}
}

// idle measures what an idle connection costs: of fresh processes, whose memory
// no other case has used.
func idle(ctx context.Context, b *bed) ([]result, error) {
	n := b.settings.idle
	if err := allowFiles(n + 200); err != nil {
		return nil, err
	}
	var results []result
	for _, s := range []struct {
		name  string
		bound bound
		start func(context.Context) (*server, error)
	}{{"headgate", atMost, b.startHeadgate}, {"hello-world", noAim, b.startHello}} {
		node, err := s.start(ctx)
		if err != nil {
			return nil, err
		}
		kib, err := growth(ctx, node, n, b.settings.settle)
		node.stop()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		results = append(results, result{
			name: fmt.Sprintf("%s, memory a connection of %d", s.name, n), unit: " KiB",
			values: []float64{kib}, bound: s.bound, aim: 20,
		})
	}
	return results, nil
}
