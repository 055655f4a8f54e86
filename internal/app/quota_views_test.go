package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/headgate/headgate/api/admin"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage/ledger"
)

// quotasAt asks GET path and reads the answer, which must have the status.
func quotasAt(t *testing.T, n *testNode, path string, status int) (out admin.Quotas) {
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
	for i := range out.Quotas {
		if q := &out.Quotas[i]; q.Remaining != remains(q) {
			t.Errorf("%s: the figures don't add up: %d remain, not %d: %+v", path, q.Remaining, remains(q), q)
		}
	}
	return out
}

// remains is what admin.Quota says of Remaining.
func remains(q *admin.Quota) uint64 {
	if taken := q.Used + q.Stranded + q.Beside + q.Debt; !q.Frozen && taken < q.Amount {
		return max(q.Held, q.Amount-taken)
	}
	return q.Held
}

// quotaOf returns the quota of a user.
func quotaOf(t *testing.T, n *testNode, user string) admin.Quota {
	t.Helper()
	list := quotasAt(t, n, "/v1/quota?domain=shop&attribute=user%3D"+user, 200).Quotas
	if len(list) != 1 {
		t.Fatalf("%+v", list)
	}
	return list[0]
}

func charge(t *testing.T, n *testNode, user string, times int) {
	t.Helper()
	for range times {
		if r := check(t, n.client, "shop", user); r.GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED {
			t.Fatalf("%s is denied: %v", user, r)
		}
	}
}

func TestAQuotaIsShownToTheUnit(t *testing.T) {
	c := patientConfig(t, yearly(1000))
	n := startNode(t, c)
	if q := quotaOf(t, n, "alice"); q.Used != 0 || q.Remaining != 1000 || q.Amount != 1000 || q.Held != 0 || q.Limit != "plan" || q.ResetsAt == nil {
		t.Errorf("unused: %+v", q)
	}
	// What is held is not what is used, and is not less that remains.
	held := uint64(0)
	for i := range uint64(60) {
		charge(t, n, "alice", 1)
		q := quotaOf(t, n, "alice")
		if q.Used+q.Remaining != 1000 || q.Used != i+1 {
			t.Fatalf("after %d: %+v", i+1, q)
		}
		held = max(held, q.Held)
	}
	if held == 0 {
		t.Error("nothing was ever held")
	}
	r := check(t, n.client, "shop", "alice")
	q := quotaOf(t, n, "alice")
	if ends := time.Until(*q.ResetsAt); (ends-r.GetResetAfter().AsDuration()).Abs() > time.Minute || q.From.AddDate(1, 0, 0) != *q.ResetsAt {
		t.Errorf("it resets in %s, and a caller is told %s; from %s", ends, r.GetResetAfter().AsDuration(), q.From)
	}

	// A new amount is seen before anybody calls, and a restart loses nothing but names.
	write(t, c.Policy.Paths[0], yearly(2000))
	eventually(t, "the new policy", func() bool { return strings.Count(n.log.String(), "policies in force") == 2 })
	if q := quotaOf(t, n, "alice"); q.Amount != 2000 || q.Used+q.Remaining != 2000 {
		t.Errorf("after a raise: %+v", q)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n = startNode(t, c)
	if q := quotaOf(t, n, "alice"); q.Used != 61 || q.Held != 0 || q.Remaining != 1939 || q.Domain != "shop" {
		t.Errorf("after a restart: %+v", q)
	}
	list := quotasAt(t, n, "/v1/quotas", 200).Quotas
	if len(list) != 1 || list[0].Limit != "" || list[0].ResetsAt != nil || list[0].Used != 61 || list[0].Key != q.Key {
		t.Errorf("listed after a restart: %+v", list)
	}
	charge(t, n, "alice", 1)
	if list = quotasAt(t, n, "/v1/quotas?limit=plan", 200).Quotas; len(list) != 1 || list[0].Domain != "shop" {
		t.Errorf("listed when it was asked for again: %+v", list)
	}
}

func TestQuotasAreListedPageByPage(t *testing.T) {
	n := startNode(t, patientConfig(t, yearly(1000)+"  - {name: search, when: {user: u3}, quota: 50/day}\n"))
	if q := quotasAt(t, n, "/v1/quotas", 200); q.Quotas == nil || len(q.Quotas) > 0 || q.Cursor != "" {
		t.Errorf("without a record: %+v", q)
	}
	for i := range 30 {
		charge(t, n, fmt.Sprintf("u%d", i), 1)
	}
	pages := func(n *testNode, filter string, size int) map[string]admin.Quota {
		all, cursor := map[string]admin.Quota{}, ""
		for range 100 {
			page := quotasAt(t, n, fmt.Sprintf("/v1/quotas?n=%d&cursor=%s%s", size, cursor, filter), 200)
			if len(page.Quotas) > size {
				t.Fatalf("%d on a page of %d", len(page.Quotas), size)
			}
			for _, q := range page.Quotas {
				if _, twice := all[q.Key]; twice || q.Used+q.Remaining != q.Amount {
					t.Errorf("%+v, listed before: %v", q, twice)
				}
				all[q.Key] = q
			}
			if cursor = page.Cursor; cursor == "" {
				return all
			}
		}
		t.Fatal("the pages do not end")
		return nil
	}
	one := quotaOf(t, n, "u5").Key
	for filter, want := range map[string]int{"": 31, "&domain=shop": 31, "&domain=other": 0, "&limit=search": 1, "&limit=plan": 30, "&key=" + one: 1} {
		for _, size := range []int{1, 7, 1000} {
			if got := pages(n, filter, size); len(got) != want {
				t.Errorf("%q by %d: %d quotas, want %d", filter, size, len(got), want)
			}
		}
	}
}

func TestWhatIsNoQuotaIsSaid(t *testing.T) {
	n := startNode(t, patientConfig(t, yearly(5)+"  - {name: calls, by: [ip], rate: 5/s}\n"))
	for path, status := range map[string]int{
		"/v1/quota?domain=shpo&attribute=user%3Da":              404,
		"/v1/quota?domain=shop&attribute=ip%3Da":                404,
		"/v1/quota?domain=shop&attribute=user%3Da&limit=calls":  404,
		"/v1/counter?domain=shop&attribute=user%3Da&limit=plan": 404,
		"/v1/quotas?cursor=AQ":                                  400,
		"/v1/quotas?key=12":                                     400,
		"/v1/quota?key=00ff00ff00ff00ff":                        400,
	} {
		quotasAt(t, n, path, status)
	}
}

func TestDebtIsShownApart(t *testing.T) {
	n := startNode(t, patientConfig(t, yearly(3)+"    post_paid: true\n"))
	charge(t, n, "alice", 5)
	eventually(t, "the debt", func() bool {
		q := quotaOf(t, n, "alice")
		return q.Used == 3 && q.Debt == 2 && q.Remaining == 0 && q.Amount == 3
	})
}

func TestAForecastIsByTheMeanRateSoFar(t *testing.T) {
	for name, c := range map[string]struct {
		now, used, remaining int64
		want                 int64
	}{
		"half is used in a quarter of the time":    {250, 50, 50, 500},
		"so little that it is enough":              {250, 10, 90, 0},
		"used up exactly at the end is not before": {500, 50, 50, 0},
		"nothing used": {500, 0, 100, 0},
		"nothing left": {500, 100, 0, 0},
		"not begun":    {0, 50, 50, 0},
	} {
		got := forecast(0, c.now, 1000, &admin.Quota{Used: uint64(c.used), Remaining: uint64(c.remaining)})
		if (got == nil) != (c.want == 0) || got != nil && got.Unix() != c.want {
			t.Errorf("%s: %v, want %d", name, got, c.want)
		}
	}
}

func FuzzQuotaCursor(f *testing.F) {
	f.Add(formatQuotaCursor(&ledger.Counter{Key: limiter.Key{Hi: 1, Lo: 2}, Window: quota.Window{Start: 3, End: 4, Rolling: 5}}))
	for _, seed := range []string{"", "AQ", "%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parseQuotaCursor(s)
		if err != nil || s == "" {
			return
		}
		if got := formatQuotaCursor(c); got != s || c.Window.Start >= c.Window.End {
			t.Errorf("%q is %+v, which is written %q", s, c, got)
		}
	})
}
