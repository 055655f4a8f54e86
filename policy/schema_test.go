package policy

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

const schemaFile = "../docs/reference/policy.schema.json"

func TestSchemaIsFresh(t *testing.T) {
	got := Schema()
	if *updateGolden {
		if err := os.WriteFile(schemaFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is stale: make generate", schemaFile)
	}
}

// compileSchema returns a schema as an editor would have it.
func compileSchema(t *testing.T, text []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("policy.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("policy.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// yamlValues returns the documents of a YAML text as JSON would have them.
func yamlValues(t *testing.T, text []byte) []any {
	t.Helper()
	var values []any
	for _, c := range chunks(text) {
		if c.isBlank() {
			continue
		}
		var v any
		if err := yaml.Unmarshal(c.text, &v); err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if v, err = jsonschema.UnmarshalJSON(bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	return values
}

// TestSchemaAcceptsWhatParseAccepts validates every good file, and the imports
// of Envoy's, with another party's validator.
func TestSchemaAcceptsWhatParseAccepts(t *testing.T) {
	s := compileSchema(t, Schema())
	var names []string
	for _, pattern := range []string{"testdata/policies/working_*.yaml", "../deploy/examples/*.yaml", "testdata/envoy/good/*.golden"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatal(pattern, err)
		}
		names = append(names, found...)
	}
	documents := 0
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, problems := Parse([]Source{{name, text}}); len(problems) > 0 {
			continue // not a policy
		}
		for _, v := range yamlValues(t, text) {
			documents++
			if err := s.Validate(v); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if documents < 20 {
		t.Errorf("only %d documents", documents)
	}
}

// TestSchemaRefuses has one mistake for each place that a key, a word or a type
// can be wrong in.
func TestSchemaRefuses(t *testing.T) {
	s := compileSchema(t, Schema())
	for name, text := range map[string]string{
		"a misspelt key of the document": "domian: shop",
		"a missing domain":               "limits: []",
		"a misspelt key of a rule":       "domain: a\nlimits: [{by: [user], rate: 5/s, brust: 3}]",
		"a misspelt key of a limit":      "domain: a\nlimits: [{by: [user], limits: [{rate: 5/s, brust: 3}]}]",
		"a misspelt matcher":             "domain: a\nlimits: [{when: {path: {perfix: /a}}, rate: 5/s}]",
		"two matchers in one":            "domain: a\nlimits: [{when: {path: {prefix: /a, glob: '*'}}, rate: 5/s}]",
		"a misspelt key of an entry":     "domain: a\nlimits: [{descriptor: [{key: a, vlaue: b}], rate: 5/s}]",
		"an entry without a key":         "domain: a\nlimits: [{descriptor: [{value: b}], rate: 5/s}]",
		"a misspelt key of an override":  "domain: a\nlimits: [{by: [user], rate: 5/s, overrides: [{values: x, amonut: 3}]}]",
		"a misspelt key of an amount":    "domain: a\nlimits: [{by: [user], rate: {amount: 5, evrey: s}}]",
		"an unknown word":                "domain: a\ncharge: some",
		"a text for a flag":              "domain: a\ncount_denied: sometimes",
		"an amount without a span":       "domain: a\nlimits: [{by: [user], rate: fast}]",
		"a mapping for a list":           "domain: a\nlimits: [{by: {user: 1}, rate: 5/s}]",
		"an empty list":                  "domain: a\nlimits: [{by: [], rate: 5/s}]",
		"a burst of zero":                "domain: a\nlimits: [{by: [user], rate: 5/s, burst: 0}]",
	} {
		for _, v := range yamlValues(t, []byte(text)) {
			if s.Validate(v) == nil {
				t.Errorf("%s is accepted", name)
			}
		}
		if _, problems := Parse([]Source{{"a.yaml", []byte(text)}}); len(problems) == 0 {
			t.Errorf("%s: Parse accepts it", name)
		}
	}
}

// TestEveryKeyIsExplained finds a key that was added without what editors show.
func TestEveryKeyIsExplained(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	n := 0
	var visit func(at string, v any)
	visit = func(at string, v any) {
		object, ok := v.(map[string]any)
		if !ok {
			return
		}
		if ps, ok := object["properties"].(map[string]any); ok {
			for name, p := range ps {
				n++
				form, _ := p.(map[string]any)
				doc, _ := form["description"].(string)
				if !strings.HasSuffix(doc, ".") || len(form) < 2 {
					t.Errorf("%s.%s: description %q, form %v", at, name, doc, form)
				}
			}
		}
		for key, sub := range object {
			visit(at+"/"+key, sub)
		}
	}
	visit("", root)
	g := newGrammar()
	if known := len(slices.Concat(g.document.names(), g.ruleNames, g.termNames, g.entry.names(), g.matcher.names(), g.amount.names(), g.override.names(), g.gubernator.names())); n != known {
		t.Errorf("%d keys in the schema, %d in the grammar", n, known)
	}
}

// TestKeysAreListedOnce finds a parser that lists keys by itself: the schema
// would not know them.
func TestKeysAreListedOnce(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, "import_") || strings.HasSuffix(name, "_test.go") {
			continue // other systems' files
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if strings.Contains(line, ".mapping(") && strings.Contains(line, "[]string{") {
				t.Errorf("%s:%d: a mapping's keys belong in the grammar: %s", name, i+1, strings.TrimSpace(line))
			}
		}
	}
}
