package policy

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of the YAML that the parser is let near: it is recursive.
const (
	flowDepthMax   = 16        // [ and { inside each other
	blockColumnMax = 512       // columns that a `-` or a key may be indented
	tokensMax      = 3_000_000 // of one document
)

// A chunk is the part of a file between two `---` lines, parsed on its own so
// that a file costs no more memory than its largest document.
type chunk struct {
	text  []byte
	lines int // of the file before text
}

// chunks splits text before each line that begins with `---`. YAML allows no
// such line inside a scalar.
func chunks(text []byte) []chunk {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	var cs []chunk
	start, startLine, line := 0, 0, 0
	for at := 0; at < len(text); line++ {
		end := len(text)
		if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		if at > start && isMarker(text[at:end]) {
			cs = append(cs, chunk{text[start:at], startLine})
			start, startLine = at, line
		}
		at = end
	}
	return append(cs, chunk{text[start:], startLine})
}

func isMarker(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("---"))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// isBlank reports whether a chunk says nothing: only its marker, spaces and
// comments.
func (c chunk) isBlank() bool {
	for line := range bytes.Lines(c.text) {
		if isMarker(line) {
			line = line[len("---"):]
		}
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}

// A syntaxError is a place where a text is not YAML, or not the part of YAML
// that policies may use.
type syntaxError struct {
	line, column int // 0 if unknown
	flaw
}

// parseYAML turns a chunk into syntax trees. What could exhaust memory or the
// stack, and what check refuses, is refused before the recursive parser sees it.
func parseYAML(c chunk, check func(token.Tokens) *syntaxError) (bodies []ast.Node, bad *syntaxError) {
	if !utf8.Valid(c.text) {
		return nil, &syntaxError{1, 1, flaw{message: "not UTF-8 text"}}
	}
	defer func() {
		// The parser is not ours and its input is hostile: a panic of it must
		// not take a node down. No input is known to cause one.
		if v := recover(); v != nil {
			bodies, bad = nil, &syntaxError{1, 1, flaw{message: fmt.Sprintf("not YAML: %v", v)}}
		}
	}()
	// The lexer counts a line twice that ends in a comment and a carriage return.
	text := bytes.ReplaceAll(c.text, []byte("\r\n"), []byte("\n"))
	tokens := lexer.Tokenize(string(text))
	if bad := checkBounds(tokens); bad != nil {
		return nil, bad
	}
	if bad := check(tokens); bad != nil {
		return nil, bad
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, syntaxErrorOf(err)
	}
	for _, doc := range file.Docs {
		if doc.Body != nil {
			bodies = append(bodies, doc.Body)
		}
	}
	return bodies, nil
}

// syntaxErrorOf takes the parser's error apart.
func syntaxErrorOf(err error) *syntaxError {
	var located yaml.Error
	if !errors.As(err, &located) {
		return &syntaxError{1, 1, flaw{message: "not YAML: " + err.Error()}}
	}
	bad := &syntaxError{1, 1, flaw{message: "not YAML: " + located.GetMessage()}}
	if tk := located.GetToken(); tk != nil && tk.Position != nil {
		bad.line, bad.column = tk.Position.Line, tk.Position.Column
	}
	return bad
}

// refuseToken says what is wrong with a token.
func refuseToken(tk *token.Token, message, expected string) *syntaxError {
	return &syntaxError{tk.Position.Line, tk.Position.Column, flaw{message: message, expected: expected}}
}

// checkPlain refuses what policies have no use for and attackers do: anchors
// and aliases, tags, directives, merge keys and keys that are not scalars.
func checkPlain(tokens token.Tokens) *syntaxError {
	for _, tk := range tokens {
		switch tk.Type {
		case token.AnchorType, token.AliasType:
			return refuseToken(tk, "anchors and aliases are not allowed in policies", "the value itself, or quotes around a text that begins with & or *")
		case token.TagType:
			return refuseToken(tk, "tags are not allowed in policies", "quotes around a text that begins with !")
		case token.DirectiveType:
			return refuseToken(tk, "directives are not allowed in policies", "")
		case token.MergeKeyType:
			return refuseToken(tk, "merge keys are not allowed in policies", "the keys themselves")
		case token.MappingKeyType:
			return refuseToken(tk, "keys after ? are not allowed in policies", "KEY: VALUE")
		default:
		}
	}
	return nil
}

// checkBounds refuses what is too long or too deep.
func checkBounds(tokens token.Tokens) *syntaxError {
	if len(tokens) > tokensMax {
		return refuseToken(tokens[0], "too long", fmt.Sprintf("at most %d YAML tokens in one document", tokensMax))
	}
	tooDeepBlock := fmt.Sprintf("an indentation of at most %d columns", blockColumnMax)
	depth := 0
	for _, tk := range tokens {
		switch tk.Type {
		case token.MappingStartType, token.SequenceStartType:
			if depth++; depth > flowDepthMax {
				return refuseToken(tk, "nested too deep", fmt.Sprintf("at most %d brackets inside each other", flowDepthMax))
			}
		case token.MappingEndType, token.SequenceEndType:
			depth--
		case token.SequenceEntryType:
			if depth <= 0 && tk.Position.Column > blockColumnMax {
				return refuseToken(tk, "nested too deep", tooDeepBlock)
			}
		case token.MappingValueType:
			if depth <= 0 && tk.Prev != nil && tk.Prev.Position.Column > blockColumnMax {
				return refuseToken(tk, "nested too deep", tooDeepBlock)
			}
		default:
		}
	}
	return nil
}
