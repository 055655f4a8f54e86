package table_test

import (
	"sync"
	"testing"
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
)

// A Sweep that waits for a shard holds nothing that others wait for.
func TestBackgroundPassesDoNotWaitForEachOther(t *testing.T) {
	tab := newTable(t, table.Config{})
	tab.Install([]*limiter.Limit{rate(t, "shop", "a", 1, time.Hour)})
	tab.Install([]*limiter.Limit{rate(t, "shop", "a", 2, time.Hour)})
	tab.Sweep(start, 1) // on to partition 1
	release := tab.Hold(1)
	var both sync.WaitGroup
	both.Go(func() { tab.Sweep(start, 1) })
	time.Sleep(10 * time.Millisecond) // it waits for partition 1 by now
	converted := make(chan struct{})
	both.Go(func() {
		tab.ConvertStep(start, 1) // partition 0
		close(converted)
	})
	select {
	case <-converted:
	case <-time.After(5 * time.Second):
		t.Error("a conversion waits for a sweep that waits for another partition")
	}
	release()
	both.Wait()
}

func TestPassesAtTheSameTimeVisitEveryCounter(t *testing.T) {
	tab := newTable(t, table.Config{})
	defer tab.Clear()
	const counters = 20_000
	l := window(t, "shop", "a", 3, time.Hour)
	tab.Install([]*limiter.Limit{l})
	for i := range counters {
		ask(tab, start, l, i, 1)
	}
	tab.Install([]*limiter.Limit{window(t, "shop", "a", 4, time.Hour)})
	var passes sync.WaitGroup
	for range 4 {
		passes.Go(func() {
			for !tab.ConvertStep(start, 500) {
			}
		})
		passes.Go(func() { tab.Sweep(start, counters) })
	}
	passes.Wait()
	if st := tab.Stats(); st.Converting || st.Converted != counters {
		t.Errorf("converted %d of %d, converting %v", st.Converted, counters, st.Converting)
	}
	later := start.Add(2 * time.Hour)
	for range 4 {
		passes.Go(func() {
			for range 10 {
				tab.Sweep(later, counters)
			}
		})
	}
	passes.Wait()
	if st := tab.Stats(); st.Entries != 0 {
		t.Errorf("%d counters left after the sweep", st.Entries)
	}
	check(t, tab)
}
