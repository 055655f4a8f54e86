package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
)

// The model of Limitador: its documented behaviour, as plainly as possible. It
// shares nothing with the importer, and knows expressions as what it draws.

// limCondition is a condition and how Limitador spells it. A key that is missing
// makes the whole condition false, whatever stands around it.
type limCondition interface {
	text() string
	// eval returns whether it holds; ok is false if a key is missing.
	eval(entries map[string]string) (holds, ok bool)
}

type limCompare struct{ op, key, value string }

func (c limCompare) text() string {
	key := fmt.Sprintf("descriptors[0][%q]", c.key)
	switch c.op {
	case "==", "!=":
		return fmt.Sprintf("%s %s %q", key, c.op, c.value)
	case "has":
		return fmt.Sprintf("%q in descriptors[0]", c.key)
	case "in":
		return fmt.Sprintf("%s in [%q, \"y\"]", key, c.value)
	default:
		return fmt.Sprintf("%s.%s(%q)", key, c.op, c.value)
	}
}

func (c limCompare) eval(entries map[string]string) (holds, ok bool) {
	v, there := entries[c.key]
	if c.op == "has" {
		return there, true
	}
	switch c.op {
	case "==":
		holds = v == c.value
	case "!=":
		holds = v != c.value
	case "in":
		holds = v == c.value || v == "y"
	case "startsWith":
		holds = strings.HasPrefix(v, c.value)
	case "endsWith":
		holds = strings.HasSuffix(v, c.value)
	case "contains", "matches": // no value here has a character that means something in an expression
		holds = strings.Contains(v, c.value)
	}
	return holds, there
}

type limNot struct{ of limCondition }

func (c limNot) text() string { return "!(" + c.of.text() + ")" }

func (c limNot) eval(entries map[string]string) (holds, ok bool) {
	holds, ok = c.of.eval(entries)
	return !holds, ok
}

type limBoth struct {
	op          string
	left, right limCondition
}

func (c limBoth) text() string { return "(" + c.left.text() + " " + c.op + " " + c.right.text() + ")" }

func (c limBoth) eval(entries map[string]string) (holds, ok bool) {
	l, okL := c.left.eval(entries)
	r, okR := c.right.eval(entries)
	if c.op == "&&" {
		return l && r, okL && okR
	}
	return l || r, okL && okR
}

// limLimit is a limit of the model.
type limLimit struct {
	max        uint64
	seconds    int
	conditions []limCondition
	variables  []string
}

func (l *limLimit) yaml() string {
	var conditions, variables []string
	for _, c := range l.conditions {
		conditions = append(conditions, "'"+strings.ReplaceAll(c.text(), "'", "''")+"'")
	}
	for _, v := range l.variables {
		variables = append(variables, fmt.Sprintf("'descriptors[0][%q]'", v))
	}
	return fmt.Sprintf("- {namespace: d, max_value: %d, seconds: %d, conditions: [%s], variables: [%s]}\n",
		l.max, l.seconds, strings.Join(conditions, ", "), strings.Join(variables, ", "))
}

func (l *limLimit) applies(entries map[string]string) (counter string, applies bool) {
	for _, c := range l.conditions {
		if holds, ok := c.eval(entries); !ok || !holds {
			return "", false
		}
	}
	for _, v := range slices.Compact(slices.Sorted(slices.Values(l.variables))) {
		value, ok := entries[v]
		if !ok {
			return "", false
		}
		counter += fmt.Sprintf("%q", value)
	}
	return counter, true
}

// drawCondition draws what Limitador accepts; the importer may refuse it.
func drawCondition(t *rapid.T, depth int) limCondition {
	switch kind := rapid.IntRange(0, 9).Draw(t, "condition"); {
	case kind == 0 && depth < 3:
		return limNot{drawCondition(t, depth+1)}
	case kind == 1 && depth < 3:
		return limBoth{rapid.SampledFrom([]string{"&&", "||"}).Draw(t, "op"), drawCondition(t, depth+1), drawCondition(t, depth+1)}
	}
	return limCompare{
		op:    rapid.SampledFrom([]string{"==", "!=", "!=", "has", "in", "startsWith", "endsWith", "contains", "matches"}).Draw(t, "op"),
		key:   rapid.SampledFrom([]string{"a", "a", "b", "c.d"}).Draw(t, "key"),
		value: rapid.SampledFrom([]string{"", "x", "y", "xy", "xyz", "é", "-]", "\n"}).Draw(t, "value"),
	}
}

func drawLimitadorLimit(t *rapid.T) *limLimit {
	l := &limLimit{max: rapid.Uint64Range(0, 4).Draw(t, "max"), seconds: rapid.IntRange(1, 3).Draw(t, "seconds") * 10}
	for range rapid.IntRange(0, 3).Draw(t, "conditions") {
		l.conditions = append(l.conditions, drawCondition(t, 0))
	}
	l.variables = rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c.d"}), 0, 2).Draw(t, "variables")
	return l
}

// importedLimitador is what a server makes of limits.
func importedLimitador(t *rapid.T, text string) (*Snapshot, *table.Table, bool) {
	docs, err := ImportLimitador([]Source{{Name: "limits.yaml", Text: []byte(text)}}, LimitadorOptions{})
	if err != nil {
		return nil, nil, false
	}
	docs, problems := Parse([]Source{{Name: "imported", Text: Marshal(docs[0])}})
	if len(problems) > 0 {
		t.Fatalf("the imported policy is not valid: %v\n%s", problems, text)
	}
	snap, problems := Compile(docs, Options{Hasher: limiter.NewKeyHasher([16]byte{1})})
	if len(problems) > 0 {
		t.Fatalf("compile: %v", problems)
	}
	counters, err := table.New(table.Config{EntriesMax: 1 << 16})
	if err != nil {
		t.Fatalf("%v", err)
	}
	counters.Install(snap.Limits())
	return snap, counters, true
}

// TestImportedLimitsAnswerAsLimitadorDoes compares the imported policy, matched
// and counted as a server does, with the model, for calls that fall into one
// window: where windows begin is a documented difference.
func TestImportedLimitsAnswerAsLimitadorDoes(t *testing.T) {
	imported := 0
	rapid.Check(t, func(t *rapid.T) {
		var kept []*limLimit
		text := ""
		for range rapid.IntRange(1, 6).Draw(t, "limits") {
			l := drawLimitadorLimit(t)
			if _, err := ImportLimitador([]Source{{"limits.yaml", []byte(text + l.yaml())}}, LimitadorOptions{}); err == nil {
				kept, text = append(kept, l), text+l.yaml() // what is refused widens nothing
			}
		}
		if len(kept) == 0 {
			return
		}
		snap, counters, ok := importedLimitador(t, text)
		if !ok {
			t.Fatalf("was accepted, and is not any more:\n%s", text)
		}
		imported++
		used := map[string]uint64{}
		var req Request
		var call limiter.Call
		for range rapid.IntRange(1, 20).Draw(t, "calls") {
			entries := map[string]string{}
			req.Reset()
			call.Reset()
			req.Domain = []byte("d")
			cost := rapid.Uint64Range(1, 3).Draw(t, "hits")
			req.AddDescriptor().Cost = cost
			for _, key := range []string{"a", "b", "c.d"} {
				if rapid.IntRange(0, 3).Draw(t, "there") > 0 {
					entries[key] = rapid.SampledFrom([]string{"", "x", "y", "xy", "xyz", "xyzz", "yx", "é", "è", "-]", "\n", "z\n"}).Draw(t, "value")
					req.AddEntry([]byte(key), []byte(entries[key]))
				}
			}
			want, applied := true, []string{}
			for i, l := range kept {
				counter, applies := l.applies(entries)
				if !applies {
					continue
				}
				counter = fmt.Sprint(i, counter)
				applied = append(applied, counter)
				want = want && used[counter]+cost <= l.max
			}
			for _, counter := range applied {
				if want {
					used[counter] += cost
				}
			}
			snap.Match(&req, &call)
			if got := len(call.Charges()); got != len(applied) {
				t.Fatalf("%d limits apply to %q, want %d:\n%s", got, entries, len(applied), text)
			}
			counters.Decide(limiter.Instant(1_795_392_000*time.Second), &call)
			if verdict, _ := call.Verdict(); (verdict == limiter.Allowed) != want {
				t.Fatalf("%q with %d hits: %v, want allowed %v:\n%s", entries, cost, verdict, want, text)
			}
		}
	})
	if imported == 0 {
		t.Error("nothing was imported")
	}
}
