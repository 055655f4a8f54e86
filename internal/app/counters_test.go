package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/headgate/headgate/api/admin"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

const manyKinds = `
domain: shop
limits:
  - {name: calls, by: [user], rate: {amount: 3, every: 1000h}}
  - {name: trial, by: [user], window: 9/year, shadow: true}
  - {name: logins, when: {path: /login}, by: [user], window: 5/year}
  - {name: jobs, by: [tenant], concurrency: 2, lifetime: 1h}
  - {name: staff, when: {role: staff}, unlimited: true}
`

// counterGet asks GET path and reads the answer, which must have the status.
func counterGet(t *testing.T, n *testNode, path string, status int) (out admin.Counters) {
	t.Helper()
	code, body := get(t, "http://"+n.Admin+path)
	if code != status {
		t.Fatalf("%s: %d %s", path, code, body)
	}
	if code == http.StatusOK {
		if err := json.Unmarshal([]byte(body), &out); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func counterReset(t *testing.T, n *testNode, in map[string]any, status int) (out admin.CountersReset) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Post("http://"+n.Admin+"/v1/counters/reset", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	if answer.StatusCode != status {
		t.Fatalf("%v: %d %s", in, answer.StatusCode, text)
	}
	if status == http.StatusOK {
		if err := json.Unmarshal(text, &out); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func attributes(pairs ...string) (out []map[string]string) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, map[string]string{"key": pairs[i], "value": pairs[i+1]})
	}
	return out
}

func TestCountersOfACallAreShownAndReset(t *testing.T) {
	n := startNode(t, testConfig(t, manyKinds))
	login := &headgatev1.CheckRequest{Domain: "shop", Attributes: []*headgatev1.Attribute{
		{Key: "user", Value: "ann"}, {Key: "path", Value: "/login"}, {Key: "role", Value: "staff"},
	}}
	for range 3 {
		if _, err := n.client.Check(context.Background(), login); err != nil {
			t.Fatal(err)
		}
	}
	allow(t, n, "bob", true)

	const ann = "/v1/counter?domain=shop&attribute=user%3Dann&attribute=path%3D/login&attribute=role%3Dstaff"
	got := counterGet(t, n, ann, 200).Counters
	if len(got) != 3 || got[0].Limit != "calls" || got[0].Used != 3 || got[0].Remaining != 0 || got[0].RetryAfterMS == nil || got[0].Kind != "rate" ||
		got[2].Limit != "logins" || got[2].Used != 3 || got[2].Remaining != 2 || got[2].RetryAfterMS != nil || got[2].ResetAfterMS <= 0 ||
		got[1].Limit != "trial" || !got[1].Shadow {
		t.Fatalf("%+v", got)
	}
	// The mode of the domain does not hide them, and looking charges nothing.
	mustSetMode(t, n, admin.ModeChange{Domain: "shop", Mode: "off"})
	if again := counterGet(t, n, ann, 200).Counters; again[2].Used != 3 {
		t.Fatalf("%+v", again)
	}
	mustSetMode(t, n, admin.ModeChange{Domain: "shop", Mode: "enforce"})

	// One by its fingerprint says the same.
	byKey := counterGet(t, n, "/v1/counter?key="+got[2].Key, 200).Counters
	if len(byKey) != 1 || byKey[0].Limit != "logins" || byKey[0].Used != 3 || byKey[0].Domain != "shop" {
		t.Fatalf("%+v", byKey)
	}
	if none := counterGet(t, n, "/v1/counter?key=00000000000000ab", 200).Counters; none == nil || len(none) > 0 {
		t.Fatalf("%+v", none)
	}

	// A reset of one limit leaves the others, and others' counters, as they are.
	out := counterReset(t, n, map[string]any{"domain": "shop", "attributes": attributes("user", "ann"), "limit": "calls", "reason": "locked out"}, 200)
	if out.Reset != 1 || !slices.Equal(out.Keys, []string{got[0].Key}) || len(out.Warnings) > 0 {
		t.Fatalf("%+v", out)
	}
	after := counterGet(t, n, ann, 200).Counters
	if after[0].Used != 0 || after[2].Used != 3 {
		t.Fatalf("%+v", after)
	}
	allow(t, n, "ann", true, true, true, false)
	allow(t, n, "bob", true, true, false)
	if out := counterReset(t, n, map[string]any{"key": got[0].Key}, 200); out.Reset != 1 {
		t.Fatalf("%+v", out)
	}
	allow(t, n, "ann", true)
	if out := counterReset(t, n, map[string]any{"domain": "shop", "attributes": attributes("user", "nobody")}, 200); out.Reset != 0 || len(out.Keys) != 2 {
		t.Fatalf("%+v", out)
	}

	// Who did what is written down, without a value.
	_, log := get(t, "http://"+n.Admin+"/v1/audit")
	for _, want := range []string{`"action": "counter_reset"`, `"reason": "locked out"`, `1 reset: ` + got[0].Key, `"domain": "shop"`} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in %s", want, log)
		}
	}
	if strings.Contains(log+n.log.String(), "ann") {
		t.Error("a value is written down")
	}
}

func TestWhatHasNoCounterIsSaid(t *testing.T) {
	n := startNode(t, testConfig(t, manyKinds))
	for _, path := range []string{
		"/v1/counter?domain=shpo&attribute=user%3Dann", "/v1/counter?domain=shop&attribute=colour%3Dred",
		"/v1/counter?domain=shop&attribute=user%3Dann&limit=logins", "/v1/counter?domain=shop&attribute=role%3Dstaff",
	} {
		counterGet(t, n, path, 404)
	}
	counterReset(t, n, map[string]any{"domain": "shop", "limit": "cals", "all": true}, 404)
	counterReset(t, n, map[string]any{"domain": "shop", "attributes": attributes("colour", "red")}, 404)
	counterReset(t, n, map[string]any{"domain": "shop", "attributes": attributes("user", "ann"), "reason": "two\nlines"}, 400)
	if out := counterReset(t, n, map[string]any{"domain": "shop", "limit": "calls", "all": true}, 200); out.Reset != 0 {
		t.Errorf("%+v", out)
	}
}

func TestCountersAreListedPageByPageAndResetByLimit(t *testing.T) {
	n := startNode(t, testConfig(t, manyKinds))
	for i := range 50 {
		allow(t, n, fmt.Sprint("user ", i), true)
	}
	for i := range 2 {
		if _, err := n.client.Acquire(context.Background(), &headgatev1.AcquireRequest{
			Domain: "shop", Attributes: []*headgatev1.Attribute{{Key: "tenant", Value: "a"}}, Id: fmt.Append(nil, i),
		}); err != nil {
			t.Fatal(err)
		}
	}
	pages := func(filter string, size int) (all []admin.Counter) {
		t.Helper()
		cursor := ""
		for {
			page := counterGet(t, n, fmt.Sprintf("/v1/counters?n=%d&cursor=%s%s", size, url.QueryEscape(cursor), filter), 200)
			if len(page.Counters) > size {
				t.Fatalf("%d counters on a page of %d", len(page.Counters), size)
			}
			if all = append(all, page.Counters...); page.Cursor == "" {
				return all
			}
			cursor = page.Cursor
		}
	}
	every := pages("", 1000)
	same := func(a, b admin.Counter) bool { return a.Key == b.Key && a.Limit == b.Limit }
	if len(every) != 101 || !slices.EqualFunc(pages("", 1), every, same) || !slices.EqualFunc(pages("", 7), every, same) {
		t.Fatalf("%d counters", len(every))
	}
	if calls := pages("&domain=shop&limit=calls", 9); len(calls) != 50 || calls[0].Used != 1 || calls[0].Remaining != 2 {
		t.Fatalf("%+v", calls)
	}
	if jobs := pages("&limit=jobs", 9); len(jobs) != 1 || jobs[0].Kind != "concurrency" || jobs[0].Used != 2 || jobs[0].Remaining != 0 || jobs[0].ResetAfterMS < 1 {
		t.Fatalf("slots are shown as one counter: %+v", jobs)
	}
	if none := pages("&domain=other", 9); len(none) > 0 {
		t.Fatalf("%+v", none)
	}

	if out := counterReset(t, n, map[string]any{"domain": "shop", "limit": "trial", "all": true}, 200); out.Reset != 50 || out.Keys != nil {
		t.Fatalf("%+v", out)
	}
	if rest := pages("", 100); len(rest) != 51 || slices.ContainsFunc(rest, func(c admin.Counter) bool { return c.Limit == "trial" }) {
		t.Fatalf("%d are left", len(rest))
	}
	if out := counterReset(t, n, map[string]any{"domain": "shop", "attributes": attributes("tenant", "a")}, 200); out.Reset != 1 {
		t.Fatalf("%+v", out)
	}
	if jobs := pages("&limit=jobs", 9); len(jobs) > 0 {
		t.Fatalf("%+v", jobs)
	}
	counterGet(t, n, "/v1/counters?cursor=x", 400)
}

func TestCountersAreNotResetWhereAdminIsReadOnly(t *testing.T) {
	c := testConfig(t, manyKinds)
	c.Admin.ReadOnly = true
	n := startNode(t, c)
	allow(t, n, "ann", true)
	counterReset(t, n, map[string]any{"domain": "shop", "attributes": attributes("user", "ann")}, 403)
	if got := counterGet(t, n, "/v1/counter?domain=shop&attribute=user%3Dann", 200).Counters; got[0].Used != 1 {
		t.Errorf("%+v", got)
	}
}

func FuzzCursor(f *testing.F) {
	for _, seed := range []string{"", "AQAFAAAAAAAAAAA", "AQ__AAAAAAAAAAE", "AgAFAAAAAAAAAAA", "AQAFAAAAAAAAAA", "AQAFAAAAAAAAAAB", "%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, err := parseCursor(s)
		if err == nil && s != "" && formatCursor(at) != s {
			t.Errorf("%q is %+v, which is written %q", s, at, formatCursor(at))
		}
	})
}
