package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headgate/headgate/internal/config"
	"github.com/headgate/headgate/internal/dropin"
	"github.com/headgate/headgate/internal/obs"
)

// runDropin runs a node in place of Envoy's reference service, set up by its
// environment variables, and returns the exit code. Variables of this server
// override them.
func runDropin(args, env []string, stderr io.Writer) int {
	cmd := &cobra.Command{Use: dropin.Name}
	cmd.SetContext(context.Background())
	fail := func(err error) int { return report(stderr, cmd, &failure{exitMisuse, err}) }
	if len(args) > 0 {
		return fail(fmt.Errorf("argument %q: %s takes none, only environment variables", args[0], dropin.Name))
	}
	r, err := dropin.Translate(env)
	if err != nil {
		return fail(fmt.Errorf("environment:\n%w", err))
	}
	c, err := config.Load(config.Sources{Env: slices.Concat(r.Env, env)})
	if err != nil {
		return fail(err)
	}
	if len(r.Ignored) > 0 {
		obs.NewLogger(stderr, c.Log.Level, c.Log.Format).Warn("these variables mean nothing here and are ignored",
			slog.String("variables", strings.Join(r.Ignored, " ")))
	}
	return report(stderr, cmd, runServe(cmd, c))
}
