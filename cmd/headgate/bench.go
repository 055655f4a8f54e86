package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/headgate/headgate/bench"
)

func newBench() *cobra.Command {
	c := bench.Default()
	var output outputFormat
	var secure tlsOptions
	quiet := false
	cmd := &cobra.Command{
		Use:   "bench [flags] TARGET",
		Short: "Measure a rate-limit server",
		Long: `Bench asks a server for decisions and reports throughput, latencies, verdicts,
errors and CPU. It drives any server of Envoy's rate-limit service v3 (--protocol
rls) or Headgate's own API (native, batch, stream) over HTTP/2, or POST /v1/check
over HTTP/1.1 (http), in cleartext unless a --tls flag is given.

Without --rate the loop is closed: the next request is made when one is answered.
With --rate it is open: requests are made on time whatever the server does, and
latencies count from when a request was due. With --versus two servers are
measured in turns.

Exit codes: 0 measured, 2 misuse, 3 the server can't be reached.`,
		Example: `  headgate bench 127.0.0.1:8081
  headgate bench --rate 5000 --duration 30s --keys 1000000 127.0.0.1:8081
  headgate bench --domain shop --descriptor remote_address=10.0.%d --distribution zipf 127.0.0.1:8081
  headgate bench --protocol batch --batch 1000 -o json 127.0.0.1:8081
  headgate bench --protocol http --connections 64 127.0.0.1:8080
  headgate bench --versus 127.0.0.1:9081 --rounds 5 127.0.0.1:8081`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.Target = args[0]
			progress := cmd.ErrOrStderr()
			if quiet {
				progress = nil
			}
			if err := c.Validate(); err != nil {
				return misuse(err)
			}
			var err error
			if c.TLS, err = secure.config(); err != nil {
				return misuse(err)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop() // a run that is interrupted reports what it has
			return runBench(ctx, &c, output, cmd.OutOrStdout(), progress)
		},
	}
	benchFlags(cmd, &c)
	addTLS(cmd.Flags(), &secure)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	addOutput(cmd, &output)
	return cmd
}

// benchFlags gives cmd a flag for each setting of c, whose value is the default.
func benchFlags(cmd *cobra.Command, c *bench.Config) {
	f := cmd.Flags()
	f.StringVar((*string)(&c.Protocol), "protocol", string(c.Protocol), "`call` to make: rls, native, batch, stream or http")
	f.StringVar(&c.Domain, "domain", c.Domain, "domain to ask")
	f.StringArrayVar(&c.Descriptors, "descriptor", c.Descriptors, "`KEY=VALUE[,KEY=VALUE...]` to ask about; %d is the key's number; repeat for several")
	f.IntVar(&c.Keys, "keys", c.Keys, "how many different keys")
	f.StringVar((*string)(&c.Distribution), "distribution", string(c.Distribution), "how often each key is asked for: uniform or zipf")
	f.Float64Var(&c.ZipfS, "zipf-s", c.ZipfS, "exponent of zipf")
	f.Uint32Var(&c.Hits, "hits", c.Hits, "cost of each check in units")
	f.StringVar((*string)(&c.Headers), "headers", string(c.Headers), "request `headers`: minimal, or envoy, which are as a real Envoy sends them")
	f.IntVar(&c.Batch, "batch", c.Batch, "checks in one request of --protocol batch, or one message of stream")
	f.IntVar(&c.Connections, "connections", c.Connections, "connections to keep open")
	f.IntVar(&c.InFlight, "in-flight", c.InFlight, "requests unanswered on a connection at most; 1 with --protocol http")
	f.Float64Var(&c.Rate, "rate", c.Rate, "requests a second; 0 is as fast as answers come")
	f.IntVar(&c.Backlog, "backlog", c.Backlog, "due requests that may wait, with --rate")
	f.DurationVar(&c.Warmup, "warmup", c.Warmup, "run this long before measuring")
	f.DurationVar(&c.Duration, "duration", c.Duration, "measure this long")
	f.DurationVar(&c.ConnectTimeout, "connect-timeout", c.ConnectTimeout, "give up connecting after this long")
	f.DurationVar(&c.DrainTimeout, "drain-timeout", c.DrainTimeout, "wait this long for the last answers")
	f.Uint64Var(&c.Seed, "seed", c.Seed, "makes the sequence of keys repeatable")
	f.IntVar(&c.ServerPID, "server-pid", c.ServerPID, "report CPU and memory of this process of this machine, too")
	f.StringVar(&c.Versus, "versus", c.Versus, "`address` of another server to compare with")
	f.IntVar(&c.VersusPID, "versus-pid", c.VersusPID, "the other server's process")
	f.IntVar(&c.Rounds, "rounds", c.Rounds, "how often each server is measured, with --versus")
}

// A benchReport is what a run has to say.
type benchReport interface {
	WriteText(w io.Writer) error
	WriteJSON(w io.Writer) error
}

func runBench(ctx context.Context, c *bench.Config, output outputFormat, stdout, progress io.Writer) error {
	var report benchReport
	var err error
	if c.Versus == "" {
		report, err = bench.Run(ctx, *c, progress)
	} else {
		report, err = bench.Compare(ctx, *c, progress)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return trouble(errors.New("bench: interrupted before anything was measured"))
	case err != nil:
		return trouble(err)
	case output == outputJSON:
		return report.WriteJSON(stdout)
	default:
		return report.WriteText(stdout)
	}
}
