package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/headgate/headgate/internal/config"
)

var update = flag.Bool("update", false, "write docs/reference/cli.md anew")

const cliReference = "../../docs/reference/cli.md"

func TestCLIReferenceIsWhatTheCommandsSay(t *testing.T) {
	t.Setenv(config.EnvFile, "") // else the default of serve -c
	got := cliMarkdown(newRoot())
	if *update {
		if err := os.WriteFile(cliReference, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(cliReference)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is stale: go test ./cmd/headgate -update\n%s", cliReference, got)
	}
}

func TestEveryCommandHasAShortTextAndExamples(t *testing.T) {
	eachCommand(newRoot(), func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s: Short %q, Example %q", cmd.CommandPath(), cmd.Short, cmd.Example)
		}
		for _, line := range strings.Split(cmd.Example, "\n") {
			if !strings.HasPrefix(line, "  headgate") {
				t.Errorf("%s: example %q", cmd.CommandPath(), line)
			}
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" || strings.HasSuffix(f.Usage, ".") {
				t.Errorf("%s --%s: usage %q", cmd.CommandPath(), f.Name, f.Usage)
			}
		})
	})
}

// eachCommand visits our commands, from the root down. Those of cobra, help and
// completion, are described in one line.
func eachCommand(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, sub := range cmd.Commands() {
		if sub.Name() != "help" && sub.Name() != "completion" {
			eachCommand(sub, visit)
		}
	}
}

// cliMarkdown writes the commands as a reference page.
func cliMarkdown(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Commands of headgate\n\n<!-- Generated from the commands: go test ./cmd/headgate -update -->\n")
	eachCommand(root, func(cmd *cobra.Command) {
		if cmd.HasParent() {
			fmt.Fprintf(&b, "\n## %s\n\n%s.\n", cmd.CommandPath(), cmd.Short)
		}
		text := cmd.Long
		fmt.Fprintf(&b, "\n```\n%s\n```\n", cmd.UseLine())
		if text != "" {
			fmt.Fprintf(&b, "\n```text\n%s\n```\n", text)
		}
		if cmd.HasAvailableSubCommands() {
			b.WriteString("\n| command | |\n|---|---|\n")
			for _, sub := range cmd.Commands() {
				fmt.Fprintf(&b, "| `%s` | %s |\n", sub.CommandPath(), sub.Short)
			}
		}
		if flags := markdownFlags(cmd.LocalFlags()); flags != "" {
			b.WriteString("\n| flag | default | |\n|---|---|---|\n" + flags)
		}
		if cmd.Example != "" {
			fmt.Fprintf(&b, "\n```sh\n%s\n```\n", unindent(cmd.Example))
		}
	})
	b.WriteString("\n## headgate completion\n\n`headgate completion bash|fish|powershell|zsh` prints a script that completes commands, flags and their\nvalues; `headgate completion bash --help` says where to put it.\n")
	return b.String()
}

func markdownFlags(set *pflag.FlagSet) string {
	var b strings.Builder
	set.VisitAll(func(f *pflag.Flag) {
		name := "`--" + f.Name
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		kind, usage := pflag.UnquoteUsage(f)
		if kind != "" {
			name += " " + kind
		}
		value := f.DefValue
		if value != "" && value != "[]" {
			value = "`" + value + "`"
		} else {
			value = ""
		}
		fmt.Fprintf(&b, "| %s` | %s | %s |\n", name, value, strings.ReplaceAll(usage, "|", "\\|"))
	})
	return b.String()
}

func unindent(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}
