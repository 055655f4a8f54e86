package holdings_test

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"
	_ "time/tzdata" // the zones of the test

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota/calendar"
)

// until has the node look after itself, and the ledger answer, up to a moment before
// or after midnight.
func (n *node) until(moment time.Duration) {
	midnight := start.Add(12 * time.Hour)
	for ; n.now < midnight.Add(moment); n.now = n.now.Add(20 * time.Millisecond) {
		n.Tend(n.now)
		n.ledger.run()
	}
}

// tomorrow returns the units that are out of the next day's pool of key 1, seen from start.
func (n *node) tomorrow() uint64 {
	day := int64(start)/int64(time.Second)/86_400*86_400 + 86_400
	if p := n.ledger.pools[limiter.Key{Lo: 1}][day]; p != nil {
		return p.Outstanding()
	}
	return 0
}

func TestAnActiveCounterNeedsNobodyAtMidnight(t *testing.T) {
	n := newNode(t, limit(100_000), nil)
	n.now = start.Add(12*time.Hour - 70*time.Second)
	for tenth := -700; tenth < 0; tenth++ {
		n.ask(limiter.OpCharge, 1, 1)
		n.until(time.Duration(tenth) * time.Second / 10)
	}
	if got := n.tomorrow(); got < 2 || got > 100 {
		t.Fatalf("%d units of tomorrow are here, of 10 that are used in a second, for up to 8 seconds", got)
	}
	n.until(2 * time.Second)
	for range 2 {
		c := n.call(limiter.OpCharge, 1, 1)
		if !n.Decide(n.now, c) || c.Charges()[0].Decision.Verdict != limiter.Allowed {
			t.Errorf("a call of the new day: %+v", c.Charges()[0].Decision)
		}
	}
}

func TestWhatNobodyAsksForAtMidnightGoesBack(t *testing.T) {
	n := newNode(t, limit(100_000), nil)
	n.now = start.Add(12*time.Hour - 70*time.Second)
	n.ask(limiter.OpCharge, 1, 1)
	n.until(50 * time.Second)
	if got := n.tomorrow(); got != 8 {
		t.Fatalf("%d units of tomorrow are here, want 8: it is asked for once", got)
	}
	n.until(80 * time.Second)
	if got := n.tomorrow(); got != 0 || n.Stats().Counters != 0 {
		t.Errorf("%d units of tomorrow are here, %d counters", got, n.Stats().Counters)
	}
}

func TestOnlyCountersThatAreInUseAreAskedAheadFor(t *testing.T) {
	for name, tt := range map[string]struct {
		asked time.Duration // before midnight
		most  int64         // counters
	}{
		"one that was not asked for":  {5 * time.Minute, 100},
		"one, where there is no room": {70 * time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, limit(100_000), func(c *holdings.Config) { c.CountersMax = tt.most })
			n.now = start.Add(12*time.Hour - tt.asked)
			n.ask(limiter.OpCharge, 1, 1)
			n.until(0)
			if got := n.tomorrow(); got != 0 {
				t.Errorf("%d units of tomorrow are here", got)
			}
		})
	}
}

// A crowd is several holders with clocks of their own on one ledger, and many keys.
type crowd struct {
	t       *testing.T
	now     limiter.Instant
	ledger  *ledger
	holders []*holdings.Holdings
	skews   []time.Duration
	rng     *rand.Rand

	waiting []*limiter.Call
	used    map[limiter.Key]map[int64]uint64 // admitted, by key and start of the window
	calls   int                              // since midnight was near, of quotas that are not used up
	waits   int                              // those of them that waited
}

// charge has holder i decide a call of key, which may be used up if it is tight.
func (c *crowd) charge(i int, key uint64, l *limiter.Limit, tight bool) {
	call := &limiter.Call{Done: func(*limiter.Call) {}}
	call.Add(limiter.Charge{Key: limiter.Key{Lo: key}, Limit: l, Cost: 1, Partition: limiter.Partition(i)})
	done := c.holders[i].Decide(c.now.Add(c.skews[i]), call)
	if !tight {
		c.calls++
		if !done {
			c.waits++
		}
	}
	c.waiting = append(c.waiting, call)
}

// count has everybody answered and notes what was admitted.
func (c *crowd) count() {
	c.ledger.run()
	for _, call := range c.waiting {
		ch := &call.Charges()[0]
		switch d := ch.Decision; {
		case d.Verdict == limiter.Allowed:
			if c.used[ch.Key] == nil {
				c.used[ch.Key] = map[int64]uint64{}
			}
			if c.used[ch.Key][int64(ch.Was)-1]++; c.used[ch.Key][int64(ch.Was)-1] > ch.Limit.Amount {
				c.t.Fatalf("key %d: more than %d admitted in one day", ch.Key.Lo, ch.Limit.Amount)
			}
		case d.Degraded != 0 || ch.Limit.Amount > 1000:
			c.t.Fatalf("key %d is denied: %+v", ch.Key.Lo, d)
		}
	}
	c.waiting = c.waiting[:0]
}

var midnightKeys = flag.Int("midnight-keys", 600, "keys that are in use over midnight")

// Midnight comes to many keys in use, of several zones, at holders whose clocks are ten
// seconds apart: each day has at most its amount, nobody is denied who should not be, and
// hardly anybody waits.
func TestMidnightComesToManyKeysAtOnce(t *testing.T) {
	c := &crowd{
		t: t, now: start, rng: rand.New(rand.NewPCG(1, 2)), used: map[limiter.Key]map[int64]uint64{},
		skews: []time.Duration{-10 * time.Second, 0, 10 * time.Second},
	}
	c.ledger = newLedger(func() limiter.Instant { return c.now })
	var quotas []holdings.Quota
	for i, name := range []string{"America/New_York", "Asia/Tokyo", "Europe/Berlin"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		when, err := calendar.New(limiter.Schedule{Unit: limiter.PerDay}, zone)
		if err != nil {
			t.Fatal(err)
		}
		for j, amount := range []uint64{1_000_000, 60} {
			id := byte(2*i + j + 1)
			quotas = append(quotas, holdings.Quota{When: when, Limit: &limiter.Limit{Spec: limiter.Spec{
				ID: limiter.LimitID{id}, Def: limiter.DefHash(id), Kind: limiter.KindQuota, Amount: amount,
			}}})
		}
	}
	for i, skew := range c.skews {
		h, err := holdings.New(holdings.Config{
			Submit: c.ledger.submit, Rest: func(limiter.Instant, *limiter.Call) {}, Tenure: uint64(i) + 1,
			Now: func() limiter.Instant { return c.now.Add(skew) },
		})
		if err != nil {
			t.Fatal(err)
		}
		h.Install(1, quotas)
		c.holders = append(c.holders, h)
	}
	for zone := range len(quotas) / 2 {
		c.midnight(zone, quotas[2*zone:2*zone+2])
	}
}

// midnight has the keys of a zone in use from a minute before its midnight on. One in four
// is of the second quota, which is soon used up.
func (c *crowd) midnight(zone int, quotas []holdings.Quota) {
	const second = limiter.Instant(time.Second)
	end := limiter.Instant(quotas[0].When.Window(int64(c.now/second)).End) * second
	first := map[int64]int{} // counters of the new day that were made in each second
	keys := uint64(*midnightKeys / 3)
	for c.now = end.Add(-75 * time.Second); c.now < end.Add(25*time.Second); c.now = c.now.Add(100 * time.Millisecond) {
		if c.now == end.Add(-12*time.Second) { // the first clock is soon there
			c.calls, c.waits = 0, 0
		}
		before := c.fresh(end)
		for i, h := range c.holders {
			for key := range keys {
				if c.rng.IntN(3) == 0 {
					tight := key%4 == 3
					l := quotas[0].Limit
					if tight {
						l = quotas[1].Limit
					}
					c.charge(i, key*3+uint64(zone), l, tight)
				}
			}
			for range 5 {
				h.Tend(c.now.Add(c.skews[i]))
			}
		}
		c.count()
		first[int64(c.now/second)] += c.fresh(end) - before
	}
	if c.waits*100 > c.calls {
		c.t.Errorf("zone %d: %d of %d calls around midnight had to wait", zone, c.waits, c.calls)
	}
	for at, n := range first {
		if n > int(keys)/5 {
			c.t.Errorf("zone %d: %d of %d counters of the new day were made in the second %d before midnight", zone, n, keys, int64(end/second)-at)
		}
	}
}

// fresh returns how many pools there are of the day that begins at a moment.
func (c *crowd) fresh(begins limiter.Instant) (n int) {
	for _, days := range c.ledger.pools {
		if days[int64(begins)/int64(time.Second)] != nil {
			n++
		}
	}
	return n
}
