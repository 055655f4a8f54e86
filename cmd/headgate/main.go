package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	_ "time/tzdata" // the zones of quotas, on machines that know none

	"github.com/headgate/headgate/internal/dropin"
)

func main() {
	if filepath.Base(os.Args[0]) == dropin.Name {
		os.Exit(runDropin(os.Args[1:], os.Environ(), os.Stderr))
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run executes the command line args and returns its exit code.
func run(args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(context.Background())
	return report(stderr, cmd, err)
}
