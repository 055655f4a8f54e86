package rest_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzCheck: whatever the body, the answer is one of those documented, and what is
// decided was one JSON object.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{
		`{"domain": "shop", "attributes": {"user": "alice"}}`,
		`{"domain": "shop", "attributes": [{"key": "user", "value": 3}], "cost": 2, "explain": true}`,
		`{"domain": "shop", "attributes": {"user": {"a": [1]}}}`, `{"attributes": null}`, `[]`, `{"cost": 1e3}`, `{} {}`, "\xff", `{"domain": "\ud800"}`,
	} {
		f.Add(seed)
	}
	h := handler(f)
	f.Fuzz(func(t *testing.T, body string) {
		a := ask(h, "POST", "/v1/check", body)
		switch a.status {
		case 200, 429, 404:
			var v map[string]json.RawMessage
			if err := json.Unmarshal([]byte(body), &v); err != nil {
				t.Errorf("%d for what is no object: %v", a.status, err)
			}
		case 400, 413, 422:
		default:
			t.Errorf("status %d: %s", a.status, a.body)
		}
		if !json.Valid([]byte(a.body)) {
			t.Errorf("the answer is no JSON: %s", a.body)
		}
	})
}

// FuzzForward: whatever a gateway sends, there is a documented answer and no
// redirect.
func FuzzForward(f *testing.F) {
	f.Add("/shop/limited//a", "1.1.1.1, 2.2.2.2", "user=a,b=%2C", "/x?y")
	f.Add("", "[::1]:80, unknown", "=", "http://h")
	f.Add("/%2f/..", ",,,", "%zz=", "*")
	h := handler(f)
	f.Fuzz(func(t *testing.T, path, xff, descriptor, uri string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path, r.URL.RawPath = "/v1/forward-auth"+path, ""
		if !strings.HasPrefix(path, "/") {
			r.URL.Path = "/v1/forward-auth/" + path
		}
		r.RemoteAddr = "127.0.0.1:1"
		r.Header["X-Forwarded-For"] = []string{xff}
		r.Header["X-Ratelimit-Descriptor"] = []string{descriptor}
		r.Header["X-Forwarded-Uri"] = []string{uri}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		switch w.Code {
		case 200, 429, 400, 404, 422:
		default:
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
	})
}
