package config

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

// go test ./internal/config -run TestReferenceIsFresh -update writes the page.
func TestReferenceIsFresh(t *testing.T) {
	const page = "../../docs/reference/config.md"
	want := reference()
	if *updateFlag {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the structs say: run go test ./internal/config -update", page)
	}
}

var updateFlag = flag.Bool("update", false, "write docs/reference/config.md")

func reference() string {
	var b strings.Builder
	b.WriteString(`# Settings of headgate serve

<!-- Generated from internal/config: go test ./internal/config -update -->

` + "`headgate serve`" + ` runs without any. Each setting comes from, the later overriding the earlier: its default, a YAML
file (` + "`-c FILE`, or the variable `HEADGATE_CONFIG`" + `), an environment variable, a flag. Everything is checked at once
before anything starts; a key or variable that does not exist is an error, except for variables that Kubernetes
sets for a Service named headgate. ` + "`headgate serve --print-config`" + ` prints what is in force, as a file that can be loaded.

[config.schema.json](config.schema.json) is a JSON Schema of the file, which ` + "`headgate serve --print-schema`" + ` prints, too. Editors that
use [yaml-language-server](https://github.com/redhat-developer/yaml-language-server) complete and explain keys, and underline
what is misspelt, if the file begins with the line ` + "`# yaml-language-server: $schema=config.schema.json`" + `, a path or an address.
What only several settings together get wrong, the node says when it starts.

Sizes are a number with B, KiB, MiB, GiB, TiB or kB, MB, GB, TB. Durations are a number with ns, us, ms, s, m or h.
Lists in a variable are separated by commas. No setting is a secret: the secret of the key hash is a file of the data directory.

`)
	c := Default()
	b.WriteString("| key | default | bound | variable | what it is |\n|---|---|---|---|---|\n")
	for _, f := range Fields(&c) {
		fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` | %s |\n", f.Path, code(f.Text()), f.Bound, f.Env(), f.Doc)
	}
	b.WriteString(`
## The data directory

The default of ` + "`data_dir`" + ` is the first of: ` + "`$STATE_DIRECTORY`" + ` (systemd sets it), ` + "`/var/lib/headgate`" + ` for root,
` + "`$XDG_STATE_HOME/headgate`, `$HOME/.local/state/headgate`, `headgate-data`" + ` in the working directory. It holds:

| file | what it is |
|---|---|
| ` + "`lock`" + ` | held by the process that uses the directory: a second one ends with an error |
| ` + "`key-secret`" + ` | 16 random bytes, mode 0600, made once. Whoever has it can find out which counter a value has. Without it saved counters are of no use |
| ` + "`counters`" + ` | the counters as of the last graceful stop, removed once loaded. There are none after a crash or ` + "`kill -9`" + `: counters then start afresh |
| ` + "`reservations`" + ` | the [reservations](../guides/llm-gateway.md#when-the-node-ends) of the last graceful stop, removed before anybody is served |
| ` + "`quotas/`" + ` | the store of [durable quotas](../quotas.md), from the first policy on that has one: the log, what was applied of it, snapshots, and 64 MiB of ballast. Not to be deleted or copied: [backups](../guides/backup.md) |
| ` + "`place`" + ` | where the directory was made, of which key secret, and which process served its quotas last: it tells a copy from the original |
| ` + "`modes`" + ` | the domains that operators have set to a mode other than enforced |
| ` + "`audit`" + ` | what operators changed |
| ` + "`RESTORING`" + ` | a restore into the directory has not ended: no node starts with it |
| ` + "`counters.damaged-*`, `reservations.damaged-*`" + ` | the latest file that could not be read: set aside, the node started without what was in it and said so in the log |
`)
	return b.String()
}

func code(s string) string {
	if s == "" {
		return "empty"
	}
	return "`" + s + "`"
}
