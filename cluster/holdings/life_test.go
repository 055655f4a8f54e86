package holdings_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/limiter/quota/calendar"
	"github.com/headgate/headgate/storage/storagetest"
)

const (
	crashKeys = 4
	crashDays = 4
)

// A claim is what clients know of one counter on one day, and what it may have lost.
type claim struct {
	admitted uint64 // net of what was given back
	peak     uint64 // the highest amount that was in force
	// strandable bounds the units that count as spent and that nobody spent: those that
	// crashes lost, and what one would lose now.
	strandable uint64
}

// Claims are those of all counters: by key and day.
type claims [crashKeys][crashDays]claim

// A receipt is the answer to a request of exact mode.
type receipt struct {
	id      limiter.Key
	key     int
	day     int64
	cost    uint64
	at      limiter.Instant
	moment  int // from which on the client has it
	settled bool
}

// A bound is what a crash of this process may lose of one counter: a grant and a
// quarter, or what was fetched for those who waited; what is charged for those who have
// no answer yet; what was given back by clients; and what is on its way back to the pool.
type bound struct {
	grant, parked, waited, refunded uint64
	// returned is on its way, or there, by the life of the counter; granted and
	// confirmed are as the ledger said last.
	granted, returned, confirmed map[uint32]uint64
}

func (b *bound) units() uint64 {
	n := max(b.grant+b.grant/4, b.waited) + b.parked + b.refunded
	for life, units := range b.returned {
		n += units - min(units, b.confirmed[life])
	}
	return n
}

// A life is one process of a node: it holds units, over a voter on a disk, while
// clients ask. It ends with the power.
type life struct {
	*holdings.Holdings
	rng    *rand.Rand
	flaw   string
	rec    *storagetest.Recorder
	voter  *voter
	queue  []sent
	when   *calendar.Calendar
	now    limiter.Instant
	limit  *limiter.Limit
	policy uint64 // version of the policy

	leaving bool

	claims   claims
	lost     [crashKeys][crashDays]uint64 // strandable by the crashes before this life
	bounds   [crashKeys][crashDays]*bound
	receipts []receipt
	requests uint64 // made so far

	moments []snapshot
	count   atomic.Int64 // of moments
}

// A snapshot is what clients know at a moment.
type snapshot struct {
	claims claims
	now    limiter.Instant
	limit  *limiter.Limit
}

func (l *life) day() int64 { return int64((l.now - start) / limiter.Instant(24*time.Hour)) }

// mark notes a moment: a crash from now on finds clients as they are now.
func (l *life) mark() {
	for key := range l.bounds {
		for day, b := range l.bounds[key] {
			c := &l.claims[key][day]
			c.strandable = l.lost[key][day]
			if b != nil {
				c.strandable += b.units()
			}
		}
	}
	l.moments = append(l.moments, snapshot{l.claims, l.now, l.limit})
	l.count.Store(int64(len(l.moments)))
}

// at returns how many moments there were: the last one is the present.
func (l *life) at() int { return int(l.count.Load()) - 1 }

// born opens what is in fs. Who lived before, and a snapshot of it, say what clients
// know.
func born(fs *vfs.MemFS, before *life, s snapshot, rng *rand.Rand) (l *life, err error) {
	l = &life{rng: rng, flaw: before.flaw, when: before.when, requests: before.requests}
	l.resume(s)
	l.rec = storagetest.NewRecorder(fs, rng.Uint64(), l.at, l.at)
	l.rec.Opening(true)
	defer l.rec.Opening(false)
	if l.voter, err = openVoter(l.rec.FS(), l.flaw); err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	return l, nil
}

// resume has the clients of a new life be where they were.
func (l *life) resume(s snapshot) {
	l.claims, l.now, l.limit = s.claims, s.now, s.limit
	for key := range l.lost {
		for day := range l.lost[key] {
			l.lost[key][day] = l.claims[key][day].strandable
		}
	}
	l.moments = []snapshot{s}
	l.count.Store(1)
}

// serve begins to serve.
func (l *life) serve() error {
	if err := l.voter.begin(l.now); err != nil {
		return err
	}
	h, err := holdings.New(holdings.Config{
		Submit: l.submit, Rest: func(limiter.Instant, *limiter.Call) {},
		Now: func() limiter.Instant { return l.now }, Tenure: l.voter.tenure,
	})
	if err != nil {
		return err
	}
	l.Holdings = h
	l.install(l.limit.Amount)
	return nil
}

func (l *life) install(amount uint64) {
	l.policy++
	l.limit = limit(amount)
	l.Install(l.voter.tenure<<32|l.policy, []holdings.Quota{{Limit: l.limit, When: l.when}})
	l.inForce()
}

// inForce has the amount count for today and tomorrow.
func (l *life) inForce() {
	for key := range l.claims {
		for day := l.day(); day <= min(l.day()+1, crashDays-1); day++ {
			c := &l.claims[key][day]
			c.peak = max(c.peak, l.limit.Amount)
		}
	}
	l.mark()
}

func keyOf(i int) limiter.Key { return limiter.Key{Hi: uint64(i%voterGroups) << 61, Lo: uint64(i)} }

func windowOf(day int64) quota.Window {
	from := int64(start)/int64(time.Second)/86_400*86_400 + day*86_400
	return quota.Window{Start: from, End: from + 86_400}
}

// bound returns what is noted of a command's counter.
func (l *life) bound(c *quota.Command) *bound {
	b := &l.bounds[c.Key.Lo][(c.Window.Start-windowOf(0).Start)/86_400]
	if *b == nil {
		*b = &bound{granted: map[uint32]uint64{}, returned: map[uint32]uint64{}, confirmed: map[uint32]uint64{}}
	}
	return *b
}

// submit takes in a command of the holdings.
func (l *life) submit(c quota.Command, done func(*quota.Command, quota.Result, error)) error {
	b, of := l.bound(&c), c.Holder.Life
	switch c.Op {
	case quota.OpEnsure:
		target := max(c.Floor, c.Target)
		b.grant = max(b.grant, target-min(target, b.granted[of]))
	case quota.OpReturn:
		b.returned[of] = max(b.returned[of], c.Total)
	default:
	}
	l.mark()
	told := func(c *quota.Command, r quota.Result, err error) {
		if err == nil {
			b.granted[of] = max(b.granted[of], r.Granted)
			b.confirmed[of] = max(b.confirmed[of], r.Returned)
		}
		done(c, r, err)
		l.mark()
	}
	if l.leaving {
		l.decide([]sent{{c, told}}, false)
		return nil
	}
	l.queue = append(l.queue, sent{c, told})
	return nil
}

// take removes up to n commands of one group from the queue, in their order.
func (l *life) take(g, n int) (some []sent) {
	l.queue = slices.DeleteFunc(l.queue, func(s sent) bool {
		if quota.GroupOf(s.c.Key) != g || len(some) == n {
			return false
		}
		some = append(some, s)
		return true
	})
	return some
}

// answer has some of what waits decided. Answers may be lost, and commands too, for
// ever or for a time.
func (l *life) answer() {
	some := l.take(l.rng.IntN(voterGroups), 1+l.rng.IntN(3))
	fate := l.rng.IntN(12)
	if fate > 0 {
		l.decide(some, fate == 1)
		return
	}
	for _, s := range some {
		s.done(&s.c, quota.Result{}, errLost)
		if l.rng.IntN(2) == 0 {
			l.queue = append(l.queue, sent{s.c, func(*quota.Command, quota.Result, error) {}})
		}
	}
}

// decide proposes commands of one group, and tells what came of them, or of none.
func (l *life) decide(some []sent, silent bool) {
	if len(some) == 0 {
		return
	}
	commands := make([]quota.Command, len(some))
	for i := range some {
		commands[i] = some[i].c
	}
	results, err := l.voter.propose(quota.GroupOf(some[0].c.Key), l.now, commands)
	if silent {
		err = errors.Join(err, errLost)
	}
	for i, s := range some {
		if err != nil {
			s.done(&s.c, quota.Result{}, err)
		} else {
			s.done(&s.c, results[i], nil)
		}
	}
}

// finish has all that waits decided.
func (l *life) finish() error {
	for len(l.queue) > 0 && l.voter.failed == nil {
		for g := range voterGroups {
			l.decide(l.take(g, 8), false)
		}
	}
	return l.voter.failed
}

// charge has a client ask for units, who may have to wait.
func (l *life) charge(key int, cost uint64) *limiter.Call {
	k := keyOf(key)
	b := l.bound(&quota.Command{Key: k, Window: windowOf(l.day())})
	count := func(c *limiter.Call) {
		if ch := &c.Charges()[0]; ch.Decision.Verdict == limiter.Allowed {
			l.claims[key][(int64(ch.Was)-1-windowOf(0).Start)/86_400].admitted += cost
			l.mark()
		}
	}
	c := &limiter.Call{Done: func(c *limiter.Call) {
		b.parked -= cost
		count(c)
	}}
	c.Add(limiter.Charge{Key: k, Limit: l.limit, Cost: cost, Partition: k.Partition()})
	if l.Decide(l.now, c) {
		count(c)
	} else {
		b.parked += cost
		b.waited = max(b.waited, b.parked)
		l.mark()
	}
	return c
}

func (l *life) giveBack() {
	key, before := l.rng.IntN(crashKeys), l.Stats().Refunded
	c := &limiter.Call{}
	k := keyOf(key)
	c.Add(limiter.Charge{Key: k, Limit: l.limit, Cost: 1 + l.rng.Uint64N(6), Partition: k.Partition(), Op: limiter.OpGiveBack})
	l.Decide(l.now, c)
	units := l.Stats().Refunded - before
	if units > 0 {
		l.claims[key][l.day()].admitted -= units
		l.bound(&quota.Command{Key: k, Window: windowOf(l.day())}).refunded += units
		l.mark()
	}
}

// spend has a client ask for units in exact mode. Until it has the answer, nobody knows
// whether they are charged.
func (l *life) spend() {
	l.requests++
	r := receipt{id: limiter.Key{Hi: l.requests}, key: l.rng.IntN(crashKeys), day: l.day(), cost: 1 + l.rng.Uint64N(5), at: l.now}
	lost := &l.lost[r.key][r.day]
	*lost += r.cost
	l.mark()
	l.queue = append(l.queue, sent{l.exact(quota.OpSpend, &r), func(_ *quota.Command, got quota.Result, err error) {
		if err != nil {
			return
		}
		*lost -= r.cost
		if got.Code == quota.OK {
			l.claims[r.key][r.day].admitted += r.cost
		}
		l.mark()
		if r.moment = l.at(); got.Code == quota.OK {
			l.receipts = append(l.receipts, r)
		}
	}})
}

// settle has a client say that a request cost less. From then on it counts for less.
func (l *life) settle() {
	if len(l.receipts) == 0 {
		return
	}
	r := &l.receipts[l.rng.IntN(len(l.receipts))]
	if r.settled || !r.remembered(l.now) {
		return
	}
	r.settled = true
	c := l.exact(quota.OpSettle, r)
	c.Cost = l.rng.Uint64N(r.cost + 1)
	l.claims[r.key][r.day].admitted -= r.cost - c.Cost
	l.lost[r.key][r.day] += r.cost - c.Cost
	l.mark()
	l.queue = append(l.queue, sent{c, func(*quota.Command, quota.Result, error) {}})
}

// remembered reports whether the ledger has to know the request now.
func (r *receipt) remembered(now limiter.Instant) bool { return now.Sub(r.at) < 590*time.Second }

func (l *life) exact(op quota.Op, r *receipt) quota.Command {
	return quota.Command{
		Op: op, Key: keyOf(r.key), Window: windowOf(r.day), Request: r.id, Cost: r.cost,
		Version: l.voter.tenure<<32 | l.policy, Limit: l.limit.Amount,
	}
}

// leave ends the process in order: nothing is lost by it.
func (l *life) leave() error {
	l.leaving = true
	if err := errors.Join(l.finish(), l.Leave(context.Background())); err != nil {
		return err
	}
	l.bounds = [crashKeys][crashDays]*bound{}
	l.mark()
	return nil
}

// step does one thing that happens to a node.
func (l *life) step() error {
	switch what := l.rng.IntN(40); {
	case what < 12:
		l.charge(l.rng.IntN(crashKeys), 1+l.rng.Uint64N(7))
	case what < 14:
		l.giveBack()
	case what < 17:
		l.spend()
	case what < 18:
		l.settle()
	case what < 32:
		l.answer()
	case what < 35:
		l.now = l.now.Add(time.Duration(l.rng.Int64N(int64(4 * time.Second))))
	case what < 37:
		for range 256 {
			l.Tend(l.now)
		}
	case what < 38:
		l.install(amountOf(l.rng))
	case what < 39:
		return l.voter.compact(l.rng.IntN(voterGroups), l.rng.Uint64N(3))
	case l.day() < crashDays-2 && l.rng.IntN(3) == 0:
		l.now = l.now.Add(24 * time.Hour)
		l.inForce()
	}
	return l.voter.failed
}

// amountOf is small, so that it is used up, or large enough for larger grants.
func amountOf(rng *rand.Rand) uint64 {
	if rng.IntN(2) == 0 {
		return 1 + rng.Uint64N(30)
	}
	return 500 + rng.Uint64N(1500)
}
