package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// An outputFormat is the value of -o. The zero value is text for people.
type outputFormat string

// The output formats.
const (
	outputText outputFormat = "text"
	outputJSON outputFormat = "json"
)

// String, Set and Type make outputFormat a flag value.
func (f *outputFormat) String() string {
	if *f == "" {
		return string(outputText)
	}
	return string(*f)
}

// Set accepts text and json.
func (f *outputFormat) Set(s string) error {
	switch v := outputFormat(s); v {
	case outputText, outputJSON:
		*f = v
		return nil
	default:
		return fmt.Errorf("%q is neither text nor json", s)
	}
}

// Type names the value in help.
func (f *outputFormat) Type() string { return "FORMAT" }

// addOutput gives cmd the flag -o, --output.
func addOutput(cmd *cobra.Command, f *outputFormat) {
	cmd.Flags().VarP(f, "output", "o", "how to print the answer: text or json")
	if err := cmd.RegisterFlagCompletionFunc("output",
		cobra.FixedCompletions([]string{string(outputText), string(outputJSON)}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was added two lines above
	}
}

// printJSON writes v as one indented JSON document.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
