package limiter

import (
	"math"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A model is what a kind promises, said as plainly as possible and without a
// thought for speed. Everything in a Decision follows from used and capacity.
type model interface {
	// used returns the units that count at t, exactly.
	used(t Instant) *big.Rat
	// capacity returns the units that a fresh counter admits.
	capacity() *big.Rat
	// charge uses cost more units at t.
	charge(t Instant, cost uint64)
	// refuse records a denied cost at t, for limits with CountDenied.
	refuse(t Instant, cost uint64)
	// giveBack undoes up to cost units at t.
	giveBack(t Instant, cost uint64)
}

func newModel(s Spec) model {
	if s.Kind == KindRate {
		burst := s.Burst
		if burst == 0 {
			burst = s.Amount
		}
		return newBucketModel(s, units(burst))
	}
	if s.Kind == KindPace {
		m := newBucketModel(s, nil)
		// What waits no longer than MaxWait, and one that leaves at once.
		m.burst = new(big.Rat).Add(new(big.Rat).Quo(nanos(Instant(s.MaxWait)), m.unit), units(1))
		return &paceModel{m}
	}
	if s.FromFirst {
		return &firstModel{spec: s}
	}
	return &windowModel{spec: s, counts: map[Instant]uint64{}}
}

func newBucketModel(s Spec, burst *big.Rat) *bucketModel {
	return &bucketModel{
		unit:  new(big.Rat).SetFrac(units(uint64(s.Period)).Num(), units(s.Amount).Num()),
		burst: burst,
		tat:   new(big.Rat),
	}
}

func units(n uint64) *big.Rat { return new(big.Rat).SetInt(new(big.Int).SetUint64(n)) }

func nanos(t Instant) *big.Rat { return new(big.Rat).SetInt64(int64(t)) }

func atLeast(r, floor *big.Rat) *big.Rat {
	if r.Cmp(floor) < 0 {
		return floor
	}
	return r
}

// A bucketModel is a token bucket by its theoretical arrival time, in exact
// fractions of a nanosecond.
type bucketModel struct {
	unit  *big.Rat // ns
	burst *big.Rat // units
	tat   *big.Rat // ns since the epoch
}

func (m *bucketModel) span(n *big.Rat) *big.Rat { return new(big.Rat).Mul(n, m.unit) }

func (m *bucketModel) used(t Instant) *big.Rat {
	ahead := new(big.Rat).Sub(atLeast(m.tat, nanos(t)), nanos(t))
	return ahead.Quo(ahead, m.unit)
}

func (m *bucketModel) capacity() *big.Rat { return m.burst }

func (m *bucketModel) charge(t Instant, cost uint64) {
	m.tat = new(big.Rat).Add(atLeast(m.tat, nanos(t)), m.span(units(cost)))
}

func (m *bucketModel) refuse(t Instant, _ uint64) {
	m.tat = atLeast(m.tat, new(big.Rat).Add(nanos(t), m.span(m.burst)))
}

func (m *bucketModel) giveBack(t Instant, cost uint64) {
	m.tat = atLeast(new(big.Rat).Sub(m.tat, m.span(units(cost))), nanos(t))
}

// A paceModel is a bucket of what may wait, with the moments that units leave at.
type paceModel struct{ *bucketModel }

func (m *paceModel) refuse(Instant, uint64) {}

// wait returns how long a charge of cost at t waits for its last unit.
func (m *paceModel) wait(t Instant, cost uint64) time.Duration {
	leave := new(big.Rat).Add(atLeast(m.tat, nanos(t)), m.span(units(cost-1)))
	ns := leave.Sub(leave, nanos(t))
	up := new(big.Int).Add(ns.Num(), ns.Denom())
	up.Sub(up, big.NewInt(1))
	return time.Duration(up.Quo(up, ns.Denom()).Int64())
}

// A windowModel counts units by the start of the epoch-aligned window they
// were charged in.
type windowModel struct {
	spec   Spec
	counts map[Instant]uint64 // only positive counts
}

// window returns the start of the window that t counts in: its own, or the
// newest that counts anything if that is later.
func (m *windowModel) window(t Instant) Instant {
	start := t - t%Instant(m.spec.Period)
	for w := range m.counts {
		start = max(start, w)
	}
	return start
}

func (m *windowModel) before(w Instant) Instant { return w.Add(-m.spec.Period) }

func (m *windowModel) used(t Instant) *big.Rat {
	w := m.window(t)
	used := units(m.counts[w])
	if m.spec.Kind == KindSliding {
		left := m.spec.Period - max(0, t.Sub(w))
		part := new(big.Rat).SetFrac64(int64(left), int64(m.spec.Period))
		used.Add(used, part.Mul(part, units(m.counts[m.before(w)])))
	}
	return used
}

func (m *windowModel) capacity() *big.Rat { return units(m.spec.Amount) }

// set makes n the count of w and forgets what no longer matters.
func (m *windowModel) set(w Instant, n uint64) {
	m.counts[w] = n
	for v, n := range m.counts {
		if n == 0 || v < m.before(w) || (v < w && m.spec.Kind == KindFixed) {
			delete(m.counts, v)
		}
	}
}

func (m *windowModel) charge(t Instant, cost uint64) {
	w := m.window(t)
	m.set(w, m.counts[w]+cost)
}

func (m *windowModel) refuse(t Instant, cost uint64) {
	most := uint64(math.MaxUint64)
	if m.spec.Kind == KindSliding {
		most = math.MaxUint32
	}
	w := m.window(t)
	n := m.counts[w]
	m.set(w, n+min(cost, most-n))
}

func (m *windowModel) giveBack(t Instant, cost uint64) {
	w := m.window(t)
	present := m.counts[w]
	previous := m.counts[m.before(w)]
	fromPresent := min(cost, present)
	if m.spec.Kind == KindSliding {
		m.counts[m.before(w)] = previous - min(cost-fromPresent, previous)
	}
	m.set(w, present-fromPresent)
}

// A firstModel counts units from a first charge on.
type firstModel struct {
	spec  Spec
	end   Instant
	count uint64
}

func (m *firstModel) used(t Instant) *big.Rat {
	if t >= m.end {
		return new(big.Rat)
	}
	return units(m.count)
}

func (m *firstModel) capacity() *big.Rat { return units(m.spec.Amount) }

func (m *firstModel) charge(t Instant, cost uint64) {
	if t >= m.end || m.count == 0 {
		m.end, m.count = t.Add(m.spec.Period), 0
	}
	m.count += cost
}

func (m *firstModel) refuse(t Instant, _ uint64) {
	m.charge(t, 0)
	m.count = m.spec.Amount
}

func (m *firstModel) giveBack(t Instant, cost uint64) {
	if t >= m.end {
		cost = m.count // the window is forgotten
	}
	m.count -= min(cost, m.count)
}

// fits reports whether cost passes at t.
func fits(m model, t Instant, cost uint64) bool {
	sum := m.used(t)
	return sum.Add(sum, units(cost)).Cmp(m.capacity()) <= 0
}

// step does one operation on the model and checks the decision against it.
func step(t errorer, m model, s Spec, now Instant, op Op, cost uint64, got Decision) {
	t.Helper()
	ask := cost
	if cost == 0 && op != OpGiveBack {
		op = OpPeek
		if !s.PeekUsed {
			ask = 1
		}
	}
	want, wait := Allowed, time.Duration(0)
	if p, ok := m.(*paceModel); ok && op != OpGiveBack && ask > 0 && fits(m, now, ask) {
		wait = p.wait(now, ask)
	}
	switch {
	case op == OpGiveBack:
		m.giveBack(now, cost)
	case !fits(m, now, ask):
		want = Denied
		if op == OpCharge && s.CountDenied {
			m.refuse(now, cost)
		}
	case op == OpCharge:
		m.charge(now, cost)
	}
	if got.Verdict != want {
		t.Errorf("verdict %v, want %v", got.Verdict, want)
	}
	if got.Wait != wait {
		t.Errorf("wait %v, want %v", got.Wait, wait)
	}
	checkRemaining(t, m, now, got.Remaining)
	checkReset(t, m, now, got.ResetAfter)
	if want == Allowed {
		if got.RetryAfter != 0 {
			t.Errorf("allowed, yet retry after %v", got.RetryAfter)
		}
		return
	}
	checkRetry(t, m, now, ask, got.RetryAfter)
}

// An errorer is what *testing.T and *rapid.T have in common.
type errorer interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

func checkRemaining(t errorer, m model, now Instant, got uint64) {
	t.Helper()
	left := new(big.Rat).Sub(m.capacity(), m.used(now))
	if left.Sign() < 0 {
		left.SetInt64(0)
	}
	if want := new(big.Int).Quo(left.Num(), left.Denom()).Uint64(); got != want {
		t.Errorf("remaining %d, want %d", got, want)
	}
}

func checkReset(t errorer, m model, now Instant, got time.Duration) {
	t.Helper()
	if m.used(now.Add(got)).Sign() != 0 {
		t.Errorf("reset after %v, but something is still used then", got)
	}
	if got > 0 && m.used(now.Add(got-1)).Sign() == 0 {
		t.Errorf("reset after %v, but nothing is used a nanosecond earlier", got)
	}
}

func checkRetry(t errorer, m model, now Instant, cost uint64, got time.Duration) {
	t.Helper()
	if units(cost).Cmp(m.capacity()) > 0 {
		if got != Never {
			t.Errorf("cost %d is above capacity, yet retry after %v", cost, got)
		}
		return
	}
	if got <= 0 || got == Never {
		t.Fatalf("denied, but retry after %v", got)
	}
	if !fits(m, now.Add(got), cost) {
		t.Errorf("retry after %v, but cost %d is denied then", got, cost)
	}
	if fits(m, now.Add(got-1), cost) {
		t.Errorf("retry after %v, but cost %d passes a nanosecond earlier", got, cost)
	}
}

// drawSpec draws a valid Spec of kind.
func drawSpec(t *rapid.T, kind Kind) Spec {
	const day = 24 * time.Hour
	s := Spec{
		Kind: kind,
		Period: rapid.OneOf(
			rapid.SampledFrom([]time.Duration{
				PeriodMin, time.Second, time.Minute, time.Hour, day, 7 * day, 30 * day, 365 * day, PeriodMax,
			}),
			rapid.Custom(func(t *rapid.T) time.Duration {
				return time.Duration(rapid.Int64Range(int64(PeriodMin), int64(PeriodMax)).Draw(t, "ns"))
			}),
		).Draw(t, "period"),
		CountDenied: rapid.Bool().Draw(t, "count denied"),
		PeekUsed:    rapid.Bool().Draw(t, "peek used"),
	}
	lowest, highest := uint64(0), uint64(AmountMax)
	s.FromFirst = kind == KindFixed && rapid.Bool().Draw(t, "from first")
	switch kind { //nolint:exhaustive // only these two differ
	case KindRate, KindPace:
		lowest, highest = 1, uint64(s.Period)
	case KindSliding:
		highest = SlidingAmountMax
	}
	s.Amount = rapid.OneOf(
		rapid.Uint64Range(lowest, min(highest, 20)),
		rapid.Uint64Range(lowest, highest),
		rapid.SampledFrom([]uint64{3, 7, 100, 600, 999_983, min(700_000_000, highest), highest}),
	).Draw(t, "amount")
	if kind == KindPace {
		s.MaxWait = time.Duration(rapid.Int64Range(int64(WaitMin), int64(WaitMax)).Draw(t, "max wait"))
	}
	if kind == KindRate {
		most := new(big.Int).Mul(big.NewInt(int64(HorizonMax)), new(big.Int).SetUint64(s.Amount))
		most.Quo(most, big.NewInt(int64(s.Period)))
		burstMax := min(most.Uint64(), AmountMax)
		s.Burst = rapid.OneOf(
			rapid.Just(uint64(0)),
			rapid.Uint64Range(1, min(burstMax, 20)),
			rapid.Uint64Range(1, burstMax),
		).Draw(t, "burst")
	}
	return s
}

// drawCost draws a cost around what matters to a limit of that capacity.
func drawCost(t *rapid.T, capacity uint64) uint64 {
	return rapid.OneOf(
		rapid.Uint64Range(0, 3),
		rapid.Uint64Range(0, capacity),
		rapid.Uint64Range(capacity/2, min(capacity, math.MaxUint64-2)+2),
		rapid.Uint64(),
		rapid.SampledFrom([]uint64{CostMax, CostMax + 1, math.MaxUint32, math.MaxUint64}),
	).Draw(t, "cost")
}

// drawNow draws a moment that is interesting after prev.
func drawNow(t *rapid.T, prev Instant, period time.Duration, waits []time.Duration) Instant {
	p := int64(period)
	jump := rapid.OneOf(
		rapid.Just(int64(0)),
		rapid.Int64Range(1, 3),
		rapid.Int64Range(1, p/7+1),
		rapid.Int64Range(p-2, p+2),
		rapid.Int64Range(0, 3*p),
		rapid.Custom(func(t *rapid.T) int64 { // a wait that the limit asked for, or just less
			return int64(rapid.SampledFrom(waits).Draw(t, "wait")) - rapid.Int64Range(0, 1).Draw(t, "early")
		}),
		rapid.Int64Range(-3, -1),
		rapid.Int64Range(-2*p, 0),
		rapid.Just(p-int64(prev)%p), // the next boundary
	).Draw(t, "jump")
	// Leave room for the longest retry-after below InstantMax.
	return min(max(prev.Add(time.Duration(jump)), 0), InstantMax-Instant(HorizonMax))
}

func TestKindsAgreeWithTheirModels(t *testing.T) {
	for _, kind := range []Kind{KindRate, KindFixed, KindSliding, KindPace} {
		t.Run(kind.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { checkAgainstModel(t, kind) })
		})
	}
}

func checkAgainstModel(t *rapid.T, kind Kind) {
	s := drawSpec(t, kind)
	l, err := NewLimit(s)
	if err != nil {
		t.Fatalf("NewLimit: %v", err)
	}
	m := newModel(s)
	var c Counter
	now := Instant(rapid.Int64Range(0, int64(InstantMax)-int64(HorizonMax)).Draw(t, "start"))
	waits, latest := []time.Duration{0}, now
	for range rapid.IntRange(1, 80).Draw(t, "steps") {
		now = drawNow(t, now, s.Period, waits)
		if latest = max(latest, now); s.FromFirst {
			now = max(now, latest.Add(-stepMax))
		}
		op := rapid.SampledFrom([]Op{OpCharge, OpCharge, OpCharge, OpCharge, OpPeek, OpGiveBack}).Draw(t, "op")
		cost := drawCost(t, l.Capacity())
		was := c
		d := l.Apply(&c, now, op, cost)
		step(t, m, s, now, op, cost, d)
		if op == OpPeek && c != was {
			t.Fatalf("a peek changed %v to %v", was, c)
		}
		if reset := max(0, c.Due.Sub(now)); d.ResetAfter != reset {
			t.Fatalf("reset after %v, but due in %v", d.ResetAfter, reset)
		}
		waits = append(waits, d.ResetAfter)
		if d.RetryAfter != Never {
			waits = append(waits, d.RetryAfter)
		}
	}
}
