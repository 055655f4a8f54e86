package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// ProblemsMax is how many problems are reported; the rest is counted.
const ProblemsMax = 200

// valueShownMax is how many bytes of an offending value a problem quotes, and
// messageMax how long its message is: the YAML parser's quote what they are about.
const (
	valueShownMax = 80
	messageMax    = 400
)

// A Problem is one thing wrong with a policy.
type Problem struct {
	Position
	Path       string // such as limits[3].rate; empty for the whole document
	Value      string // what was written, shortened; empty if something is missing
	Message    string // what is wrong with it
	Expected   string // the bound, or what would be right; may be empty
	Suggestion string // what was probably meant; may be empty
}

// String returns the problem in one line: file:line:column: path: message.
func (p Problem) String() string {
	var b strings.Builder
	switch {
	case p.Line > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Column)
	case p.File != "":
		b.WriteString(p.File + ": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	if p.Value != "" {
		b.WriteString(strconv.Quote(p.Value) + ": ")
	}
	b.WriteString(p.Message)
	if p.Expected != "" {
		b.WriteString("; expected " + p.Expected)
	}
	if p.Suggestion != "" {
		fmt.Fprintf(&b, "; did you mean %q?", p.Suggestion)
	}
	return b.String()
}

// Problems are all that is wrong, in the order of files and lines as they were
// read. Past ProblemsMax the last one only counts the others. Problems is an
// error; use Err to get a nil error for none.
type Problems []Problem //nolint:errname // a list that is also an error: it is named for the list

// Error returns one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Err returns ps, or nil if there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// report collects problems and bounds them.
type report struct {
	problems Problems
	more     int
}

func (r *report) add(p Problem) {
	if len(r.problems) == ProblemsMax {
		r.more++
		return
	}
	p.Value, p.Message = shorten(p.Value, valueShownMax), shorten(p.Message, messageMax)
	r.problems = append(r.problems, p)
}

// shorten returns s, or its beginning if it has more than n bytes.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// result returns what was collected.
func (r *report) result() Problems {
	if r.more == 0 {
		return r.problems
	}
	return append(r.problems, Problem{Message: fmt.Sprintf("and %d more problems", r.more)})
}

// closest returns the candidate that word was probably meant to be, or "".
func closest(word string, candidates []string) string {
	best, bestDistance := "", 1+max(1, len(word)/3)
	if len(word) > NameBytesMax {
		return ""
	}
	for _, c := range candidates {
		if d := editDistance(word, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions, substitutions and swaps of
// neighbours that turn a into b (optimal string alignment), by bytes.
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
