package rest

import (
	"net/http"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/headers"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// Names of our own header fields.
const (
	limitField    = "X-Headgate-Limit"
	degradedField = "X-Headgate-Degraded"
)

// defaultHeaders are what an answer carries if the policy doesn't say.
const defaultHeaders = policy.HeadersDraft | policy.HeadersRetryAfter

// setFields sets the header fields of x, which is decided.
func setFields(h http.Header, x *api.Exchange) {
	set := x.Req.Headers
	if set == 0 {
		set = defaultHeaders
	}
	var l headers.List
	l.Fill(x, set)
	for i := range l.Len() {
		name, value := l.Field(i)
		h.Set(name, string(value))
	}
	if v, _ := x.Verdict(); v == limiter.Denied {
		h.Set(limitField, printable(headers.DeniedBy(x)))
	}
	if why := headers.Degraded(x); why != limiter.NotDegraded {
		h.Set(degradedField, why.String())
	}
}

// printable replaces what a header field can't hold: a limit without a name of its
// own is called by its selector, which may be any text.
func printable(name string) string {
	b := []byte(name)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
