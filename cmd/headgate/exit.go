package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// An exitCode is what the process returns to its caller. Scripts rely on the
// numbers.
type exitCode int

// The exit codes.
const (
	exitFine    exitCode = 0
	exitNo      exitCode = 1 // the answer is no: denied, invalid, can't be imported
	exitMisuse  exitCode = 2 // the command line or a file it names is wrong
	exitTrouble exitCode = 3 // the server or the network is in the way
)

// A failure is an error that knows its exit code. An error of a command that
// is not a failure comes from cobra and is a misuse.
type failure struct {
	code exitCode
	err  error // nil: everything worth saying has been said
}

func (f *failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit code %d", f.code)
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// answerNo ends a command whose printed answer was no.
func answerNo() error { return &failure{code: exitNo} }

func misuse(err error) error { return &failure{exitMisuse, err} }

func trouble(err error) error { return &failure{exitTrouble, err} }

// report prints err, with a hint at the usage of cmd if the command line was
// wrong, and returns the exit code.
func report(stderr io.Writer, cmd *cobra.Command, err error) int {
	if err == nil {
		return int(exitFine)
	}
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{exitMisuse, err}
	}
	if f.err != nil {
		fmt.Fprintf(stderr, "headgate: %v\n", f.err)
		if f.code == exitMisuse {
			fmt.Fprintf(stderr, "Run '%s --help' for usage.\n", cmd.CommandPath())
		}
	}
	return int(f.code)
}
