package main

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/headgate/headgate/policy"
)

func newImport() *cobra.Command {
	cmd := newGroup("import", "Translate another system's limits to policies",
		"Import writes policy documents to standard output.",
		"  headgate policy import envoy ratelimit/config/ > imported.yaml\n"+
			"  headgate policy import limitador limits.yaml > imported.yaml")
	cmd.AddCommand(newImportEnvoy(), newImportLimitador())
	return cmd
}

func newImportEnvoy() *cobra.Command {
	var o policy.EnvoyOptions
	cmd := &cobra.Command{
		Use:   "envoy PATH...",
		Short: "Translate the configuration of envoyproxy/ratelimit",
		Long: `Import envoy reads configuration files of Envoy's reference rate-limit service
(github.com/envoyproxy/ratelimit), and of directories the files *.yaml and *.yml,
and writes policies with exactly their meaning to standard output, one document
for each domain.

What can't be carried over is an error that names the rule, unless --lossy: then
it is left out, and a comment says so. docs/guides/from-envoy-ratelimit.md tells
the differences.

Exit codes: 0 imported, 1 can't be imported, 2 misuse (also a file that can't be
read).`,
		Example: `  headgate policy import envoy ratelimit.yaml > imported.yaml
  headgate policy import envoy --explain config/          # what each rule means, and what differs
  headgate policy import envoy --merge-domains config/    # as with MERGE_DOMAIN_CONFIG=true
  headgate policy import envoy --lossy config/            # leave out metadata and per-value metrics`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runImport(cmd, args, func(files []policy.Source) ([]*policy.Document, error) {
				return policy.ImportEnvoy(files, o)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.MergeDomains, "merge-domains", false, "join files of one domain, as MERGE_DOMAIN_CONFIG does; otherwise they are an error")
	f.BoolVar(&o.Lossy, "lossy", false, "leave out what Headgate has no equivalent of, with a comment, instead of refusing it")
	f.BoolVar(&o.Explain, "explain", false, "say in comments what each rule means and where it differs")
	return cmd
}

func newImportLimitador() *cobra.Command {
	var o policy.LimitadorOptions
	cmd := &cobra.Command{
		Use:   "limitador PATH...",
		Short: "Translate limits of Limitador",
		Long: `Import limitador reads limits files of Limitador (github.com/Kuadrant/limitador),
and of directories the files *.yaml and *.yml, and writes policies to standard
output, one document for each namespace. Conditions are CEL; those that compare
keys of the first descriptor with texts are translated.

A limit that can't be carried over is an error that names it, the expression and
the place in it, unless --lossy: then the limit is left out, and a comment says
so. docs/guides/from-limitador.md tells what is translated and the differences.

Exit codes: 0 imported, 1 can't be imported, 2 misuse (also a file that can't be
read).`,
		Example: `  headgate policy import limitador limits.yaml > imported.yaml
  headgate policy import limitador --explain limits.yaml  # what each limit means, and what differs
  headgate policy import limitador --lossy limits.yaml    # leave out limits that can't be carried over`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runImport(cmd, args, func(files []policy.Source) ([]*policy.Document, error) {
				return policy.ImportLimitador(files, o)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.Lossy, "lossy", false, "leave out limits that Headgate has no equivalent of, with a comment, instead of refusing them")
	f.BoolVar(&o.Explain, "explain", false, "say in comments what each limit means and where it differs")
	return cmd
}

// runImport translates the files that args name and writes the policies.
func runImport(cmd *cobra.Command, args []string, translate func([]policy.Source) ([]*policy.Document, error)) error {
	sources, err := policy.Load(args...)
	if err != nil {
		return misuse(err)
	}
	if len(sources) == 0 {
		return misuse(errors.New("no files named *.yaml or *.yml there"))
	}
	docs, err := translate(sources)
	if err != nil {
		return &failure{exitNo, fmt.Errorf("can't be imported:\n%w", err)}
	}
	if _, err := cmd.OutOrStdout().Write(marshalAll(docs)); err != nil {
		return trouble(err)
	}
	return nil
}

// marshalAll writes documents one after another.
func marshalAll(docs []*policy.Document) []byte {
	texts := make([][]byte, len(docs))
	for i, doc := range docs {
		texts[i] = policy.Marshal(doc)
	}
	return bytes.Join(texts, []byte("---\n"))
}
