package policy

import "github.com/goccy/go-yaml/ast"

// A HeaderSet says which families of response headers the answers of a domain
// carry. The zero HeaderSet means that the document does not say: each door then
// has a default of its own.
type HeaderSet uint8

// The families. HeadersChosen is set beside them if the document says `headers`:
// alone it means none.
const (
	HeadersDraft      HeaderSet = 1 << iota // RateLimit and RateLimit-Policy
	HeadersXRateLimit                       // X-RateLimit-Limit, -Remaining and -Reset
	HeadersRateLimit                        // RateLimit-Limit, -Remaining and -Reset
	HeadersRetryAfter                       // Retry-After, on denials
	HeadersChosen
)

const headersNone = "none"

// headerWords returns the families' names, in the order of their bits.
func headerWords() []string { return []string{"draft", "x_ratelimit", "ratelimit", "retry_after"} }

// words returns the names of the families in h.
func (h HeaderSet) words() []string {
	var words []string
	for i, w := range headerWords() {
		if h&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	return words
}

// formHeaders is `none` or a list of families.
func formHeaders() schema {
	return schema{"anyOf": []schema{formWords([]string{headersNone}), formList(formWords(headerWords()), len(headerWords()))}}
}

// headers reads the value of `headers`.
func (r *reader) headers(n *node) HeaderSet {
	if text, ok := n.value.(*ast.StringNode); ok && text.Value == headersNone {
		return HeadersChosen
	}
	set := HeadersChosen
	for _, item := range r.sequence(n, len(headerWords())) {
		i := r.choice(item, headerWords()...)
		if i < 0 {
			continue
		}
		if set&(1<<i) != 0 {
			r.fail(item, &flaw{message: "is listed twice", expected: "each family once"})
		}
		set |= 1 << i
	}
	return set
}
