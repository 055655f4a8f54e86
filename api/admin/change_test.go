package admin

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

type order struct {
	Count int `json:"count"`
}

// changed is what the last request changed.
type changed struct {
	who Caller
	in  order
	n   int
}

func (c *changed) do(who Caller, in *order) (any, error) {
	switch in.Count {
	case 404:
		return nil, refuse(http.StatusNotFound, "there is no %q", "x")
	case 500:
		return nil, errors.New("the disk is full")
	}
	c.who, c.in = who, *in
	c.n++
	return map[string]int{"count": in.Count}, nil
}

func TestOnlyWhatWasMeantAsAChangeIsTaken(t *testing.T) {
	json := http.Header{"Content-Type": {"application/json"}}
	with := func(pairs ...string) http.Header {
		h := json.Clone()
		for i := 0; i < len(pairs); i += 2 {
			h.Add(pairs[i], pairs[i+1])
		}
		return h
	}
	const body = `{"count": 3}`
	for name, c := range map[string]struct {
		method, host string
		header       http.Header
		body         string
		status       int
	}{
		"a command's request":               {"POST", "127.0.0.1:8082", json, body, 200},
		"a charset does not matter":         {"POST", "localhost:8082", http.Header{"Content-Type": {"application/json; charset=utf-8"}}, body, 200},
		"a page of our own origin":          {"POST", "localhost:8082", with("Origin", "http://localhost:8082", "Sec-Fetch-Site", "same-origin"), body, 200},
		"GET":                               {"GET", "localhost:8082", json, body, 405},
		"PUT":                               {"PUT", "localhost:8082", json, body, 405},
		"a browser's question beforehand":   {"OPTIONS", "localhost:8082", with("Origin", "http://evil.example", "Access-Control-Request-Method", "POST"), "", 405},
		"a form":                            {"POST", "localhost:8082", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, body, 415},
		"text, which pages may send":        {"POST", "localhost:8082", http.Header{"Content-Type": {"text/plain"}}, body, 415},
		"no type":                           {"POST", "localhost:8082", nil, body, 415},
		"another origin":                    {"POST", "localhost:8082", with("Origin", "http://evil.example"), body, 403},
		"another port of this machine":      {"POST", "localhost:8082", with("Origin", "http://localhost:3000"), body, 403},
		"an opaque origin":                  {"POST", "localhost:8082", with("Origin", "null"), body, 403},
		"another site, by the browser":      {"POST", "localhost:8082", with("Sec-Fetch-Site", "cross-site"), body, 403},
		"same site but not origin":          {"POST", "localhost:8082", with("Sec-Fetch-Site", "same-site"), body, 403},
		"a rebound name":                    {"POST", "evil.example:8082", json, body, 403},
		"a rebound name as its own origin":  {"POST", "evil.example:8082", with("Origin", "http://evil.example:8082", "Sec-Fetch-Site", "same-origin"), body, 403},
		"a misspelt member":                 {"POST", "localhost", json, `{"cuont": 3}`, 400},
		"two objects":                       {"POST", "localhost", json, body + body, 400},
		"not JSON":                          {"POST", "localhost", json, `count=3`, 400},
		"nothing":                           {"POST", "localhost", json, ``, 400},
		"too much":                          {"POST", "localhost", json, `{"count": 3` + strings.Repeat(" ", BodyBytesMax) + `}`, 413},
		"two users":                         {"POST", "localhost", with(UserHeader, "ann", UserHeader, "bob"), body, 400},
		"a user with a line break":          {"POST", "localhost", with(UserHeader, "ann\nroot"), body, 400},
		"a user that is too long":           {"POST", "localhost", with(UserHeader, strings.Repeat("a", UserBytesMax+1)), body, 400},
		"what the change itself refuses":    {"POST", "localhost", json, `{"count": 404}`, 404},
		"what goes wrong with the change":   {"POST", "localhost", json, `{"count": 500}`, 500},
		"a type that is none":               {"POST", "localhost", http.Header{"Content-Type": {";;"}}, body, 415},
		"a type twice, the second is right": {"POST", "localhost", http.Header{"Content-Type": {"text/plain", "application/json"}}, body, 415},
	} {
		t.Run(name, func(t *testing.T) {
			var c2 changed
			mux := http.NewServeMux()
			mux.Handle("/v1/change", change(false, c2.do))
			r := httptest.NewRequest(c.method, "/v1/change", strings.NewReader(c.body))
			r.Host = c.host
			r.Header = c.header.Clone()
			if r.Header == nil {
				r.Header = http.Header{}
			}
			w := httptest.NewRecorder()
			onlyLoopbackHosts(mux).ServeHTTP(w, r)
			answer, _ := io.ReadAll(w.Result().Body)
			if w.Code != c.status || (c2.n > 0) != (c.status == 200) {
				t.Errorf("status %d, %d changes; want %d: %s", w.Code, c2.n, c.status, answer)
			}
			for h := range w.Header() {
				if strings.HasPrefix(h, "Access-Control-") {
					t.Errorf("answers with %s", h)
				}
			}
		})
	}
}

func TestAChangeKnowsWhoAsks(t *testing.T) {
	var c changed
	r := httptest.NewRequest("POST", "/", strings.NewReader(`{"count": 7}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(UserHeader, "ann")
	r.RemoteAddr = "127.0.0.1:4711"
	w := httptest.NewRecorder()
	change(false, c.do)(w, r)
	if want := (changed{Caller{"127.0.0.1:4711", "ann"}, order{7}, 1}); c != want {
		t.Errorf("%+v, want %+v", c, want)
	}
	if got := w.Body.String(); got != "{\n  \"count\": 7\n}\n" {
		t.Errorf("answers %q", got)
	}
}

func TestNothingIsChangedWhereItIsReadOnly(t *testing.T) {
	var c changed
	r := httptest.NewRequest("POST", "/", strings.NewReader(`{"count": 7}`))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	change(true, c.do)(w, r)
	if w.Code != 403 || c.n != 0 || !strings.Contains(w.Body.String(), "admin.read_only") {
		t.Errorf("%d, %d changes: %s", w.Code, c.n, w.Body)
	}
}
