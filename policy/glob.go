package policy

import (
	"bytes"
	"strings"
)

// A glob is a pattern in which each `*` is any run of characters, also an empty
// one and one with slashes. It is kept in one piece: parts would each lead to
// other memory.
type glob []byte

// matches reports whether the whole value matches. Taking the first place for
// each middle part is enough: any later one leaves less room for the rest.
func (g glob) matches(value []byte) bool {
	star, last := bytes.IndexByte(g, '*'), bytes.LastIndexByte(g, '*')
	if star < 0 {
		return bytes.Equal(g, value)
	}
	head, tail := g[:star], g[last+1:]
	if len(value) < len(head)+len(tail) || !bytes.HasPrefix(value, head) || !bytes.HasSuffix(value, tail) {
		return false
	}
	value = value[len(head) : len(value)-len(tail)]
	for middle := g[star : last+1]; len(middle) > 1; {
		middle = middle[1:]
		next := bytes.IndexByte(middle, '*')
		i := bytes.Index(value, middle[:next])
		if i < 0 {
			return false
		}
		value, middle = value[i+next:], middle[next:]
	}
	return true
}

// literalPrefix returns what every match of pattern begins with.
func literalPrefix(pattern string) string {
	before, _, _ := strings.Cut(pattern, "*")
	return before
}

// isPrefixGlob reports whether pattern is a literal and one `*` at its end,
// which is the same as a prefix.
func isPrefixGlob(pattern string) bool {
	return strings.HasSuffix(pattern, "*") && strings.Count(pattern, "*") == 1
}
