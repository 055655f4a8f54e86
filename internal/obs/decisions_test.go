package obs

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

func testConfig() Config {
	return Config{LimitsMax: 1000, TopKeys: 10, Stripes: 4, Now: func() limiter.Instant { return 1000 }, Modes: func() []ModeReading { return []ModeReading{{"shop", "off"}} }}
}

func limit(ref uint32, domain, name string) *limiter.Limit {
	l := &limiter.Limit{Ref: ref}
	l.Domain, l.Name, l.Kind = domain, name, limiter.KindRate
	return l
}

func charged(l *limiter.Limit, v limiter.Verdict) limiter.Charge {
	return limiter.Charge{
		Key: limiter.Key{Hi: 1, Lo: uint64(l.Ref) + 1}, Limit: l, Cost: 1,
		Decision: limiter.Decision{Verdict: v},
	}
}

func exchange(stripe uint32, charges ...limiter.Charge) *api.Exchange {
	x := &api.Exchange{Stripe: stripe}
	for _, ch := range charges {
		x.Call.Add(ch)
	}
	return x
}

// gather returns the value of each series that starts with prefix, by
// "name{label,label}".
func gather(t *testing.T, m *Metrics, prefix string) map[string]float64 {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), prefix) {
			continue
		}
		for _, s := range f.GetMetric() {
			labels := map[string]string{}
			var values []string
			for _, l := range s.GetLabel() { // sorted by name
				labels[l.GetName()] = l.GetValue()
				values = append(values, l.GetValue())
			}
			name := fmt.Sprintf("%s{%s}", f.GetName(), strings.Join(values, ","))
			got[name] = s.GetCounter().GetValue() + s.GetGauge().GetValue() + float64(s.GetHistogram().GetSampleCount())
		}
	}
	return got
}

func wantSeries(t *testing.T, got, want map[string]float64) {
	t.Helper()
	for name, v := range want {
		if g, ok := got[name]; !ok || g != v {
			t.Errorf("%s = %v (present %v), want %v", name, g, ok, v)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("unexpected %s = %v", name, got[name])
		}
	}
}

func TestChargesAreCountedByLimitAndVerdict(t *testing.T) {
	m := New(testConfig())
	a, b, shadow := limit(1, "shop", "a"), limit(2, "shop", "b"), limit(3, "shop", "shadow")
	shadow.Shadow = true
	m.Decisions.Install([]*limiter.Limit{a, b, shadow, limit(4, "shop", "override")})
	back := charged(b, limiter.Allowed)
	back.Op = limiter.OpGiveBack
	full := charged(a, limiter.Allowed)
	full.Decision.Degraded = limiter.TableFull
	for stripe := range uint32(8) { // more than there are
		m.Decisions.Observe(0, exchange(stripe, charged(a, limiter.Allowed), charged(b, limiter.Denied)))
	}
	m.Decisions.Observe(0, exchange(0, back, charged(shadow, limiter.Denied)))
	m.Decisions.Observe(0, exchange(1, full, charged(limit(4, "shop", "override"), limiter.Denied)))
	m.Decisions.Observe(0, exchange(1, charged(limit(0, "x", "unregistered"), limiter.Allowed)))
	m.Decisions.Observe(0, exchange(1, charged(limit(99, "x", "never installed"), limiter.Allowed)))
	m.Decisions.Observe(0, exchange(0))
	m.Decisions.Observe(0, &api.Exchange{Outcome: policy.UnknownDomainDeny})
	m.Decisions.Observe(0, &api.Exchange{Outcome: policy.TooManyCharges})

	wantSeries(t, gather(t, m, "headgate_decisions_total"), map[string]float64{
		"headgate_decisions_total{shop,a,allowed}":            9,
		"headgate_decisions_total{shop,a,denied}":             0,
		"headgate_decisions_total{shop,b,allowed}":            0,
		"headgate_decisions_total{shop,b,denied}":             8,
		"headgate_decisions_total{shop,b,given_back}":         1,
		"headgate_decisions_total{shop,shadow,allowed}":       0,
		"headgate_decisions_total{shop,shadow,denied}":        0,
		"headgate_decisions_total{shop,shadow,shadow_denied}": 1,
		"headgate_decisions_total{shop,override,allowed}":     0,
		"headgate_decisions_total{shop,override,denied}":      1,
		"headgate_decisions_total{other,other,allowed}":       2,
	})
	wantSeries(t, gather(t, m, "headgate_requests_total"), map[string]float64{
		"headgate_requests_total{allowed}":        3,
		"headgate_requests_total{denied}":         9,
		"headgate_requests_total{unmatched}":      1,
		"headgate_requests_total{unknown_domain}": 1,
		"headgate_requests_total{error}":          1,
	})
	if got := gather(t, m, "headgate_degraded_total")["headgate_degraded_total{table_full}"]; got != 1 {
		t.Errorf("degraded by a full table = %v, want 1", got)
	}
}

func TestOneRequestInSixteenIsTimed(t *testing.T) {
	m := New(testConfig())
	for range 160 {
		m.Decisions.Observe(400, exchange(0)) // now is 1000: 600 ns
	}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "headgate_decision_seconds" {
			continue
		}
		h := f.GetMetric()[0].GetHistogram()
		if h.GetSampleCount() != 10 || h.GetSampleSum() < 5.9e-6 || h.GetSampleSum() > 6.1e-6 {
			t.Errorf("count %d, sum %v; want 10, 6e-06", h.GetSampleCount(), h.GetSampleSum())
		}
		for _, b := range h.GetBucket() {
			want := uint64(0)
			if b.GetUpperBound() >= 1e-6 {
				want = 10
			}
			if b.GetCumulativeCount() != want {
				t.Errorf("bucket %v = %d, want %d", b.GetUpperBound(), b.GetCumulativeCount(), want)
			}
		}
		return
	}
	t.Fatal("no histogram")
}

func TestDurationBuckets(t *testing.T) {
	if got := len(durationBounds()) + 1; got != durationBuckets {
		t.Fatalf("durationBuckets = %d, want %d", durationBuckets, got)
	}
	for _, tt := range []struct {
		span time.Duration
		want int
	}{{-1, 0}, {0, 0}, {250, 0}, {251, 1}, {25 * time.Millisecond, 16}, {time.Hour, 17}} {
		if got := bucketOf(tt.span); got != tt.want {
			t.Errorf("bucketOf(%v) = %d, want %d", tt.span, got, tt.want)
		}
	}
}

func TestCountsSurviveANewPolicyThatKeepsTheLimit(t *testing.T) {
	m := New(testConfig())
	old := limit(1, "shop", "a")
	m.Decisions.Install([]*limiter.Limit{old})
	m.Decisions.Observe(0, exchange(0, charged(old, limiter.Allowed)))
	changed := limit(2, "shop", "a") // another amount: another definition, another Ref
	m.Decisions.Install([]*limiter.Limit{changed})
	m.Decisions.Observe(0, exchange(0, charged(changed, limiter.Allowed)))
	m.Decisions.Observe(0, exchange(0, charged(old, limiter.Allowed))) // matched before
	if got := gather(t, m, "headgate_decisions_total")["headgate_decisions_total{shop,a,allowed}"]; got != 3 {
		t.Errorf("allowed = %v, want 3", got)
	}
}

// Operators name domains and limits: a pair of names that is ours too must not
// make one series two, with which no scrape succeeds.
func TestALimitMayBeNamedLikeTheOverflowSeries(t *testing.T) {
	m := New(testConfig())
	other := limit(1, "other", "other")
	m.Decisions.Install([]*limiter.Limit{other})
	m.Decisions.Observe(0, exchange(0, charged(other, limiter.Allowed)))
	m.Decisions.Observe(0, exchange(0, charged(limit(0, "x", "unregistered"), limiter.Allowed)))
	want := map[string]float64{"headgate_decisions_total{other,other,allowed}": 2}
	wantSeries(t, gather(t, m, "headgate_decisions_total"), want)
	m.Decisions.Install(nil) // and is no limit's to give back
	m.Decisions.Install(nil)
	wantSeries(t, gather(t, m, "headgate_decisions_total"), want)
}

func TestLimitsThatAreGoneGiveTheirSeriesBack(t *testing.T) {
	m := New(testConfig())
	for i := range 200 {
		l := limit(uint32(i+1), "shop", "limit-"+strconv.Itoa(i))
		m.Decisions.Install([]*limiter.Limit{l})
		m.Decisions.Observe(0, exchange(0, charged(l, limiter.Allowed)))
	}
	wantSeries(t, gather(t, m, "headgate_decisions_total"), map[string]float64{
		"headgate_decisions_total{shop,limit-198,allowed}": 1,
		"headgate_decisions_total{shop,limit-198,denied}":  0,
		"headgate_decisions_total{shop,limit-199,allowed}": 1,
		"headgate_decisions_total{shop,limit-199,denied}":  0,
	})
	if n := len(m.Decisions.index.Load().pages[0]); n != 1 {
		t.Errorf("%d pages for 2 series, want 1", n)
	}
}

func TestSeriesAreBoundedUnderManyLimitsAndReloads(t *testing.T) {
	c := testConfig()
	c.LimitsMax = 100
	m := New(c)
	total := 0.0
	for reload := range 20 {
		limits := make([]*limiter.Limit, 500)
		for i := range limits {
			limits[i] = limit(uint32(i+1), "shop", fmt.Sprintf("limit-%d-%d", reload, i))
		}
		m.Decisions.Install(limits)
		for _, l := range limits {
			m.Decisions.Observe(0, exchange(l.Ref, charged(l, limiter.Denied)))
			total++
		}
		got := gather(t, m, "headgate_decisions_total")
		if len(got) > 4*(c.LimitsMax+1) {
			t.Fatalf("%d series after %d reloads", len(got), reload+1)
		}
		if got["headgate_decisions_total{other,other,denied}"] == 0 {
			t.Fatal("limits without a series are not counted")
		}
	}
	if got := gather(t, m, "headgate_requests_total")["headgate_requests_total{denied}"]; got != total {
		t.Errorf("denied requests = %v, want %v", got, total)
	}
}

func TestObserveAllocatesNothing(t *testing.T) {
	m := New(testConfig())
	a, b := limit(1, "shop", "a"), limit(2, "shop", "b")
	m.Decisions.Install([]*limiter.Limit{a, b})
	x := exchange(3, charged(a, limiter.Allowed), charged(b, limiter.Denied))
	if n := testing.AllocsPerRun(1000, func() { m.Decisions.Observe(1, x) }); n != 0 {
		t.Errorf("allocations with full buffers = %v, want 0", n)
	}
	n := testing.AllocsPerRun(1000, func() {
		m.Decisions.stripes[3].hot.room.Store(1)
		m.Decisions.stripes[3].hot.n = 0
		m.Decisions.Observe(1, x)
	})
	if n != 0 {
		t.Errorf("allocations with room = %v, want 0", n)
	}
}

// Nothing that was observed is lost between installs, scrapes and drains.
func TestObserveWhileEverythingElseHappens(t *testing.T) {
	m := New(testConfig())
	a := limit(1, "shop", "a")
	m.Decisions.Install([]*limiter.Limit{a})
	const writers, each = 4, 5000
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for range each {
				m.Decisions.Observe(0, exchange(uint32(w), charged(a, limiter.Denied)))
			}
		})
	}
	for i := range 100 {
		m.Decisions.Install([]*limiter.Limit{a, limit(uint32(i+2), "shop", strconv.Itoa(i))})
		m.Hot.Drain()
		m.Denied.Drain()
		m.Hot.Decay()
		gather(t, m, "headgate_")
	}
	wg.Wait()
	if got := gather(t, m, "headgate_decisions_total")["headgate_decisions_total{shop,a,denied}"]; got != writers*each {
		t.Errorf("denied = %v, want %d", got, writers*each)
	}
}

func BenchmarkObserve(b *testing.B) {
	for _, charges := range []int{1, 4} {
		b.Run(strconv.Itoa(charges), func(b *testing.B) {
			m := New(testConfig())
			limits := make([]*limiter.Limit, charges)
			for i := range limits {
				limits[i] = limit(uint32(i+1), "shop", strconv.Itoa(i))
			}
			m.Decisions.Install(limits)
			b.ReportAllocs()
			stripes := make(chan uint32, 1)
			stripes <- 0
			b.RunParallel(func(pb *testing.PB) {
				stripe := <-stripes
				stripes <- stripe + 1
				x := exchange(stripe)
				for _, l := range limits {
					x.Call.Add(charged(l, limiter.Allowed))
				}
				for pb.Next() {
					m.Decisions.Observe(0, x)
				}
			})
		})
	}
}

var _ prometheus.Collector = (*Decisions)(nil)
