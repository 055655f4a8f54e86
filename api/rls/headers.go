package rls

import (
	"errors"
	"fmt"
)

// Headers names the response headers that an answer asks Envoy to add. An empty
// name leaves that header out; the zero Headers adds none.
type Headers struct {
	// RetryAfter holds, on a denial, the whole seconds after which the same
	// cost could pass, at least 1. It is left out if it never could.
	RetryAfter string
	// Limit holds, on a denial, the name of the limit that denied.
	Limit string
	// Amount, Remaining and Reset hold what the status says that is closest to its
	// limit: the amount, the units left and the whole seconds until the reset. They
	// are those that Envoy's own service can add, on every answer that a limit
	// counted for, unless the domain's policy chooses its headers.
	Amount, Remaining, Reset string
	// Degraded holds why a decision was made without its counter, on denials
	// and on allowed answers.
	Degraded string
}

// DefaultHeaders returns retry-after, x-headgate-limit and x-headgate-degraded.
func DefaultHeaders() Headers {
	return Headers{RetryAfter: "retry-after", Limit: "x-headgate-limit", Degraded: "x-headgate-degraded"}
}

// Validate reports all names that HTTP/2 does not take.
func (h *Headers) Validate() error {
	var errs []error
	for _, f := range []struct{ path, name string }{
		{"headers.retry_after", h.RetryAfter},
		{"headers.limit", h.Limit},
		{"headers.amount", h.Amount},
		{"headers.remaining", h.Remaining},
		{"headers.reset", h.Reset},
		{"headers.degraded", h.Degraded},
	} {
		for _, c := range []byte(f.name) {
			if !isToken(c) {
				errs = append(errs, fmt.Errorf("rls: %s: %q: only lower-case letters, digits, '-', '_' and '.'", f.path, f.name))
				break
			}
		}
	}
	return errors.Join(errs...)
}

func isToken(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
}
