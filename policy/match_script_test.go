package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/headgate/headgate/limiter"
)

// TestMatchScripts runs testdata/match/*.txt: policies and requests, each
// followed by what it owes. A request is a line
//
//	> DOMAIN [key=value,key=value OPTION…] […]
//
// with the options cost=N, peek, back and limit=N/UNIT after the entries.
// Charges with the same letter use the same counter.
func TestMatchScripts(t *testing.T) {
	names, err := filepath.Glob("testdata/match/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			_, rest, _ := strings.Cut(string(text), policyMark)
			policy, script, ok := strings.Cut(rest, requestsMark)
			if !ok {
				t.Fatalf("no %q after %q", requestsMark, policyMark)
			}
			head := strings.TrimSuffix(string(text), script)
			golden(t, name, head+runScript(t, policy, script))
		})
	}
}

// The lines that begin the parts of a script.
const (
	policyMark   = "-- policy.yaml --\n"
	requestsMark = "-- requests --\n"
)

func runScript(t *testing.T, policy, script string) string {
	t.Helper()
	s := compiled(t, policy)
	counters := map[limiter.Key]string{}
	var b strings.Builder
	for _, line := range strings.Split(script, "\n") {
		switch {
		case strings.HasPrefix(line, "#"):
			b.WriteString(line + "\n")
		case strings.HasPrefix(line, "> "):
			b.WriteString(line + "\n")
			var c limiter.Call
			r := parseRequest(t, line[2:])
			outcome := s.Match(r, &c)
			for _, text := range chargesText(s, r, &c, counters) {
				b.WriteString("  " + text + "\n")
			}
			if outcome != Matched {
				fmt.Fprintf(&b, "  outcome %d\n", outcome)
			} else if len(c.Charges()) == 0 {
				b.WriteString("  nothing\n")
			}
			b.WriteString("\n")
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// parseRequest reads the text of a request.
func parseRequest(tb testing.TB, line string) *Request {
	tb.Helper()
	domain, rest, _ := strings.Cut(line, " ")
	r := &Request{Domain: []byte(domain)}
	for _, part := range strings.Split(rest, "]") {
		part = strings.Trim(part, " [")
		if part == "" {
			continue
		}
		words := strings.Fields(part)
		d := r.AddDescriptor()
		for _, pair := range strings.Split(words[0], ",") {
			if key, value, ok := strings.Cut(pair, "="); ok {
				r.AddEntry([]byte(key), []byte(value))
			}
		}
		for _, option := range words[1:] {
			switch key, value, _ := strings.Cut(option, "="); key {
			case "cost":
				n, err := strconv.ParseUint(value, 10, 64)
				if err != nil {
					tb.Fatal(err)
				}
				d.Cost = n
			case "peek":
				d.Op, d.Cost = limiter.OpPeek, 0
			case "back":
				d.Op = limiter.OpGiveBack
			case "limit":
				amount, every, f := parseLimit(value, parseEvery)
				if f != nil {
					tb.Fatal(f.message)
				}
				u, n := UnitOf(every)
				r.SetOverride(Override{Amount: amount, Unit: u, Multiplier: n})
			default:
				tb.Fatalf("unknown option %s", option)
			}
		}
	}
	return r
}

func chargesText(s *Snapshot, r *Request, c *limiter.Call, counters map[limiter.Key]string) []string {
	var lines []string
	for i := range c.Charges() {
		ch := &c.Charges()[i]
		if counters[ch.Key] == "" {
			counters[ch.Key] = string(rune('A' + len(counters)))
		}
		amount := "unlimited"
		if ch.Limit.Kind != limiter.KindUnlimited {
			amount = fmt.Sprintf("%s %d/%s", ch.Limit.Kind, ch.Limit.Amount, formatEvery(ch.Limit.Period))
		}
		op := []string{"charge", "peek", "give back"}[ch.Op]
		line := fmt.Sprintf("%s: %s, %s %d, descriptors %b, counter %s", ch.Limit.Name, amount, op, ch.Cost, ch.Descriptors, counters[ch.Key])
		for _, l := range s.Labels(r, ch) {
			line += " " + l.Key + "=" + l.Value
		}
		lines = append(lines, line)
	}
	sort.Strings(lines)
	return lines
}
