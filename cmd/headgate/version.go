package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is the release, set with -ldflags "-X main.version=v1.2.3": the linker
// can only set a variable.
var version string

// A buildVersion is what `headgate version` prints.
type buildVersion struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"` // of the source, with "+dirty" if it was changed
	Built    string `json:"built,omitempty"`  // the commit's time, RFC 3339
	Go       string `json:"go"`               // the compiler
	Platform string `json:"platform"`         // operating system and architecture
}

// readVersion tells what this binary was built from: the linker's word first,
// then what the Go tool recorded.
func readVersion() buildVersion {
	v := buildVersion{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if ok {
		dirty := ""
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.time":
				v.Built = s.Value
			case "vcs.modified":
				if s.Value == "true" {
					dirty = "+dirty"
				}
			}
		}
		if v.Commit != "" {
			v.Commit += dirty
		}
		if v.Version == "" && info.Main.Version != "(devel)" {
			v.Version = info.Main.Version
		}
	}
	if v.Version == "" {
		v.Version = "devel"
	}
	return v
}

func newVersion() *cobra.Command {
	var output outputFormat
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print what this binary was built from",
		Example: "  headgate version\n  headgate version -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := readVersion()
			if output == outputJSON {
				return printJSON(cmd.OutOrStdout(), v)
			}
			w := cmd.OutOrStdout()
			fmt.Fprintf(w, "headgate %s\n", v.Version)
			if v.Commit != "" {
				fmt.Fprintf(w, "commit   %s (%s)\n", v.Commit, v.Built)
			}
			fmt.Fprintf(w, "go       %s %s\n", v.Go, v.Platform)
			return nil
		},
	}
	addOutput(cmd, &output)
	return cmd
}
