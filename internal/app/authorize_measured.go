//go:build measureauthorize

package app

import "github.com/headgate/headgate/api/h2"

// authorize returns what a node of `make bench-front` asks about each request, so
// that its figures contain the hook's cost: it looks through the header fields for
// a credential. It guards nothing: requests without one pass.
func authorize() func(*h2.Headers) h2.Refusal {
	return func(h *h2.Headers) (r h2.Refusal) {
		if v, ok := h.Get("authorization"); ok && len(v) == 0 {
			r.Code, r.Message = 16, "authorization: is empty" // UNAUTHENTICATED
		}
		return r
	}
}
