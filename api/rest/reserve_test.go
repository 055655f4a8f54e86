package rest_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// same compares a body with JSON text.
func same(t *testing.T, what string, got any, want string) {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(want), &v); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, v) {
		b, _ := json.Marshal(got)
		t.Errorf("%s: %s, want %s", what, b, want)
	}
}

const reserveBody = `{"domain": "llm", "attributes": {"team": "a"}, "id": "call 1", "costs": {"tokens": 3000}}`

func TestACallIsReservedAndSettled(t *testing.T) {
	h := handler(t)
	a := ask(h, "POST", "/v1/reserve", reserveBody)
	if a.status != 200 || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	got := a.json(t)
	same(t, "reserved", got["reserved"], `[{"name": "requests", "units": 1}, {"name": "tokens", "unit": "tokens", "units": 3000}, {"name": "running", "units": 1}]`)
	same(t, "lifetime", got["lifetime_seconds"], `300`)
	if d, _ := got["decision"].(map[string]any); d["verdict"] != "allowed" || d["remaining"] != 1.0 {
		t.Errorf("decision %v", d)
	}
	if again := ask(h, "POST", "/v1/reserve", reserveBody); again.body != a.body {
		t.Errorf("again: %s, want %s", again.body, a.body)
	}
	a = ask(h, "POST", "/v1/extend", `{"domain": "llm", "id": "call 1", "lifetime_seconds": 599.5}`)
	same(t, "extended", a.json(t), `{"lifetime_seconds": 599.5}`)
	const end = `{"domain": "llm", "id": "call 1", "costs": {"tokens": 1200}}`
	for range 2 {
		a = ask(h, "POST", "/v1/settle", end)
		same(t, "settled", a.json(t), `{"limits": [{"name": "requests", "reserved": 1, "cost": 1},
			{"name": "tokens", "unit": "tokens", "reserved": 3000, "cost": 1200, "returned": 1800},
			{"name": "running", "reserved": 1, "cost": 1}]}`)
	}
	a = ask(h, "POST", "/v1/check", `{"domain": "llm", "attributes": {"team": "a"}, "costs": {"tokens": 8801}}`)
	if got := a.json(t); a.status != 429 || !strings.Contains(a.body, `"violated-policies":["tokens"]`) {
		t.Errorf("more than is left: %d %v", a.status, got)
	}
	if a = ask(h, "POST", "/v1/check", `{"domain": "llm", "attributes": {"team": "a"}, "costs": {"tokens": 8800}}`); a.status != 200 {
		t.Errorf("what is left: %d %s", a.status, a.body)
	}
}

func TestAnEstimateIsClampedAndACancelledCallCostsNothing(t *testing.T) {
	h := handler(t)
	a := ask(h, "POST", "/v1/reserve", strings.Replace(reserveBody, "3000", "99999", 1))
	same(t, "reserved", a.json(t)["reserved"], `[{"name": "requests", "units": 1}, {"name": "tokens", "unit": "tokens", "units": 4000}, {"name": "running", "units": 1}]`)
	a = ask(h, "POST", "/v1/cancel", `{"domain": "llm", "id": "call 1"}`)
	same(t, "cancelled", a.json(t), `{"limits": [{"name": "requests", "reserved": 1, "cost": 0, "returned": 1},
		{"name": "tokens", "unit": "tokens", "reserved": 4000, "cost": 0, "returned": 4000}, {"name": "running", "reserved": 1, "cost": 1}]}`)
	a = ask(h, "POST", "/v1/settle", `{"domain": "llm", "id": "call 1", "cost": 0}`)
	if a.status != 200 {
		t.Errorf("a cancelled call that is settled with 0: %d %s", a.status, a.body)
	}
}

// TestAMisspeltUnitIsRefusedAndLosesNothing: it would have charged the estimate for good.
func TestAMisspeltUnitIsRefusedAndLosesNothing(t *testing.T) {
	h := handler(t)
	ask(h, "POST", "/v1/reserve", reserveBody)
	for _, body := range []string{
		`{"domain": "llm", "id": "call 1", "costs": {"token": 1200}}`,
		`{"domain": "llm", "id": "call 1", "cost": 1, "costs": {"token": 1200}}`,
	} {
		const want = `costs[0].unit: "token": must be a unit of the reservation, which has "tokens"`
		a := ask(h, "POST", "/v1/settle", body)
		if detail, _ := a.json(t)["detail"].(string); a.status != 400 || !strings.HasPrefix(detail, want) {
			t.Errorf("%s: %d %s, want 400 and %s", body, a.status, a.body, want)
		}
	}
	a := ask(h, "POST", "/v1/settle", `{"domain": "llm", "id": "call 1", "costs": {"tokens": 1200}}`)
	if !strings.Contains(a.body, `"returned":1800`) {
		t.Errorf("the right unit after that: %d %s", a.status, a.body)
	}
}

// TestAUnitThatNobodyCountsIsNoMistake where no limit's unit is missing, or the reservation named it, too.
func TestAUnitThatNobodyCountsIsNoMistake(t *testing.T) {
	for _, tt := range []struct{ name, reserve, settle string }{
		{"beside the limit's", `"costs": {"tokens": 9}`, `"costs": {"tokens": 9, "images": 2}`},
		{"as in the reservation", `"costs": {"tokens": 9, "images": 1}`, `"costs": {"images": 2}`},
		{"as in one that named only it", `"costs": {"images": 1}`, `"costs": {"images": 2}`},
		{"where no limit counts anything", `"attributes": {}, "costs": {"tokens": 9}`, `"costs": {"images": 2}`},
	} {
		h := handler(t)
		reserve := `{"domain": "llm", "id": "1", ` + tt.reserve + `}`
		if !strings.Contains(reserve, "attributes") {
			reserve = `{"domain": "llm", "id": "1", "attributes": {"team": "a"}, ` + tt.reserve + `}`
		}
		if a := ask(h, "POST", "/v1/reserve", reserve); a.status != 200 {
			t.Fatalf("%s: reserved: %d %s", tt.name, a.status, a.body)
		}
		if a := ask(h, "POST", "/v1/settle", `{"domain": "llm", "id": "1", `+tt.settle+`}`); a.status != 200 {
			t.Errorf("%s: %d %s", tt.name, a.status, a.body)
		}
	}
}

func TestADeniedReservationIsAProblemWithItsDecision(t *testing.T) {
	h := handler(t)
	for _, id := range []string{"1", "2"} {
		if a := ask(h, "POST", "/v1/reserve", strings.Replace(reserveBody, "call 1", id, 1)); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	a := ask(h, "POST", "/v1/reserve", strings.Replace(reserveBody, "call 1", "3", 1))
	d, _ := a.json(t)["decision"].(map[string]any)
	if a.status != 429 || d["denied_by"] != "running" || d["retry_after_seconds"] != 300.0 || a.header.Get("Retry-After") != "300" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := ask(h, "POST", "/v1/settle", `{"domain": "llm", "id": "3"}`); a.status != 404 {
		t.Errorf("settled: %d %s", a.status, a.body)
	}
}

func TestWhatIsWrongWithAReservationIsNamed(t *testing.T) {
	h := handler(t)
	ask(h, "POST", "/v1/reserve", reserveBody)
	ask(h, "POST", "/v1/reserve", strings.Replace(reserveBody, "call 1", "ended", 1))
	ask(h, "POST", "/v1/cancel", `{"domain": "llm", "id": "ended"}`)
	long := strings.Repeat("x", 257)
	for _, tt := range []struct {
		name, path, body string
		status           int
		detail           string
	}{
		{"another team", "/v1/reserve", strings.Replace(reserveBody, `"a"`, `"b"`, 1), 409, `id: "call 1": the reservation was made for something else`},
		{"another estimate", "/v1/reserve", strings.Replace(reserveBody, "3000", "3001", 1), 409, "made for something else"},
		{"no id", "/v1/reserve", `{"domain": "llm"}`, 400, "id: must not be empty"},
		{"a long id", "/v1/reserve", `{"domain": "llm", "id": "` + long + `"}`, 400, "id: 257 bytes: at most 256 bytes"},
		{"an unknown domain", "/v1/reserve", `{"domain": "x", "id": "1"}`, 404, "domain"},
		{"longer than slots live", "/v1/reserve", strings.Replace(reserveBody, `"cost`, `"lifetime_seconds": 601, "cost`, 1), 400, "lifetime: 10m1s: at most 10m0s"},
		{"a lifetime of nothing", "/v1/reserve", strings.Replace(reserveBody, `"cost`, `"lifetime_seconds": 0, "cost`, 1), 400, "lifetime_seconds: must be in [1e-9"},
		{"a domain that is no text", "/v1/settle", `{"domain": 3}`, 400, "body: domain: must be a text, not a number"},
		{"a key that is no text", "/v1/reserve", `{"attributes": [{"key": 3}]}`, 400, "body: attributes: key: must be a text, not a number"},
		{"an attribute that is no pair", "/v1/reserve", `{"attributes": [3]}`, 400, "body: attributes: must be an object, not a number"},
		{"a cost that is no number", "/v1/settle", `{"costs": {"cents": 1, "tokens": true}}`, 400, `body: costs: "tokens": "true": must be a whole number from 0 to 36028797018963968`},
		{"an unknown field", "/v1/reserve", `{"domain": "llm", "peek": true}`, 400, "peek"},
		{"a lifetime that is no number", "/v1/reserve", strings.Replace(reserveBody, `"cost`, `"lifetime_seconds": "9", "cost`, 1), 400, "lifetime_seconds: must be in [1e-9"},
		{"a lifetime of more than a day", "/v1/extend", `{"domain": "llm", "id": "call 1", "lifetime_seconds": 86400.1}`, 400, "lifetime_seconds: must be in [1e-9, 86400]"},
		{"extended for too long", "/v1/extend", `{"domain": "llm", "id": "call 1", "lifetime_seconds": 601}`, 400, "lifetime: 10m1s: at most 10m0s"},
		{"extended for no time", "/v1/extend", `{"domain": "llm", "id": "call 1"}`, 400, "lifetime: must be a duration above 0"},
		{"extended when it has ended", "/v1/extend", `{"domain": "llm", "id": "ended", "lifetime_seconds": 1}`, 409, "the reservation has ended"},
		{"extended, not there", "/v1/extend", `{"domain": "llm", "id": "?", "lifetime_seconds": 1}`, 404, "no reservation of this domain has it"},
		{"settled, not there", "/v1/settle", `{"domain": "llm", "id": "?"}`, 404, "no reservation of this domain has it"},
		{"settled in another domain", "/v1/settle", `{"domain": "shop", "id": "call 1"}`, 404, "no reservation of this domain has it"},
		{"settled with another cost", "/v1/settle", `{"domain": "llm", "id": "ended", "cost": 1}`, 409, "ended with another cost"},
		{"a cost beyond the bound", "/v1/settle", `{"domain": "llm", "id": "call 1", "cost": 36028797018963969}`, 400, "cost: 36028797018963969: at most 36028797018963968"},
		{"a cost in a nameless unit", "/v1/settle", `{"domain": "llm", "id": "call 1", "costs": {"": 1}}`, 400, "costs[0].unit: must not be empty"},
		{"no domain", "/v1/cancel", `{"id": "call 1"}`, 400, "domain: must not be empty"},
		{"a long domain", "/v1/cancel", `{"domain": "` + long + `", "id": "call 1"}`, 400, "domain: 257 bytes: at most 256 bytes"},
	} {
		a := ask(h, "POST", tt.path, tt.body)
		if detail, _ := a.json(t)["detail"].(string); a.status != tt.status || !strings.Contains(detail, tt.detail) {
			t.Errorf("%s: %d %s, want %d and %q", tt.name, a.status, a.body, tt.status, tt.detail)
		}
		if openAPI(t).Paths[tt.path]["post"].Responses[statusText(a.status)] == nil {
			t.Errorf("%s: status %d is not documented", tt.name, a.status)
		}
	}
	for _, id := range []string{"3", "4"} { // there is room for three
		a := ask(h, "POST", "/v1/reserve", strings.Replace(strings.Replace(reserveBody, "call 1", id, 1), `"a"`, `"c"`, 1))
		if want := map[string]int{"3": 200, "4": 429}[id]; a.status != want || want == 429 && a.header.Get("X-Headgate-Degraded") != "reservations_full" {
			t.Errorf("reservation %s: %d %s", id, a.status, a.body)
		}
	}
}
