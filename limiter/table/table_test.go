package table_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
)

// hasher makes the keys of these tests.
var hasher = limiter.NewKeyHasher([16]byte{1, 2, 3})

func keyOf(i int) limiter.Key {
	return hasher.Key([]byte{byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24)})
}

// ask charges cost units of key i, in the key's own partition.
func ask(t *table.Table, now limiter.Instant, l *limiter.Limit, i int, cost uint64) limiter.Decision {
	k := keyOf(i)
	return askIn(t, now, l, k.Partition(), i, cost)
}

func askIn(t *table.Table, now limiter.Instant, l *limiter.Limit, p limiter.Partition, i int, cost uint64) limiter.Decision {
	var c limiter.Call
	c.Add(limiter.Charge{Key: keyOf(i), Limit: l, Cost: cost, Partition: p})
	t.Decide(now, &c)
	return c.Charges()[0].Decision
}

func check(tb testing.TB, t *table.Table) {
	tb.Helper()
	if err := t.Check(); err != nil {
		tb.Fatal(err)
	}
}

func TestConfigReportsEveryProblem(t *testing.T) {
	_, err := table.New(table.Config{EntriesMax: -1, BytesMax: -1, ShareMax: 2, OnFull: 9})
	for _, field := range []string{"EntriesMax=-1", "BytesMax=-1", "ShareMax=2", "OnFull=9"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("error %v does not name %s", err, field)
		}
	}
	if err := (table.Config{}).Validate(); err != nil {
		t.Errorf("zero Config: %v", err)
	}
}

func TestEntriesMaxHoldsAndOnFullDecides(t *testing.T) {
	for _, onFull := range []table.OnFull{table.FullAllow, table.FullDeny} {
		t.Run(onFull.String(), func(t *testing.T) {
			tab := newTable(t, table.Config{EntriesMax: 1000, OnFull: onFull})
			l := rate(t, "shop", "a", 1, time.Hour)
			tab.Install([]*limiter.Limit{l})
			for i := range 1000 {
				if d := ask(tab, start, l, i, 1); d.Verdict != limiter.Allowed || d.Degraded != limiter.NotDegraded {
					t.Fatalf("key %d: %+v", i, d)
				}
			}
			want := limiter.Allowed
			if onFull == table.FullDeny {
				want = limiter.Denied
			}
			for i := 1000; i < 1100; i++ {
				if d := ask(tab, start, l, i, 1); d.Verdict != want || d.Degraded != limiter.TableFull {
					t.Fatalf("key %d: %+v", i, d)
				}
			}
			for i := range 1000 { // every one of them denies: none may have been evicted
				if d := ask(tab, start, l, i, 1); d.Verdict != limiter.Denied || d.Degraded != limiter.NotDegraded {
					t.Fatalf("key %d after: %+v", i, d)
				}
			}
			st := tab.Stats()
			if st.Entries != 1000 || st.TableFullAllowed+st.TableFullDenied != 100 {
				t.Errorf("stats: %+v", st)
			}
			check(t, tab)
		})
	}
}

func TestAFullTableTakesNewKeysOnceOldOnesAreDue(t *testing.T) {
	tab := newTable(t, table.Config{EntriesMax: 1000, OnFull: table.FullDeny})
	l := rate(t, "shop", "a", 1, time.Second)
	tab.Install([]*limiter.Limit{l})
	for i := range 1000 {
		askIn(tab, start, l, 7, i, 1)
	}
	for i := 1000; i < 2000; i++ { // no Sweep in between
		if d := askIn(tab, start.Add(2*time.Second), l, 7, i, 1); d.Degraded != limiter.NotDegraded {
			t.Fatalf("key %d: %+v", i, d)
		}
	}
	check(t, tab)
}

func TestBytesMaxHolds(t *testing.T) {
	const bytesMax = 400_000
	tab := newTable(t, table.Config{BytesMax: bytesMax})
	l := rate(t, "shop", "a", 1, time.Hour)
	degraded := 0
	for i := range 20_000 {
		if askIn(tab, start, l, limiter.Partition(i%3), i, 1).Degraded == limiter.TableFull {
			degraded++
		}
		if i%100 != 0 {
			continue
		}
		if b := tab.Stats().Bytes; b > bytesMax {
			t.Fatalf("after %d keys: %d bytes", i, b)
		}
	}
	st := tab.Stats()
	if degraded == 0 || st.Refused == 0 || st.Entries+int64(degraded) != 20_000 {
		t.Errorf("%d degraded, stats %+v", degraded, st)
	}
	if perKey := float64(st.Bytes) / float64(st.Entries); perKey > 60 {
		t.Errorf("%.0f bytes a key: refused too early", perKey)
	}
	check(t, tab)
}

func TestOneDomainFillsItsShareOnlyWhileThereAreSeveral(t *testing.T) {
	tab := newTable(t, table.Config{EntriesMax: 1000, ShareMax: 0.3})
	a, b := rate(t, "a", "x", 1, time.Hour), rate(t, "b", "x", 1, time.Hour)
	stands := standIn(t, "a")
	tab.Install([]*limiter.Limit{a, b, stands})
	reasons := map[limiter.Degraded]int{}
	for i := range 400 {
		reasons[ask(tab, start, a, i, 1).Degraded]++
	}
	if reasons[limiter.NotDegraded] != 300 || reasons[limiter.ShareFull] != 100 {
		t.Errorf("two domains: %v", reasons)
	}
	if d := ask(tab, start, b, 5000, 1); d.Degraded != limiter.NotDegraded {
		t.Errorf("the other domain: %+v", d)
	}
	if d := ask(tab, start, a, 0, 1); d.Verdict != limiter.Denied || d.Degraded != limiter.NotDegraded {
		t.Errorf("a counter of the full domain: %+v", d)
	}

	// A request's own limits count as their domain's.
	own := carried(t, stands, 5, time.Hour)
	if d := ask(tab, start, own, 6000, 1); own.Ref == 0 || d.Degraded != limiter.ShareFull {
		t.Errorf("override with ref %d: %+v", own.Ref, d)
	}

	tab.Install([]*limiter.Limit{a})
	if d := ask(tab, start, a, 7000, 1); d.Degraded != limiter.NotDegraded {
		t.Errorf("one domain: %+v", d)
	}
	check(t, tab)
}

func TestPeeksGiveBacksAndDenialsWithoutStateInsertNothing(t *testing.T) {
	tab := newTable(t, table.Config{})
	l := rate(t, "shop", "a", 5, time.Hour)
	for op, cost := range map[limiter.Op]uint64{limiter.OpPeek: 0, limiter.OpGiveBack: 3, limiter.OpCharge: 6} {
		var c limiter.Call
		c.Add(limiter.Charge{Key: keyOf(1), Limit: l, Op: op, Cost: cost})
		tab.Decide(start, &c)
		if v := c.Charges()[0].Decision.Verdict; v == limiter.Undecided {
			t.Errorf("op %d: %v", op, v)
		}
	}
	if st := tab.Stats(); st.Entries != 0 {
		t.Errorf("%d entries", st.Entries)
	}
}

func TestUnlimitedNeedsNoCounter(t *testing.T) {
	tab := newTable(t, table.Config{})
	free := limit(t, limiter.Spec{Domain: "shop", Name: "free", Kind: limiter.KindUnlimited})
	l := rate(t, "shop", "a", 1, time.Hour)
	for _, mode := range []limiter.Mode{limiter.ChargeAll, limiter.AllOrNothing} {
		var c limiter.Call
		c.Mode = mode
		c.Add(limiter.Charge{Key: keyOf(1), Limit: l, Cost: 1})
		c.Add(limiter.Charge{Key: keyOf(2), Limit: free, Cost: 1})
		c.Add(limiter.Charge{Key: keyOf(3), Limit: l, Cost: 2})
		tab.Decide(start, &c)
		if d := c.Charges()[1].Decision; d.Verdict != limiter.Allowed {
			t.Errorf("mode %d: %+v", mode, d)
		}
	}
	if _, ok := tab.Lookup(0, keyOf(2)); ok {
		t.Error("an unlimited limit has a counter")
	}
}

func TestAllOrNothingLeavesNothingCharged(t *testing.T) {
	tab := newTable(t, table.Config{})
	wide, tight := rate(t, "shop", "wide", 10, time.Hour), rate(t, "shop", "tight", 1, time.Hour)
	anyA := limit(t, limiter.Spec{Domain: "shop", Name: "any", Kind: limiter.KindFixed, Amount: 1, Period: time.Hour, AnyOf: true})
	shadow := limit(t, limiter.Spec{Domain: "shop", Name: "shadow", Kind: limiter.KindFixed, Amount: 1, Period: time.Hour, Shadow: true})
	tests := []struct {
		name    string
		limits  []*limiter.Limit
		costs   []uint64
		verdict limiter.Verdict
		used    []bool
	}{
		{"all fit", []*limiter.Limit{wide, tight}, []uint64{1, 1}, limiter.Allowed, []bool{true, true}},
		{"the last denies", []*limiter.Limit{wide, tight}, []uint64{1, 2}, limiter.Denied, []bool{false, false}},
		{"the first denies", []*limiter.Limit{tight, wide}, []uint64{2, 1}, limiter.Denied, []bool{false, false}},
		{"a shadow denies", []*limiter.Limit{wide, shadow}, []uint64{1, 2}, limiter.Allowed, []bool{true, false}},
		{"one of two alternatives denies", []*limiter.Limit{anyA, anyA}, []uint64{2, 1}, limiter.Allowed, []bool{false, true}},
		{"both alternatives deny", []*limiter.Limit{wide, anyA, anyA}, []uint64{1, 2, 2}, limiter.Denied, []bool{false, false, false}},
	}
	for n, tt := range tests {
		for _, spread := range []int{0, 1} { // all in one partition, and not
			t.Run(tt.name, func(t *testing.T) {
				var c limiter.Call
				c.Mode = limiter.AllOrNothing
				for i, l := range tt.limits {
					c.Add(limiter.Charge{Key: keyOf(n*100 + spread*10 + i), Limit: l, Cost: tt.costs[i], Partition: limiter.Partition(i * spread)})
				}
				tab.Decide(start, &c)
				if v, _ := c.Verdict(); v != tt.verdict {
					t.Errorf("verdict %v, want %v", v, tt.verdict)
				}
				for i, ch := range c.Charges() {
					e, _ := tab.Lookup(ch.Partition, ch.Key)
					if used := e.Counter.Due > start; used != tt.used[i] {
						t.Errorf("charge %d: used %v, want %v", i, used, tt.used[i])
					}
					if ch.Decision.Verdict == limiter.Undecided {
						t.Errorf("charge %d has no decision", i)
					}
				}
			})
		}
	}
	check(t, tab)
}

func TestDueEntriesAreSweptAndArraysShrink(t *testing.T) {
	tab := newTable(t, table.Config{})
	l := rate(t, "shop", "a", 1, time.Second)
	for i := range 200_000 {
		askIn(tab, start, l, limiter.Partition(i%2*9), i, 1)
	}
	full := tab.Stats()
	now := start.Add(time.Minute)
	for range 50 {
		tab.Sweep(now, 1_000_000)
	}
	if st := tab.Stats(); st.Entries != 0 || st.Capacity != 0 || st.Bytes != 0 || st.Reclaimed != uint64(full.Entries) {
		t.Errorf("before %+v, after %+v", full, st)
	}
	check(t, tab)
}

func TestChurnDoesNotGrowTheTable(t *testing.T) {
	tab := newTable(t, table.Config{})
	l := rate(t, "shop", "a", 1, time.Second)
	now := start
	size := 0
	for i := range 300_000 { // 11,000 live at any time, and no Sweep
		now = now.Add(100 * time.Microsecond)
		askIn(tab, now, l, 3, i, 1)
		if i == 100_000 {
			size = tab.SlotsOf(3)
		}
	}
	// Live are those of the last 1.1 s: 11,000.
	if got := tab.SlotsOf(3); got > size || got > 22_000 {
		t.Errorf("%d slots after the first 100,000 keys, %d in the end", size, got)
	}
	check(t, tab)
}

func TestConcurrentCallsAdmitExactlyTheAmount(t *testing.T) {
	tab := newTable(t, table.Config{})
	const keys, amount = 3000, 7
	l := window(t, "shop", "a", amount, time.Hour)
	tab.Install([]*limiter.Limit{l})
	var allowed [keys]atomic.Int64
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := range keys * amount {
				i := (n*7919 + g*1237) % keys
				if askIn(tab, start, l, limiter.Partition(i%2), i, 1).Verdict == limiter.Allowed {
					allowed[i].Add(1)
				}
			}
		})
	}
	stop := make(chan struct{})
	background := sync.WaitGroup{}
	background.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			next := window(t, "shop", "a", amount, time.Hour)
			next.Def += limiter.DefHash(i % 3) // another definition with the same terms
			tab.Install([]*limiter.Limit{next})
			for !tab.ConvertStep(start, 2000) {
				tab.Sweep(start, 2000)
				tab.Stats()
			}
			tab.Range(1, func(table.Entry) bool { return true })
		}
	})
	wg.Wait()
	close(stop)
	background.Wait()
	for i := range allowed {
		if got := allowed[i].Load(); got != amount {
			t.Fatalf("key %d: %d allowed, want %d", i, got, amount)
		}
	}
	check(t, tab)
}

func TestAllKeysInOnePartition(t *testing.T) {
	tab := newTable(t, table.Config{})
	l := rate(t, "shop", "a", 1, time.Hour)
	const keys = 120_000
	for i := range keys {
		if d := askIn(tab, start, l, 4095, i, 1); d.Verdict != limiter.Allowed || d.Degraded != limiter.NotDegraded {
			t.Fatalf("key %d: %+v", i, d)
		}
	}
	for i := range keys {
		if d := askIn(tab, start, l, 4095, i, 1); d.Verdict != limiter.Denied {
			t.Fatalf("key %d again: %+v", i, d)
		}
	}
	n := 0
	tab.Range(4095, func(table.Entry) bool { n++; return true })
	if n != keys {
		t.Errorf("Range saw %d of %d", n, keys)
	}
	n = 0
	tab.Range(4095, func(table.Entry) bool { n++; return n < 10 })
	if n != 10 {
		t.Errorf("Range went on to %d", n)
	}
	check(t, tab)
	tab.Clear()
	check(t, tab)
}

func TestDecideAllocatesNothing(t *testing.T) {
	tab := newTable(t, table.Config{})
	l := rate(t, "shop", "a", 2, time.Hour)
	tight := rate(t, "shop", "b", 1, time.Hour)
	tab.Install([]*limiter.Limit{l, tight})
	for i := range 10_000 { // so that the array is outside Go's heap
		askIn(tab, start, l, 0, i, 1)
	}
	var c limiter.Call
	decide := func(mode limiter.Mode, charges ...limiter.Charge) {
		c.Reset()
		c.Mode = mode
		for _, ch := range charges {
			c.Add(ch)
		}
		tab.Decide(start, &c)
	}
	fresh := 10_000
	tests := map[string]func(){
		"a hit":    func() { decide(limiter.ChargeAll, limiter.Charge{Key: keyOf(1), Limit: l, Cost: 1}) },
		"a denial": func() { decide(limiter.ChargeAll, limiter.Charge{Key: keyOf(1), Limit: l, Cost: 3}) },
		"a peek":   func() { decide(limiter.ChargeAll, limiter.Charge{Key: keyOf(2), Limit: l, Op: limiter.OpPeek}) },
		"an insert": func() {
			fresh++
			decide(limiter.ChargeAll, limiter.Charge{Key: keyOf(fresh), Limit: l, Cost: 1})
		},
		"two charges": func() {
			decide(limiter.ChargeAll, limiter.Charge{Key: keyOf(3), Limit: l, Cost: 1}, limiter.Charge{Key: keyOf(4), Limit: l, Cost: 1})
		},
		"an undo": func() {
			decide(limiter.AllOrNothing, limiter.Charge{Key: keyOf(5), Limit: l, Cost: 1}, limiter.Charge{Key: keyOf(6), Limit: tight, Cost: 2})
		},
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			if n := testing.AllocsPerRun(300, f); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}
