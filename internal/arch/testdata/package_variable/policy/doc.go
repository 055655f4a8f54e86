// Package policy is a fixture.
package policy

import (
	"embed"
	"errors"
	"regexp"
)

var ErrSentinel = errors.New("policy: fine")

var pattern = regexp.MustCompile(`^a+$`)

//go:embed doc.go
var files embed.FS

var _ error = ErrSentinel

var cache = map[string]int{} // want package-variable "package variable cache"

var (
	a, b int // want package-variable "package variable a" // want package-variable "package variable b"
)
