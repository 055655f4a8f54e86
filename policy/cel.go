package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of an expression of CEL that is read.
const (
	celBytesMax = 4096
	celDepthMax = 32
)

// A celNode is a place in the syntax tree of an expression of the Common
// Expression Language. What an expression means is not known here.
type celNode struct {
	op   string // ident, string, number, bool, null, list, select, index, call, or an operator as it is written
	at   int    // where it is, in characters from 1
	text string // of an ident, a literal, a select's field, a call's function
	args []*celNode
	self bool // of a call: args[0] is what stands before the dot
}

// A celError says where an expression is none, or not one that is read here.
type celError struct {
	at      int // in characters from 1
	message string
}

func (e *celError) Error() string { return fmt.Sprintf("at character %d: %s", e.at, e.message) }

// A celToken is a word of an expression.
type celToken struct {
	kind string // ident, string, number, end, or the punctuation itself
	text string // of a string: what it means
	at   int
}

// A celParser is a recursive descent over the operators of CEL that yield or
// compare booleans and strings. Maps, messages, bytes, arithmetic and ?: are
// refused by name.
type celParser struct {
	tokens []celToken
	depth  int
}

// parseCEL parses text.
func parseCEL(text string) (n *celNode, err error) {
	if len(text) > celBytesMax {
		return nil, &celError{1, fmt.Sprintf("an expression of %d bytes: at most %d", len(text), celBytesMax)}
	}
	tokens, err := celTokens(text)
	if err != nil {
		return nil, err
	}
	p := &celParser{tokens: tokens}
	if n, err = p.binary(0); err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != "end" {
		return nil, p.unexpected(t)
	}
	return n, nil
}

func (p *celParser) peek() celToken { return p.tokens[0] }

func (p *celParser) next() celToken {
	t := p.tokens[0]
	if t.kind != "end" {
		p.tokens = p.tokens[1:]
	}
	return t
}

func (p *celParser) expect(kind string) error {
	if t := p.next(); t.kind != kind {
		return &celError{t.at, fmt.Sprintf("%s instead of %q", t.shown(), kind)}
	}
	return nil
}

func (t celToken) shown() string {
	switch t.kind {
	case "end":
		return "the end"
	case "ident", "number":
		return strconv.Quote(t.text)
	case "string":
		return "a string"
	default:
		return strconv.Quote(t.kind)
	}
}

func (p *celParser) unexpected(t celToken) error {
	switch t.kind {
	case "?", "+", "-", "*", "/", "%", "{":
		return &celError{t.at, fmt.Sprintf("%q is not translated", t.kind)}
	}
	return &celError{t.at, t.shown() + " is not expected here"}
}

// celLevels are the binary operators, the weakest first.
func celLevels() [][]string {
	return [][]string{{"||"}, {"&&"}, {"==", "!=", "<", "<=", ">", ">=", "in"}}
}

// binary parses operators of the given level and stronger ones.
func (p *celParser) binary(level int) (*celNode, error) {
	if level == len(celLevels()) {
		return p.unary()
	}
	left, err := p.binary(level + 1)
	for err == nil {
		t := p.peek()
		op := t.kind
		if op == "ident" && t.text == "in" {
			op = "in"
		}
		if !slices.Contains(celLevels()[level], op) {
			return left, nil
		}
		p.next()
		var right *celNode
		if right, err = p.binary(level + 1); err == nil {
			left = &celNode{op: op, at: t.at, args: []*celNode{left, right}}
		}
	}
	return nil, err
}

func (p *celParser) unary() (*celNode, error) {
	if p.depth++; p.depth > celDepthMax {
		return nil, &celError{p.peek().at, fmt.Sprintf("nested more than %d deep", celDepthMax)}
	}
	defer func() { p.depth-- }()
	if t := p.peek(); t.kind == "!" {
		p.next()
		n, err := p.unary()
		if err != nil {
			return nil, err
		}
		return &celNode{op: "!", at: t.at, args: []*celNode{n}}, nil
	}
	n, err := p.primary()
	for err == nil {
		t := p.peek()
		switch t.kind {
		case ".":
			n, err = p.member(n)
		case "[":
			p.next()
			var index *celNode
			if index, err = p.binary(0); err == nil {
				err = p.expect("]")
			}
			n = &celNode{op: "index", at: t.at, args: []*celNode{n, index}}
		default:
			return n, nil
		}
	}
	return nil, err
}

// member parses what follows a dot: a field, or a function of what is before it.
func (p *celParser) member(of *celNode) (*celNode, error) {
	p.next()
	t := p.next()
	if t.kind != "ident" {
		return nil, p.unexpected(t)
	}
	if p.peek().kind != "(" {
		return &celNode{op: "select", at: t.at, text: t.text, args: []*celNode{of}}, nil
	}
	args, err := p.list("(", ")")
	return &celNode{op: "call", at: t.at, text: t.text, self: true, args: append([]*celNode{of}, args...)}, err
}

// list parses expressions between an opening and a closing token.
func (p *celParser) list(open, shut string) (items []*celNode, err error) {
	if err := p.expect(open); err != nil {
		return nil, err
	}
	for p.peek().kind != shut {
		item, err := p.binary(0)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
		if p.peek().kind != "," {
			break
		}
		p.next()
	}
	return items, p.expect(shut)
}

func (p *celParser) primary() (*celNode, error) {
	t := p.peek()
	switch t.kind {
	case "string", "number":
		p.next()
		return &celNode{op: t.kind, at: t.at, text: t.text}, nil
	case "(":
		p.next()
		n, err := p.binary(0)
		if err == nil {
			err = p.expect(")")
		}
		return n, err
	case "[":
		items, err := p.list("[", "]")
		return &celNode{op: "list", at: t.at, args: items}, err
	case "ident":
		p.next()
		switch {
		case t.text == "true" || t.text == "false":
			return &celNode{op: "bool", at: t.at, text: t.text}, nil
		case t.text == "null":
			return &celNode{op: "null", at: t.at}, nil
		case p.peek().kind == "(":
			args, err := p.list("(", ")")
			return &celNode{op: "call", at: t.at, text: t.text, args: args}, err
		}
		return &celNode{op: "ident", at: t.at, text: t.text}, nil
	}
	return nil, p.unexpected(t)
}

// celTokens splits an expression into words; the last one is the end.
func celTokens(text string) ([]celToken, error) {
	var tokens []celToken
	at := 1
	for rest := text; ; {
		trimmed := strings.TrimLeft(rest, " \t\r\n\f")
		at += len(rest) - len(trimmed)
		if rest = trimmed; rest == "" {
			return append(tokens, celToken{"end", "", at}), nil
		}
		t, n, err := celWord(rest)
		if err != nil {
			return nil, &celError{at, err.Error()}
		}
		t.at = at
		tokens = append(tokens, t)
		at += utf8.RuneCountInString(rest[:n])
		rest = rest[n:]
	}
}

// celWord returns the first word of s, which is not empty, and its length.
func celWord(s string) (celToken, int, error) {
	quoted := func(i int) bool { return len(s) > i && (s[i] == '"' || s[i] == '\'') }
	switch c := s[0]; {
	case quoted(0):
		text, n, err := celString(s, false)
		return celToken{kind: "string", text: text}, n, err
	case quoted(1) && (c == 'r' || c == 'R'):
		text, n, err := celString(s[1:], true)
		return celToken{kind: "string", text: text}, n + 1, err
	case quoted(1) && (c == 'b' || c == 'B'):
		return celToken{}, 0, errors.New("bytes are not translated")
	}
	if n := celNameLen(s); n > 0 {
		return celName(s[:n]), n, nil
	}
	for _, op := range []string{"||", "&&", "==", "!=", "<=", ">="} {
		if strings.HasPrefix(s, op) {
			return celToken{kind: op}, len(op), nil
		}
	}
	if strings.IndexByte("!.,()[]{}<>?:+-*/%", s[0]) >= 0 {
		return celToken{kind: s[:1]}, 1, nil
	}
	c, n := utf8.DecodeRuneInString(s)
	return celToken{}, n, fmt.Errorf("%q is not part of an expression", c)
}

// celName returns the word of letters, digits and _ that s is.
func celName(s string) celToken {
	if s[0] >= '0' && s[0] <= '9' {
		return celToken{kind: "number", text: s}
	}
	return celToken{kind: "ident", text: s}
}

// celNameLen returns how many letters, digits and _ s begins with.
func celNameLen(s string) int {
	for i, c := range []byte(s) {
		if c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return i
		}
	}
	return len(s)
}

// celString returns the meaning and the length of the string literal that s
// begins with.
func celString(s string, raw bool) (string, int, error) {
	if strings.HasPrefix(s, `"""`) || strings.HasPrefix(s, "'''") {
		return "", 0, errors.New("strings with three quotes are not translated")
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == s[0]:
			return b.String(), i + 1, nil
		case c == '\n' || c == '\r':
			return "", 0, errors.New("a string goes beyond its line")
		case c == '\\' && !raw:
			value, _, tail, err := strconv.UnquoteChar(s[i:], 0)
			if i+1 < len(s) && strings.IndexByte("'\"`?", s[i+1]) >= 0 {
				value, tail, err = rune(s[i+1]), s[i+2:], nil
			}
			if err != nil {
				return "", 0, errors.New("an escape that is not known")
			}
			b.WriteRune(value)
			i = len(s) - len(tail) - 1
		default:
			b.WriteByte(c)
		}
	}
	return "", 0, errors.New("a string does not end")
}
