package config

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
)

// go test ./internal/config -run TestSchemaIsFresh -update writes the file.
func TestSchemaIsFresh(t *testing.T) {
	const file = "../../docs/reference/config.schema.json"
	if *updateFlag {
		if err := os.WriteFile(file, Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, Schema()) {
		t.Errorf("%s is stale: make generate", file)
	}
}

// schemaRefuses says what another party's validator has against a settings file.
func schemaRefuses(tb testing.TB) func(text string) error {
	tb.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		tb.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("config.json", doc); err != nil {
		tb.Fatal(err)
	}
	s, err := c.Compile("config.json")
	if err != nil {
		tb.Fatal(err)
	}
	return func(text string) error {
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			return err
		}
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if v, err = jsonschema.UnmarshalJSON(bytes.NewReader(b)); err != nil {
			return err
		}
		return s.Validate(v)
	}
}

// loads reports whether Load accepts a settings file.
func loads(text string) bool {
	l := newLoader()
	l.file("headgate.yaml", []byte(text))
	return len(l.problems) == 0 && l.config.Validate() == nil
}

func TestTheSchemaAcceptsWhatIsPrinted(t *testing.T) {
	refuses := schemaRefuses(t)
	rapid.Check(t, func(t *rapid.T) {
		c := Default()
		for _, f := range Fields(&c) {
			if rapid.IntRange(0, 3).Draw(t, f.Path) > 0 || f.tag.Get("min") == "" {
				continue
			}
			end := rapid.SampledFrom([]string{"min", "max"}).Draw(t, "end")
			if want := f.Set(f.tag.Get(end)); want != "" {
				t.Fatalf("%s: %s=%s %s", f.Path, end, f.tag.Get(end), want)
			}
		}
		if err := refuses(c.YAML()); err != nil {
			t.Fatalf("%v\n%s", err, c.YAML())
		}
	})
}

// What the reference says is right, an editor must not underline; and what it can
// know to be wrong, it says.
func TestTheSchemaAgreesWithLoad(t *testing.T) {
	refuses := schemaRefuses(t)
	for name, c := range map[string]struct {
		text   string
		refuse bool
	}{
		"sizes and durations":     {"grpc: {message_bytes_max: 2MiB, decide_timeout: 1.5s, behind_max: 0, key_bytes_max: 64}", false},
		"a duration of two parts": {"shutdown: {drain_delay: 0s, timeout: 1m30s}", false},
		"a component left empty":  {"grpc:\nhttp: {addr: ':8080'}", false},
		"lists":                   {"policy: {paths: [a, b], xds: {headers: [a=b]}}\nhttp: {trusted_proxies: 10.0.0.0/8}", false},
		"a version as a number":   {"grpc: {tls: {min_version: 1.3}}", false},
		"a name that is a number": {"policy: {xds: {node_id: 7}}", false},
		"metrics nowhere":         {"metrics: {addr: ''}", false},
		"a misspelt key":          {"grpc: {adr: ':1'}", true},
		"a misspelt component":    {"grcp: {addr: ':1'}", true},
		"a dotted key":            {"grpc.addr: ':1'", true},
		"a wrong word":            {"table: {on_full: drop}", true},
		"too many":                {"grpc: {connections_max: 1000001}", true},
		"too few":                 {"grpc: {connections_max: 0}", true},
		"no number":               {"grpc: {connections_max: many}", true},
		"no size":                 {"table: {bytes_max: 1 gigabyte}", true},
		"too small a size":        {"table: {bytes_max: 12}", true},
		"no duration":             {"shutdown: {timeout: 30}", true},
		"no boolean":              {"grpc: {reflection: maybe}", true},
		"no address":              {"http: {addr: localhost}", true},
		"a list where one is due": {"http: {addr: [a]}", true},
		"a pair without =":        {"policy: {xds: {headers: [a]}}", true},
		"a path without /":        {"metrics: {path: metrics}", true},
		"a header in capitals":    {"rls: {limit_header: X-Limit}", true},
		"no mapping":              {"grpc: 5", true},
	} {
		t.Run(name, func(t *testing.T) {
			if err := refuses(c.text); (err != nil) != c.refuse {
				t.Errorf("the schema says %v", err)
			}
			if loads(c.text) == c.refuse {
				t.Errorf("Load accepts it: %v", !c.refuse)
			}
		})
	}
}
