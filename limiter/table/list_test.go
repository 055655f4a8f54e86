package table_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
)

// listed returns the whole listing from a place on, and calls between after every
// call of List.
func listed(t *table.Table, now func() limiter.Instant, at table.Place, between func()) (all []table.Entry) {
	for more := true; more; {
		var entries []table.Entry
		entries, at, more = t.List(now(), at)
		all = append(all, entries...)
		between()
	}
	return all
}

// A listing goes on while the table grows, is swept and shrinks. All counters are in
// one partition, so that there is something to grow.
func TestAListingFindsEveryCounterOnceWhateverHappensMeanwhile(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tab := newTable(t, table.Config{})
		defer tab.Clear()
		stays, goes := rate(t, "shop", "stays", 1, 1000*time.Hour), window(t, "shop", "goes", 5, time.Minute)
		tab.Install([]*limiter.Limit{stays, goes})
		now, next := start, 0
		const p = 4095 // the last
		add := func(l *limiter.Limit, n int) {
			for range n {
				askIn(tab, now, l, p, next, 1)
				next++
			}
		}
		count := rapid.SampledFrom([]int{0, 1, 100, 2500})
		add(stays, count.Draw(rt, "stay"))
		stayed := next
		kept := stayed
		first := count.Draw(rt, "go")
		add(goes, first)
		if rapid.Bool().Draw(rt, "moving") {
			for !tab.Moving(p) {
				add(stays, 1)
			}
			kept = next
		}
		seen := map[limiter.Key]int{}
		last := uint64(0)
		between := func() {
			switch rapid.IntRange(0, 5).Draw(rt, "step") {
			case 0:
				add(goes, rapid.IntRange(1, 900).Draw(rt, "more"))
			case 1:
				now = now.Add(2 * time.Minute)
				tab.Sweep(now, 20_000)
			case 2:
				tab.Sweep(now, 3000)
			case 3:
				for n := 0; n < 2000 && !tab.Moving(p); n++ {
					add(goes, 1)
				}
			}
		}
		for _, e := range listed(tab, func() limiter.Instant { return now }, table.Place{Partition: p}, between) {
			if e.Key.Lo < last || e.Partition != p || e.Counter.Due <= start || e.Domain != "shop" || e.Limit == nil {
				rt.Fatalf("%+v after %d", e, last)
			}
			last = e.Key.Lo
			seen[e.Key]++
			if seen[e.Key] > 1 {
				rt.Fatalf("%v comes twice", e.Key)
			}
		}
		for i := range kept {
			if i >= stayed && i < stayed+first {
				continue // these go
			}
			k := keyOf(i)
			if seen[k] != 1 {
				rt.Fatalf("counter %d of %d comes %d times", i, kept, seen[k])
			}
			if i%500 > 0 {
				continue // Find looks into every shard
			}
			found := tab.Find(now, k.Lo)
			if len(found) != 1 || found[0].Key != k || found[0].Limit.Name != "stays" || found[0].Partition != p {
				rt.Fatalf("counter %d: found %+v", i, found)
			}
		}
		check(t, tab)
	})
}

func TestAListingGoesOnBetweenAnyTwoCounters(t *testing.T) {
	tab := newTable(t, table.Config{})
	defer tab.Clear()
	l := window(t, "shop", "a", 3, time.Hour)
	tab.Install([]*limiter.Limit{l})
	for i := range 500 {
		askIn(tab, start, l, limiter.Partition(i%2*4095), i, 1)
	}
	clock := func() limiter.Instant { return start }
	all := listed(tab, clock, table.Place{}, func() {})
	if len(all) != 500 {
		t.Fatalf("%d counters", len(all))
	}
	for i, e := range all {
		if rest := listed(tab, clock, table.Place{Partition: e.Partition, Lo: e.Key.Lo}, func() {}); !slices.Equal(rest, all[i:]) {
			t.Fatalf("from counter %d on: %d counters, want %d", i, len(rest), len(all)-i)
		}
	}
	if rest, _, more := tab.List(start, table.Place{Partition: 4096}); more || len(rest) > 0 {
		t.Errorf("beyond the end: %v, %v", rest, more)
	}
}

func TestAListingLeavesOutWhatIsDueAndSlots(t *testing.T) {
	tab := newTable(t, table.Config{})
	defer tab.Clear()
	w, c := window(t, "shop", "w", 3, time.Minute), concurrency(t, "shop", "c", 9, time.Hour)
	tab.Install([]*limiter.Limit{w, c})
	for i := range 5 {
		ask(tab, start, w, i, 1)
	}
	for id := range 3 { // 0 is anonymous
		slotCall{id: id, cost: 2, lifetime: time.Duration(id+1) * time.Minute}.do(tab, start, c)
	}
	key := slotCall{}.charge(c).Key
	for after, held := range map[time.Duration]uint64{0: 6, 3 * time.Minute: 2, 2*time.Minute + 1: 4} {
		now := start.Add(after)
		name := fmt.Sprint(after)
		all := listed(tab, func() limiter.Instant { return now }, table.Place{}, func() {})
		want := 6
		if after > time.Minute {
			want = 1 // the windows are over
		}
		i := slices.IndexFunc(all, func(e table.Entry) bool { return e.Key == key })
		if len(all) != want || i < 0 || all[i].Held != held {
			t.Errorf("%s: %d entries, want %d; %+v", name, len(all), want, all)
		}
		if found := tab.Find(now, key.Lo); len(found) != 1 || found[0].Held != held {
			t.Errorf("%s: found %+v", name, found)
		}
	}
	if found := tab.Find(start, key.Slot(holder(1)).Lo); len(found) > 0 {
		t.Errorf("a slot is found: %+v", found)
	}
	if !tab.Reset(start, slotCall{}.charge(c).Partition, key) || len(tab.Find(start, key.Lo)) > 0 {
		t.Error("what was reset is found")
	}
	if all := listed(tab, func() limiter.Instant { return start }, table.Place{}, func() {}); len(all) != 5 {
		t.Errorf("slots that nobody holds are listed: %+v", all)
	}
	if found := tab.Find(start, key.Slot(holder(1)).Lo); len(found) > 0 {
		t.Errorf("a slot that nobody holds is found: %+v", found)
	}
	if tab.Find(start, 0) != nil {
		t.Error("an empty slot is found")
	}
}

func BenchmarkList(b *testing.B) {
	tab := newTable(b, table.Config{})
	defer tab.Clear()
	l := rate(b, "shop", "a", 1, 1000*time.Hour)
	tab.Install([]*limiter.Limit{l})
	for i := range 1 << 20 {
		ask(tab, start, l, i, 1)
	}
	at, n := table.Place{}, 0
	for b.Loop() {
		var entries []table.Entry
		var more bool
		if entries, at, more = tab.List(start, at); !more {
			at = table.Place{}
		}
		n += len(entries)
	}
	b.ReportMetric(float64(n)/float64(b.N), "counters/op")
}

func BenchmarkFind(b *testing.B) {
	tab := newTable(b, table.Config{})
	defer tab.Clear()
	l := rate(b, "shop", "a", 1, 1000*time.Hour)
	tab.Install([]*limiter.Limit{l})
	for i := range 1 << 20 {
		ask(tab, start, l, i, 1)
	}
	for b.Loop() {
		if len(tab.Find(start, keyOf(7).Lo)) != 1 {
			b.Fatal("not found")
		}
	}
}
