package rest_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/headgate/headgate/api/rest"
)

type document struct {
	Paths      map[string]map[string]operation
	Components struct {
		Schemas map[string]struct {
			Properties           map[string]any
			AdditionalProperties *bool
		}
	}
}

type operation struct {
	Responses  map[string]any
	Parameters []struct{ Name, In string }
}

func openAPI(t *testing.T) document {
	t.Helper()
	var d document
	if err := json.Unmarshal(rest.OpenAPI(), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOpenAPIDescribesEveryRoute(t *testing.T) {
	documented := map[string]bool{}
	for path := range openAPI(t).Paths {
		if fixed, _, ok := strings.Cut(path, "{"); ok {
			documented[fixed] = true
			documented[strings.TrimSuffix(fixed, "/")] = true
		} else {
			documented[path] = true
		}
	}
	for _, route := range rest.Routes() {
		if !documented[route] {
			t.Errorf("%s is served and not documented", route)
		}
		if !rest.Serves(route) {
			t.Errorf("%s is a route and not served", route)
		}
	}
	for path := range documented {
		if !slices.Contains(rest.Routes(), path) {
			t.Errorf("%s is documented and not served", path)
		}
	}
	if a := ask(handler(t), "GET", "/openapi.json", ""); a.status != 200 || a.body != string(rest.OpenAPI()) {
		t.Errorf("/openapi.json: %d", a.status)
	}
}

// TestOpenAPIKnowsEveryField compares the schemas with the Go types behind them.
func TestOpenAPIKnowsEveryField(t *testing.T) {
	schemas := openAPI(t).Components.Schemas
	for name, typ := range rest.Bodies() {
		var want []string
		for i := range typ.NumField() {
			tag, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			want = append(want, tag)
		}
		var got []string
		for property := range schemas[name].Properties {
			got = append(got, property)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: documented %v, served %v", name, got, want)
		}
		if p := schemas[name].AdditionalProperties; p == nil || *p {
			t.Errorf("%s: other properties are not excluded", name)
		}
	}
}

// TestEveryStatusIsDocumented asks for each status that the tests of this package
// know and looks it up.
func TestEveryStatusIsDocumented(t *testing.T) {
	d, h := openAPI(t), handler(t)
	for _, tc := range []struct {
		method, target, body, path string
		status                     string
	}{
		{"POST", "/v1/check", `{"domain": "quiet", "attributes": {"user": "a"}}`, "/v1/check", "200"},
		{"POST", "/v1/check", `{"domain": "quiet", "attributes": {"user": "a"}}`, "/v1/check", "429"},
		{"POST", "/v1/check", `{`, "/v1/check", "400"},
		{"POST", "/v1/check", `{"domain": "x"}`, "/v1/check", "404"},
		{"POST", "/v1/check", strings.Repeat(" ", 2<<20), "/v1/check", "413"},
		{"POST", "/v1/batch", `{"checks": []}`, "/v1/batch", "200"},
		{"POST", "/json", `{"domain": "x", "descriptors": [{"entries": [{"key": "a"}]}]}`, "/json", "404"},
		{"GET", "/v1/forward-auth/x", ``, "/v1/forward-auth/{domain}", "404"},
	} {
		a := ask(h, tc.method, tc.target, tc.body)
		if got := strings.TrimSpace(strings.ToLower(tc.method)); d.Paths[tc.path][got].Responses[tc.status] == nil || tc.status != statusText(a.status) {
			t.Errorf("%s %s: answered %d, documented %v, want %s", tc.method, tc.target, a.status, d.Paths[tc.path][got].Responses, tc.status)
		}
	}
}

func statusText(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}
