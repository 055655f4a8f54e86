package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// A callScript is a .calls file: requests with the answers that the reference
// service gives, line by line.
//
//	at 100.25
//	path=/a,user=ann ; user=ann hits=2  => OVER | OK 4/60s | OVER 0/60s
//
// Descriptors are separated by ";", statuses by "|" after the overall answer.
// A status is OK (no limit), OK max (unlimited), or CODE REMAINING/RESET. A request
// with "20 times " before it is made as often, with the same answer.
type callStep struct {
	line  int
	at    float64
	times int
	calls []refCall
	want  string
}

// parseCalls reads a .calls file.
func parseCalls(text string) ([]callStep, error) {
	var steps []callStep
	at := 0.0
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
			continue
		case strings.HasPrefix(line, "at "):
			t, err := strconv.ParseFloat(line[3:], 64)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
			at = t
			continue
		}
		request, want, ok := strings.Cut(line, "=> ")
		if !ok {
			return nil, fmt.Errorf("line %d: no =>", i+1)
		}
		step := callStep{line: i + 1, at: at, times: 1, want: strings.TrimSpace(want)}
		if times, rest, ok := strings.Cut(request, " times "); ok {
			n, err := strconv.Atoi(times)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
			step.times, request = n, rest
		}
		for _, d := range strings.Split(request, ";") {
			c, err := parseCall(strings.TrimSpace(d))
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
			step.calls = append(step.calls, c)
		}
		steps = append(steps, step)
	}
	return steps, nil
}

func parseCall(text string) (refCall, error) {
	var c refCall
	if entries, hits, ok := strings.Cut(text, " hits="); ok {
		n, err := strconv.ParseUint(hits, 10, 64)
		if err != nil {
			return c, err
		}
		c.hits, text = &n, entries
	}
	for _, e := range strings.Split(text, ",") {
		key, value, ok := strings.Cut(e, "=")
		if !ok {
			return c, fmt.Errorf("entry %q: no =", e)
		}
		c.entries = append(c.entries, refEntry{key, value})
	}
	return c, nil
}

// formatAnswer is the right side of a .calls line.
func formatAnswer(over bool, statuses []refStatus) string {
	code := func(over bool) string {
		if over {
			return "OVER"
		}
		return "OK"
	}
	parts := []string{code(over)}
	for _, s := range statuses {
		switch {
		case s.unlimited:
			parts = append(parts, "OK max")
		case !s.limited:
			parts = append(parts, "OK")
		default:
			parts = append(parts, fmt.Sprintf("%s %d/%ds", code(s.over), s.remaining, s.reset))
		}
	}
	return strings.Join(parts, " | ")
}
