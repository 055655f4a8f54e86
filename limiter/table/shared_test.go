package table_test

import (
	"testing"
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
)

// A limit and its overrides for named values have one LimitID: keys 1 and 2
// are named values, key 3 is anybody.
func TestLimitsThatShareAnIdentityAreDecidedEachByItsOwnTerms(t *testing.T) {
	tab := newTable(t, table.Config{})
	limits := func(amounts ...uint64) []*limiter.Limit {
		ls := make([]*limiter.Limit, len(amounts))
		for i, amount := range amounts {
			ls[i] = rate(t, "shop", "a", amount, 1000*time.Hour)
		}
		tab.Install(ls)
		return ls
	}
	convert := func() {
		for !tab.ConvertStep(start, 1<<20) {
		}
	}
	takes := func(l *limiter.Limit, key, want int) {
		t.Helper()
		for i := range want {
			if d := ask(tab, start, l, key, 1); d.Verdict != limiter.Allowed {
				t.Fatalf("key %d: denied at charge %d of %d", key, i+1, want)
			}
		}
		if d := ask(tab, start, l, key, 1); d.Verdict != limiter.Denied {
			t.Fatalf("key %d: more than %d allowed", key, want)
		}
	}

	first := limits(2, 4, 9)
	takes(first[1], 1, 4)
	takes(first[0], 3, 2)
	ask(tab, start, first[2], 2, 1)

	convert()
	second := limits(3, 5, 9) // other amounts; nobody charges before the pass is over
	convert()
	takes(second[1], 1, 1)
	takes(second[0], 3, 1)

	third := limits(6) // no overrides any more
	convert()
	takes(third[0], 1, 1)
	takes(third[0], 2, 5)
	takes(third[0], 3, 3)
	if third[0].Shared {
		t.Error("a limit that is alone is marked as shared")
	}

	fourth := limits(6, 8) // key 3 gets a name
	convert()
	takes(fourth[1], 3, 2)
	takes(fourth[0], 2, 0)
	check(t, tab)
}
