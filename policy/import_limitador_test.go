package policy

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var updateLimitador = flag.Bool("update-limitador", false, "write the golden files of imported limits anew")

// limitadorSources lists testdata/limitador/DIR/*.yaml, named DIR/NAME.
func limitadorSources(t *testing.T, dir string) []Source {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata/limitador", dir, "*.yaml"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	var sources []Source
	for _, name := range names {
		sources = append(sources, Source{dir + "/" + filepath.Base(name), []byte(readTestFile(t, name))})
	}
	return sources
}

func TestImportOfLimitadorNamesEveryMistakeAndItsLine(t *testing.T) {
	for _, src := range limitadorSources(t, "bad") {
		t.Run(src.Name, func(t *testing.T) {
			docs, err := ImportLimitador([]Source{src}, LimitadorOptions{Lossy: true})
			if docs != nil {
				t.Errorf("got documents beside problems")
			}
			checkFindings(t, src, err)
		})
	}
}

func TestImportOfLimitadorRefusesLimitsUnlessTheyMayBeLeftOut(t *testing.T) {
	for _, src := range limitadorSources(t, "lossy") {
		t.Run(src.Name, func(t *testing.T) {
			_, err := ImportLimitador([]Source{src}, LimitadorOptions{})
			checkFindings(t, src, err)
			docs, err := ImportLimitador([]Source{src}, LimitadorOptions{Lossy: true})
			if err != nil {
				t.Fatal(err)
			}
			text := string(Marshal(docs[0]))
			if got := strings.Count(text, "# LOST ("); got != len(wantedFindings(t, src.Text)) {
				t.Errorf("%d limits are said to be lost, want %d", got, len(wantedFindings(t, src.Text)))
			}
			if len(docs[0].Rules) != 1 || docs[0].Rules[0].Terms[0].Name != "kept" {
				t.Errorf("got\n%s", text)
			}
		})
	}
}

func TestImportOfLimitadorWritesTheExamplesAsExpected(t *testing.T) {
	for _, src := range limitadorSources(t, "good") {
		t.Run(src.Name, func(t *testing.T) {
			docs, err := ImportLimitador([]Source{src}, LimitadorOptions{Explain: true})
			if err != nil {
				t.Fatal(err)
			}
			var got string
			for _, doc := range docs {
				got += "---\n" + string(Marshal(doc))
			}
			golden := filepath.Join("testdata/limitador", strings.TrimSuffix(src.Name, ".yaml")+".golden")
			if *updateLimitador {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if want := readTestFile(t, golden); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			parsed, problems := Parse([]Source{{Name: golden, Text: []byte(got)}})
			if len(problems) == 0 {
				_, problems = Compile(parsed, Options{})
			}
			if len(problems) > 0 {
				t.Errorf("the result is not a valid policy:\n%v", problems)
			}
		})
	}
}

func TestImportOfLimitadorReadsSeveralFilesAsOne(t *testing.T) {
	one := Source{"1.yaml", []byte("- {namespace: d, max_value: 1, seconds: 1}\n")}
	two := Source{"2.yaml", []byte("- {namespace: e, max_value: 1, seconds: 1}\n- {namespace: d, max_value: 1, seconds: 2}\n")}
	docs, err := ImportLimitador([]Source{one, two}, LimitadorOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(docs) != 2 || docs[0].Domain != "d" || len(docs[0].Rules) != 2 || docs[1].Domain != "e" {
		t.Errorf("got %d documents", len(docs))
	}
	for _, text := range []string{"", "{}", "[]\n---\n[]\n", "a: [", "- &a {namespace: d}\n- *a\n"} {
		if _, err := ImportLimitador([]Source{{"bad.yaml", []byte(text)}}, LimitadorOptions{}); !errors.As(err, new(Problems)) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func FuzzImportLimitador(f *testing.F) {
	addFiles(f, "testdata/limitador/*/*.yaml")
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, o := range []LimitadorOptions{{}, {Lossy: true, Explain: true}} {
			docs, err := ImportLimitador([]Source{{Name: "fuzz", Text: text}}, o)
			if err != nil {
				continue
			}
			for _, doc := range docs {
				isValid(t, doc, text)
			}
		}
	})
}

func FuzzCEL(f *testing.F) {
	for _, text := range []string{`a`, `descriptors[0].a == "x" && !(b in ['c', r"\d"])`, `has(a.b) || f(1, [2])`, `"\u00e4\'"`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseCEL(text)
		var at *celError
		if err != nil && (!errors.As(err, &at) || at.at < 1 || at.at > len(text)+1) {
			t.Fatalf("%q: %v", text, err)
		}
		if err == nil {
			again, err := parseCEL(celText(n))
			if err != nil && (strings.Contains(err.Error(), "deep") || len(celText(n)) > celBytesMax) {
				return // celText writes more parentheses than there were
			}
			if err != nil || celText(again) != celText(n) {
				t.Fatalf("%q: %s: %v", text, celText(n), err)
			}
		}
	})
}

// celText writes n as an expression.
func celText(n *celNode) string {
	var args []string
	for _, a := range n.args {
		args = append(args, celText(a))
	}
	switch n.op {
	case "ident", "number", "bool":
		return n.text
	case "string":
		return celQuote(n.text)
	case "null":
		return "null"
	case "list":
		return "[" + strings.Join(args, ", ") + "]"
	case "select":
		return args[0] + "." + n.text
	case "index":
		return args[0] + "[" + args[1] + "]"
	case "call":
		if n.self {
			return args[0] + "." + n.text + "(" + strings.Join(args[1:], ", ") + ")"
		}
		return n.text + "(" + strings.Join(args, ", ") + ")"
	case "!":
		return "(!" + args[0] + ")"
	default:
		return "(" + args[0] + " " + n.op + " " + args[1] + ")"
	}
}

func celQuote(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < ' ' || c == '"' || c == '\\' {
			fmt.Fprintf(&b, `\x%02x`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return `"` + b.String() + `"`
}
