package admin_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/headgate/headgate/api/admin"
)

func handler() http.Handler {
	return admin.Handler(&admin.Sources{
		Status: func() admin.Status { return admin.Status{State: "serving", Ready: true} },
		Config: func() string { return "grpc:\n" },
		Lines:  func() string { return "shop.user: unit=SECOND\n" },
		Policy: func() admin.Policy { return admin.Policy{Version: 3, Refused: true, Problems: []string{"p"}} },
		Top:    func() admin.Top { return admin.Top{Hot: []admin.TopKey{{Limit: "l", Count: 2}}} },
		Table:  func() admin.Table { return admin.Table{Entries: 5, Domains: map[string]int64{"shop": 5}} },
		Modes:  func() admin.Modes { return admin.Modes{Domains: []admin.DomainMode{{Domain: "shop", Mode: "off"}}} },
		SetMode: func(who admin.Caller, in *admin.ModeChange) (*admin.ModeChanged, error) {
			return &admin.ModeChanged{Domain: in.Domain, From: "enforce", To: in.Mode, Warnings: []string{who.User}}, nil
		},
		Audit: func(n int) ([]admin.AuditRecord, error) { return make([]admin.AuditRecord, n), nil },
	})
}

func get(t *testing.T, method, host, path string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(method, path, http.NoBody)
	r.Host = host
	w := httptest.NewRecorder()
	handler().ServeHTTP(w, r)
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(body)
}

func TestEachPathSaysWhatItsSourceSays(t *testing.T) {
	for path, want := range map[string]string{
		"/v1/status": `"state": "serving"`,
		"/v1/policy": `"problems": [`,
		"/v1/keys":   `"limit": "l"`,
		"/v1/table":  `"shop": 5`,
		"/v1/mode":   `"mode": "off"`,
		"/v1/audit":  `"records": [`,
		"/audit?n=1": `"records": [`,
	} {
		code, body := get(t, "GET", "127.0.0.1:8082", path)
		if code != 200 || !strings.Contains(body, want) || !json.Valid([]byte(body)) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, body := get(t, "GET", "127.0.0.1:8082", "/v1/config"); code != 200 || body != "grpc:\n" {
		t.Errorf("config: %d %s", code, body)
	}
	if code, body := get(t, "GET", "127.0.0.1:8082", "/rlconfig"); code != 200 || body != "shop.user: unit=SECOND\n" {
		t.Errorf("rlconfig: %d %s", code, body)
	}
	if code, body := get(t, "GET", "127.0.0.1:8082", "/debug/pprof/"); code != 200 || !strings.Contains(body, "goroutine") {
		t.Errorf("pprof: %d %s", code, body)
	}
}

func TestOnlyLoopbackHostsAreAnswered(t *testing.T) {
	for host, want := range map[string]int{
		"127.0.0.1:8082": 200, "localhost:8082": 200, "localhost": 200, "[::1]:8082": 200, "[::1]": 200, "127.0.0.9": 200,
		"evil.example": 403, "evil.example:8082": 403, "10.0.0.1:8082": 403, "": 403, "localhost.evil.example": 403,
	} {
		if code, _ := get(t, "GET", host, "/v1/status"); code != want {
			t.Errorf("Host %q: %d, want %d", host, code, want)
		}
	}
}

func TestNothingCanBeChanged(t *testing.T) {
	for _, path := range []string{"/v1/status", "/v1/policy", "/v1/config"} {
		if code, _ := get(t, "POST", "localhost", path); code != 405 {
			t.Errorf("POST %s: %d, want 405", path, code)
		}
	}
	if code, _ := get(t, "GET", "localhost", "/v1/none"); code != 404 {
		t.Errorf("unknown path: %d, want 404", code)
	}
}

func TestTheModeIsChangedByPost(t *testing.T) {
	r := httptest.NewRequest("POST", "/v1/mode", strings.NewReader(`{"domain": "shop", "mode": "shadow"}`))
	r.Host = "127.0.0.1:8082"
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(admin.UserHeader, "ann")
	w := httptest.NewRecorder()
	handler().ServeHTTP(w, r)
	var got admin.ModeChanged
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || got.To != "shadow" || got.Domain != "shop" || got.Warnings[0] != "ann" {
		t.Errorf("%d %+v %v", w.Code, got, err)
	}
}

func TestAnAuditIsBounded(t *testing.T) {
	for query, want := range map[string]int{"?n=0": 400, "?n=10001": 400, "?n=x": 400, "?n=10000": 200, "": 200} {
		if code, body := get(t, "GET", "localhost", "/v1/audit"+query); code != want {
			t.Errorf("%s: %d %s", query, code, body)
		}
	}
}
