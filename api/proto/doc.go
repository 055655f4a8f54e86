// Package proto holds the public .proto files and, beside them, the Go that is
// generated from them. It has no code of its own.
//
// The files are documented field by field: they are the reference. They are
// linted by `buf lint`, and breaking.sh keeps them compatible on the wire and
// in JSON with the last release. To generate:
//
//	go tool -modfile=internal/tools/go.mod buf generate
package proto
