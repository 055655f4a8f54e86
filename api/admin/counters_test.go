package admin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
)

// asks answers with what it was asked.
type asks struct {
	query  *CountersQuery
	sel    *CounterSelection
	reset  *CounterReset
	quotas *QuotasQuery
	who    Caller
}

func (a *asks) handler() http.Handler {
	return Handler(&Sources{
		Quotas:   func(q *QuotasQuery) (*Quotas, error) { a.quotas = q; return &Quotas{}, nil },
		Quota:    func(s *CounterSelection) (*Quotas, error) { a.sel = s; return &Quotas{}, nil },
		Counters: func(q *CountersQuery) (*Counters, error) { a.query = q; return &Counters{}, nil },
		Counter:  func(s *CounterSelection) (*Counters, error) { a.sel = s; return &Counters{}, nil },
		ResetCounters: func(who Caller, r *CounterReset) (*CountersReset, error) {
			a.reset, a.who = r, who
			return &CountersReset{Reset: 3}, nil
		},
	})
}

func (a *asks) do(method, path, body string) (int, string) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "localhost"
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	a.handler().ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestCountersAreAskedForWithinBounds(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for name, c := range map[string]struct {
		query string
		want  *CountersQuery
		says  string
	}{
		"nothing":              {"", &CountersQuery{N: 100}, ""},
		"all":                  {"?domain=shop&limit=l%20m&n=1000&cursor=AQ", &CountersQuery{"shop", "l m", 1000, "AQ"}, ""},
		"too many":             {"?n=1001", nil, `n: "1001": must be 1 to 1000`},
		"none":                 {"?n=0", nil, "must be 1 to 1000"},
		"no number":            {"?n=x", nil, "must be 1 to 1000"},
		"a misspelt parameter": {"?limti=x", nil, `"limti" is no parameter`},
		"twice":                {"?limit=x&limit=y", nil, "limit: given 2 times"},
		"an attribute":         {"?attribute=a%3Db", nil, `"attribute" is no parameter`},
		"a long domain":        {"?domain=" + long, nil, "domain: 5000 bytes: at most 256"},
		"a long limit":         {"?limit=" + long, nil, "limit: 5000 bytes: at most 4096"},
		"a long cursor":        {"?cursor=" + long, nil, "cursor: 5000 bytes: at most 256"},
	} {
		var a asks
		code, body := a.do("GET", "/v1/counters"+c.query, "")
		if (code == 200) != (c.says == "") || !strings.Contains(body, c.says) || !reflect.DeepEqual(a.query, c.want) || code != 200 && code != 400 {
			t.Errorf("%s: %d %s %+v", name, code, body, a.query)
		}
	}
}

func TestQuotasAreAskedForWithinBounds(t *testing.T) {
	for name, c := range map[string]struct {
		path string
		want *QuotasQuery
		says string
	}{
		"nothing":         {"s", &QuotasQuery{CountersQuery{N: 100}, ""}, ""},
		"all":             {"s?domain=shop&limit=l&n=1000&cursor=AQ&key=00ff00ff00ff00ff", &QuotasQuery{CountersQuery{"shop", "l", 1000, "AQ"}, "00ff00ff00ff00ff"}, ""},
		"too many":        {"s?n=1001", nil, "n: "},
		"a short key":     {"s?key=00ff", nil, `key: "00ff": must be a fingerprint`},
		"an attribute":    {"s?attribute=a%3Db", nil, `"attribute" is no parameter`},
		"one by its key":  {"?key=00ff00ff00ff00ff", nil, "a fingerprint is looked for with /v1/quotas"},
		"one by no means": {"", nil, "give a key, or a domain and attributes"},
	} {
		var a asks
		code, body := a.do("GET", "/v1/quota"+c.path, "")
		if (code == 200) != (c.says == "") || !strings.Contains(body, c.says) || !reflect.DeepEqual(a.quotas, c.want) || code != 200 && code != 400 {
			t.Errorf("%s: %d %s %+v", name, code, body, a.quotas)
		}
	}
	var a asks
	if code, _ := a.do("GET", "/v1/quota?domain=shop&attribute=b%3D1", ""); code != 200 || a.sel == nil || a.sel.Attributes[0] != (Attribute{"b", "1"}) {
		t.Errorf("%d %+v", code, a.sel)
	}
}

func TestAnAdjustmentIsOfAttributes(t *testing.T) {
	for body, says := range map[string]string{
		`{"key": "00ff00ff00ff00ff", "by": 1, "reason": "r"}`: "key: give a domain and attributes",
		`{"by": 1, "reason": "r"}`:                            "give a key, or a domain",
		`{"domain": "shop", "by": "1"}`:                       "the body is not what this route takes: by: must be a whole number from -9223372036854775808 to 9223372036854775807, not a text",
		`{"domain": 3}`:                                       "the body is not what this route takes: domain: must be a text, not a number",
	} {
		var a asks
		if code, text := a.do("POST", "/v1/quotas/adjust", body); code != 400 || !strings.Contains(text, says) {
			t.Errorf("%s: %d %s", body, code, text)
		}
	}
}

func TestACounterIsChosenByKeyOrByAttributes(t *testing.T) {
	many := strings.Repeat("&attribute=a%3Db", AttributesMax)
	for name, c := range map[string]struct {
		query string
		want  *CounterSelection
		says  string
	}{
		"a key":               {"?key=00ff00ff00ff00ff", &CounterSelection{Key: "00ff00ff00ff00ff"}, ""},
		"attributes in order": {"?domain=shop&limit=l&attribute=b%3D1&attribute=a%3D%3D", &CounterSelection{Domain: "shop", Limit: "l", Attributes: []Attribute{{"b", "1"}, {"a", "="}}}, ""},
		"a domain alone":      {"?domain=shop", &CounterSelection{Domain: "shop"}, ""},
		"nothing":             {"", nil, "give a key, or a domain"},
		"both":                {"?key=00ff00ff00ff00ff&domain=shop", nil, "key: names a counter already"},
		"a short key":         {"?key=00ff", nil, `key: "00ff": must be a fingerprint`},
		"no key":              {"?key=00ff00ff00ff00fg", nil, "must be a fingerprint"},
		"no pair":             {"?domain=shop&attribute=a", nil, `attribute: "a": must be KEY=VALUE`},
		"an empty attribute":  {"?domain=shop&attribute=%3Db", nil, "attributes[0].key: must not be empty"},
		"a long key":          {"?domain=shop&attribute=" + strings.Repeat("k", 257) + "%3Db", nil, "attributes[0].key: 257 bytes: at most 256"},
		"a long value":        {"?domain=shop&attribute=b%3D" + strings.Repeat("k", 4097), nil, "attributes[0].value: 4097 bytes: at most 4096"},
		"too many":            {"?domain=shop&attribute=a%3Db" + many, nil, "attributes: 257: at most 256"},
	} {
		var a asks
		code, body := a.do("GET", "/v1/counter"+c.query, "")
		if (code == 200) != (c.says == "") || !strings.Contains(body, c.says) || !reflect.DeepEqual(a.sel, c.want) || code != 200 && code != 400 {
			t.Errorf("%s: %d %s %+v", name, code, body, a.sel)
		}
	}
}

func TestResetsAreCheckedAndGuarded(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want *CounterReset
		says string
	}{
		"a key":              {`{"key": "00ff00ff00ff00ff", "reason": "r"}`, &CounterReset{CounterSelection{Key: "00ff00ff00ff00ff"}, false, "r"}, ""},
		"attributes":         {`{"domain": "d", "attributes": [{"key": "a", "value": "b"}]}`, &CounterReset{CounterSelection{Domain: "d", Attributes: []Attribute{{"a", "b"}}}, false, ""}, ""},
		"all of a limit":     {`{"domain": "d", "limit": "l", "all": true}`, &CounterReset{CounterSelection{Domain: "d", Limit: "l"}, true, ""}, ""},
		"all of a domain":    {`{"domain": "d", "all": true}`, nil, "all: is about every counter of one limit"},
		"all of one":         {`{"domain": "d", "limit": "l", "all": true, "attributes": [{"key": "a", "value": "b"}]}`, nil, "all: is about"},
		"all of a key":       {`{"key": "00ff00ff00ff00ff", "all": true}`, nil, "all: is about"},
		"a misspelt member":  {`{"domain": "d", "limti": "l"}`, nil, "limti"},
		"nothing":            {`{}`, nil, "give a key, or a domain"},
		"an attribute's key": {`{"domain": "d", "attributes": [{"value": "b"}]}`, nil, "attributes[0].key"},
	} {
		var a asks
		code, body := a.do("POST", "/v1/counters/reset", c.body)
		if (code == 200) != (c.says == "") || !strings.Contains(body, c.says) || !reflect.DeepEqual(a.reset, c.want) || code != 200 && code != 400 {
			t.Errorf("%s: %d %s %+v", name, code, body, a.reset)
		}
		var out CountersReset
		if code == 200 && (json.Unmarshal([]byte(body), &out) != nil || out.Reset != 3 || a.who.Remote == "") {
			t.Errorf("%s: %s", name, body)
		}
	}
	var a asks
	if code, _ := a.do("GET", "/v1/counters/reset", ""); code != 405 || a.reset != nil {
		t.Errorf("GET resets: %d", code)
	}
}

func FuzzCounterQuery(f *testing.F) {
	for _, seed := range []string{"", "key=00ff00ff00ff00ff", "domain=shop&attribute=a%3Db&attribute=c%3D", "n=5&cursor=AQ", "n=5&n=6", "%zz"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, _ := url.ParseQuery(s)
		if q, err := countersQuery(v); err == nil && (q.N < 1 || q.N > CountersMax || len(q.Domain) > AttributeKeyBytesMax) {
			t.Errorf("%q: %+v", s, q)
		}
		if sel, err := selection(v); err == nil && ((sel.Key == "") == (sel.Domain == "") || len(sel.Attributes) > AttributesMax) {
			t.Errorf("%q: %+v", s, sel)
		}
	})
}

func TestMillisecondsAreRoundedUp(t *testing.T) {
	for d, want := range map[time.Duration]int64{0: 0, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, 1<<63 - 1: 9223372036855} {
		if got := Milliseconds(d); got != want {
			t.Errorf("%v: %d, want %d", d, got, want)
		}
	}
}
