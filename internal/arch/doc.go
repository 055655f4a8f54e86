// Package arch holds the rules of the source tree that a compiler does not
// know: which package may import which, how long files and functions may be,
// what must be documented, and which calls only the shell packages may make.
//
// It is not a general linter (golangci-lint is, see .golangci.yml): it keeps
// only what is particular to this repository. It reads source text and runs no
// other program.
//
// The main entry is [Tree.Check]; [Table] is the import table. A Tree is
// immutable once [Load] has returned it and safe for concurrent use. A broken
// rule is a [Violation], not an error; an error means that the source could
// not be read.
//
// See docs/adr/0009-rules-as-tests.md.
package arch
