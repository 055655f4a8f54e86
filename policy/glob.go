package policy

import (
	"bytes"
	"strings"
)

// A glob is a pattern split at its `*`s, each of which is any run of
// characters, also an empty one and one with slashes.
type glob [][]byte

func newGlob(pattern string) glob {
	return bytes.Split([]byte(pattern), []byte("*"))
}

// matches reports whether the whole value matches. Taking the first place for
// each middle part is enough: any later one leaves less room for the rest.
func (g glob) matches(value []byte) bool {
	first, last := g[0], g[len(g)-1]
	if len(g) == 1 {
		return bytes.Equal(first, value)
	}
	if len(value) < len(first)+len(last) || !bytes.HasPrefix(value, first) || !bytes.HasSuffix(value, last) {
		return false
	}
	value = value[len(first) : len(value)-len(last)]
	for _, part := range g[1 : len(g)-1] {
		i := bytes.Index(value, part)
		if i < 0 {
			return false
		}
		value = value[i+len(part):]
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
