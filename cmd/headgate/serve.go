package main

import (
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/headgate/headgate/internal/app"
	"github.com/headgate/headgate/internal/config"
	"github.com/headgate/headgate/internal/obs"
)

// serveFlags are the settings that have a flag. Every setting can be given in
// the settings file and by the environment.
func serveFlags() []struct{ name, path, usage string } {
	return []struct{ name, path, usage string }{
		{"data-dir", "data_dir", "`directory` of the node's own files"},
		{"policy", "policy.paths", "`file or directory` with policies; repeat for several"},
		{"grpc", "grpc.addr", "`address` of the gRPC door: Envoy RLS, native API, health, reflection"},
		{"grpc-tls-cert", "grpc.tls.cert_file", "PEM `file` with the gRPC door's certificate; none: cleartext"},
		{"grpc-tls-key", "grpc.tls.key_file", "PEM `file` with its key"},
		{"http", "http.addr", "`address` of probes and metrics"},
		{"http-tls-cert", "http.tls.cert_file", "PEM `file` with the HTTP door's certificate; none: cleartext"},
		{"http-tls-key", "http.tls.key_file", "PEM `file` with its key"},
		{"admin", "admin.addr", "`address` of the operator's door, loopback only"},
		{"log-level", "log.level", "least severe `level` that is logged: debug, info, warn or error"},
		{"log-format", "log.format", "`format` of the log: text or json"},
	}
}

func newServe() *cobra.Command {
	var file string
	var printConfig, printSchema bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long: `Serve runs one node until it gets SIGINT or SIGTERM, and then stops gracefully.
SIGHUP reads policies and certificates again; a change of their files does so by
itself.

Settings come from the settings file, then the environment (HEADGATE_GRPC_ADDR for
grpc.addr), then flags. Without any a node runs with a sample policy.
docs/reference/config.md lists them all.

Exit codes: 0 stopped gracefully, 2 a setting, a policy or a certificate is wrong,
3 the node could not start or stop, or its store of quotas is damaged, gone or a copy.`,
		Example: `  headgate serve
  headgate serve --policy policies/ --grpc 127.0.0.1:8081
  headgate serve --grpc-tls-cert node.pem --grpc-tls-key node.key
  headgate serve -c /etc/headgate/headgate.yaml
  headgate serve -c headgate.yaml --print-config     # what would be in force
  headgate serve --print-schema > config.schema.json # for editors`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if printSchema {
				_, err := cmd.OutOrStdout().Write(config.Schema())
				return printed(err)
			}
			c, err := config.Load(config.Sources{File: file, Env: os.Environ(), Flags: changedFlags(cmd.Flags())})
			if err != nil {
				return misuse(err)
			}
			if printConfig {
				_, err := io.WriteString(cmd.OutOrStdout(), c.YAML())
				return printed(err)
			}
			return runServe(cmd, c)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&file, "config", "c", os.Getenv(config.EnvFile), "settings `file` (HEADGATE_CONFIG)")
	f.BoolVar(&printConfig, "print-config", false, "print the settings in force and exit")
	f.BoolVar(&printSchema, "print-schema", false, "print the JSON Schema of the settings file, for editors, and exit")
	for _, s := range serveFlags() {
		f.StringArray(s.name, nil, s.usage)
	}
	return cmd
}

// runServe runs a node. What is wrong with its policies or certificates is a
// misuse: whoever wrote them can do something about it.
func runServe(cmd *cobra.Command, c config.Config) error {
	signals, stop := app.NotifySignals()
	defer stop()
	v := readVersion()
	err := app.Run(cmd.Context(), app.Options{
		Config: c, Signals: signals,
		Build: obs.Build{Version: v.Version, Revision: v.Commit, Go: v.Go},
	})
	switch {
	case errors.Is(err, app.ErrQuotas):
		return trouble(err)
	case errors.Is(err, app.ErrPolicies), errors.Is(err, app.ErrCertificates):
		return misuse(err)
	case err != nil:
		return trouble(err)
	default:
		return nil
	}
}

// changedFlags returns the settings that were given as flags.
func changedFlags(set *pflag.FlagSet) []config.Flag {
	var flags []config.Flag
	for _, s := range serveFlags() {
		if f := set.Lookup(s.name); f.Changed {
			values, _ := set.GetStringArray(s.name) // no error: it was made as one
			flags = append(flags, config.Flag{Path: s.path, Name: "--" + s.name, Values: values})
		}
	}
	return flags
}
