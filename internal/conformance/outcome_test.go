package conformance

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// An outcome is what came of one request. What means the same to a client is
// the same here: whether a status came in trailers or in the only HEADERS, the
// order of fields, how messages were cut into frames, whether they were
// compressed, and RST_STREAM NO_ERROR after the answer's end.
type outcome struct {
	end     string // "answer", "RST_STREAM code", "silent", or "gone" with the connection
	http    string // :status
	kind    string // content-type
	status  string // grpc-status
	message string // grpc-message
	details string // grpc-status-details-bin
	meta    string // other fields, sorted
	body    string // the messages, or the body if that is no gRPC
}

// String shows an outcome in a line.
func (o *outcome) String() string {
	return fmt.Sprintf("%s http=%q type=%q status=%q message=%q details=%q meta=%q body=%q", o.end, o.http, o.kind, o.status, o.message, o.details, o.meta, o.body)
}

// outcome says what s has received; alive that the connection was, at the end.
func (s *stream) outcome(alive bool) outcome {
	o := outcome{end: "answer"}
	switch {
	case s.reset != "":
		return outcome{end: "RST_STREAM " + s.reset}
	case !s.ended && alive:
		return outcome{end: "silent"}
	case !s.ended:
		return outcome{end: "gone"}
	}
	var meta []string
	zippedBy := ""
	for _, h := range slices.Concat(s.headers...) {
		switch h.Name {
		case ":status":
			o.http = h.Value // the last: others are interim
		case "content-type":
			o.kind += h.Value
		case "grpc-status":
			o.status += h.Value
		case "grpc-message":
			o.message += unescape(h.Value)
		case "grpc-status-details-bin":
			o.details += h.Value
		case "grpc-encoding":
			zippedBy = h.Value
		case "date", "content-length", "trailer", "x-content-type-options": // of plain HTTP answers
		default:
			meta = append(meta, h.Name+": "+h.Value)
		}
	}
	slices.Sort(meta)
	o.meta = strings.Join(meta, "\n")
	o.body = body(s.headers, o.kind, zippedBy, s.data)
	return o
}

func body(headers [][]hpack.HeaderField, kind, zippedBy string, data []byte) string {
	if len(headers) > 2 {
		return fmt.Sprintf("%d header blocks", len(headers))
	}
	if !strings.HasPrefix(kind, "application/grpc") {
		return string(data)
	}
	var b strings.Builder
	list, zipped, rest := messages(data)
	for i, m := range list {
		if zipped[i] {
			if zippedBy != "gzip" {
				fmt.Fprintf(&b, "compressed as %q ", zippedBy)
			}
			m = unzip(m)
		}
		fmt.Fprintf(&b, "%x ", m)
	}
	if len(rest) > 0 {
		fmt.Fprintf(&b, "and %d bytes", len(rest))
	}
	return b.String()
}

func unzip(m []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(m))
	if err != nil {
		return []byte(err.Error())
	}
	m, err = io.ReadAll(r)
	if err != nil {
		return []byte(err.Error())
	}
	return m
}

// unescape undoes the percent-encoding of grpc-message.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		var c byte
		if s[i] == '%' && i+2 < len(s) {
			if _, err := fmt.Sscanf(s[i+1:i+3], "%02X", &c); err == nil {
				b.WriteByte(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// A difference is one field in which the servers differ.
type difference struct {
	field          string
	when           string // the exchanges
	theirs, ours   string
	grpc, headgate fmt.Stringer // whole outcomes, to look at
	all            []string     // the whole script
}

// String shows a difference in a few lines.
func (d *difference) String() string {
	s := fmt.Sprintf("%s: grpc-go %q, Headgate %q\n  asked:    %s", d.field, d.theirs, d.ours, d.when)
	if d.grpc != nil {
		s += fmt.Sprintf("\n  grpc-go:  %v\n  Headgate: %v", d.grpc, d.headgate)
	}
	if len(d.all) > 1 {
		s += "\n  script:\n    " + strings.Join(d.all, "\n    ")
	}
	return s
}

// differences compares what a script led to at grpc-go and at us. Of answers
// that a lost connection cut off, and of cancelled ones, nothing is expected.
func differences(s script, theirs, ours result) []difference {
	var found []difference
	var all []string
	for i := range s.exchanges {
		all = append(all, s.exchanges[i].String())
	}
	if theirs.connection != ours.connection {
		found = append(found, difference{field: "connection", when: strings.Join(all, "\n"), theirs: theirs.connection, ours: ours.connection})
	}
	for i := range s.exchanges {
		a, b := &theirs.outcomes[i], &ours.outcomes[i]
		lost := a.end == "gone" && theirs.connection != "alive" || b.end == "gone" && ours.connection != "alive"
		if lost || s.exchanges[i].cancelled() || *a == *b {
			continue
		}
		for _, f := range []struct{ name, theirs, ours string }{
			{"end", a.end, b.end},
			{"http", a.http, b.http},
			{"content-type", a.kind, b.kind},
			{"status", a.status, b.status},
			{"message", a.message, b.message},
			{"details", a.details, b.details},
			{"metadata", a.meta, b.meta},
			{"body", a.body, b.body},
		} {
			if f.theirs == f.ours {
				continue
			}
			found = append(found, difference{f.name, all[i], f.theirs, f.ours, a, b, all})
			if f.name == "end" {
				break // the others differ for it
			}
		}
	}
	return found
}

// A rule allows a difference.
type rule struct {
	line                       int
	field                      string
	when, theirs, ours, reason string
	patterns                   [3]*regexp.Regexp
}

// rules are testdata/differences.txt: paragraphs of `key: value` lines.
func rules(tb testing.TB) []rule {
	tb.Helper()
	text, err := os.ReadFile("testdata/differences.txt")
	if err != nil {
		tb.Fatal(err)
	}
	var list []rule
	var r rule
	end := func() {
		if r == (rule{}) {
			return
		}
		if r.field == "" || r.when == "" || r.reason == "" {
			tb.Fatalf("testdata/differences.txt:%d: needs field, when, grpc-go, headgate and because", r.line)
		}
		for i, p := range []string{r.when, "^(?:" + r.theirs + ")$", "^(?:" + r.ours + ")$"} {
			r.patterns[i] = regexp.MustCompile("(?s)" + p)
		}
		list = append(list, r)
		r = rule{}
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		switch {
		case line == "":
			end()
			continue
		case line[0] == '#':
			continue
		}
		key, value, _ := strings.Cut(line, ":")
		to := map[string]*string{"field": &r.field, "when": &r.when, "grpc-go": &r.theirs, "headgate": &r.ours, "because": &r.reason}[key]
		if to == nil {
			tb.Fatalf("testdata/differences.txt:%d: unknown key %q", n, key)
		}
		if r == (rule{}) {
			r.line = n
		}
		*to = strings.TrimSpace(value)
	}
	end()
	return list
}

// allows reports whether the rule is about d.
func (r *rule) allows(d *difference) bool {
	return r.field == d.field && r.patterns[0].MatchString(d.when) &&
		r.patterns[1].MatchString(d.theirs) && r.patterns[2].MatchString(d.ours)
}
