package quota

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/headgate/headgate/limiter"
)

// The exhaustive check: breadth-first over everything that can happen to the real
// machines within a scenario's bounds. A log that is the adversary's: each command
// that was ever proposed may be applied at any later time, any number of times, in
// any order, or never; its answer may be delivered, lost, or be late. Holders crash,
// go on as if they had not been replaced, move, forget and leave. Every state
// reached is held to the invariants in [checker.judge].

// machines are what is checked: the real ones, unless a test breaks one.
type machines struct {
	apply   func(p *Pool, at int64, c *Command) Result
	receive func(g *Group, c *Command) (code Code, raised, head bool)
	learn   func(h *Holding, c *Command, r Result)
	recall  func(h *Holding, t *Terms) (Command, bool)
	close   func(h *Holding, t *Terms) Command
	decide  func(p *Pool, at int64, c *Command, q *Request) Result
	refund  func(h *Holding, units uint64) uint64
	commit  func(h *Holding, units, cost uint64, t *Terms) (owed, lost uint64)
	beside  func(w Window, used func(Window) uint64) uint64
	tenure  func(last uint64) uint64 // of the holder after one whose memory was lost
	life    func(last uint32) uint32 // of a holding that was forgotten before
}

func realMachines() machines {
	return machines{
		apply:   (*Pool).Apply,
		receive: (*Group).Receive,
		learn:   (*Holding).Learn,
		recall:  (*Holding).Recall,
		close:   (*Holding).Close,
		decide:  (*Pool).Decide,
		refund:  (*Holding).Refund,
		commit:  (*Holding).Commit,
		beside:  Beside,
		tenure:  func(last uint64) uint64 { return last + 1 },
		life:    func(last uint32) uint32 { return last + 1 },
	}
}

// A scenario bounds what happens. What is 0 does not happen.
type scenario struct {
	name    string
	limit   uint64   // of policy version 1
	amended uint64   // of policy version 2, which each holder hears of by itself
	costs   []uint64 // of charges, which ask for as much
	queued  uint64   // a first ask is for so much more
	windows int
	rolling uint8 // 1: the amount is for both windows together
	debtMax uint64
	moves   budget
	more    budget // what a deep check adds to moves

	onlySafety bool // look for what is admitted beyond the amount, and nothing else
}

func (s *scenario) deepen() {
	for m := range s.moves {
		s.moves[m] += s.more[m]
	}
}

// A move is something that the adversary can do a bounded number of times.
type move int

const (
	charge    move = iota // a charge is admitted
	ask                   // an OpEnsure is proposed
	recall                // the balance goes back
	refund                // a unit is given back
	hold                  // a unit is set aside, and later settled or cancelled
	post                  // post-paid use of a unit
	closeIt               // the holder leaves for good
	lose                  // no answer comes any more
	late                  // an answer comes later
	takeover              // a new tenure begins; the old holder may not know
	crash                 // a holder's memory is lost
	forget                // an idle holding is forgotten
	handOver              // a holder's memory moves to another node, with its tenure
	amend                 // a holder hears of the second policy version
	operator              // a correction is proposed: alternately up and down
	tick                  // time goes on to the next thing that depends on it
	begin                 // an exact request is proposed: a spend, or a hold
	settle                // and is settled
	attempt               // an exact request is proposed whose call other limits decide, too
	concluded             // and is kept, or let go
	joined                // what it costs beside is charged in one of its rounds, or taken back
	restore               // an old backup replaces the pool of the first window, and freezes it
	movesEnd
)

type budget [movesEnd]uint8

func (m move) String() string {
	return [...]string{
		"charge", "ask", "recall", "refund", "hold", "post", "close", "lose", "late", "takeover", "crash",
		"forget", "hand over", "amend", "operator", "tick", "begin", "settle", "attempt", "conclude", "join", "restore",
	}[m]
}

// An actor is one holder: a tenure, with a Holding for each window. It stays when
// it has crashed, since what it admitted does.
type actor struct {
	alive    bool
	tenure   uint64
	policy   uint8 // index of the version that it goes by
	holdings [2]Holding
	truth    [2]truth
}

// A truth is what really happened at one holder in one window.
type truth struct {
	before  uint64 // admitted in lives that were forgotten, net of give-backs
	spent   uint64 // the same in the present life
	holds   uint64 // open, of one unit each
	owed    uint64
	largest uint64 // the largest grant that the ledger made it
	wanted  uint64 // the most that charges waited for at once
	freed   uint64 // by give-backs and ended holds, cumulative
}

func (t *truth) admitted() uint64 { return t.before + t.spent + t.holds }

// told is what the caller of an exact request knows, and what it said that the
// request cost.
type told struct {
	charged uint64
	settled bool
	asked   bool
	cost    uint64
}

// A verdict is what the callers of an exact request know that is to be concluded: in
// which rounds it was charged, in which what it costs beside was, which of them were let go,
// and whether one of them was told that it passed.
type verdict struct {
	rounds, joined, letGo [2]bool
	passed                bool
}

// undecided is the request that is concluded, beside what it costs beside, and their costs.
const (
	undecided     = 2
	undecidedCost = 1
	beside        = 3
	besideCost    = 1
)

type answer struct {
	c Command
	r Result
}

// A world is one state. It is copied for each step: what its slices hold is never
// changed in place, but for the pools' shares, which fork copies.
type world struct {
	time, frozen int64
	rolling      uint8
	tenure       uint64
	pools        [2]Pool
	gone         [2]bool    // its pool was forgotten, or replaced by that of a backup
	version      [2]uint64  // the highest that the log has told the pool
	peak         [2]uint64  // the highest amount recorded, as the check saw it
	requests     [4]Request // of exact mode, in the first window
	told         [2]told    // of the first two
	verdict      verdict    // of the others
	actors       []actor
	bag          []Command
	answers      []answer
	left         budget
	trail        *trail // how it came about; no part of the state
}

// A trail is a history, its last event first.
type trail struct {
	before *trail
	what   string
	tenure uint64
	c      Command
}

func (t *trail) String() string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf("%v\n\t%s %d %s", t.before, t.what, t.tenure, terse(&t.c))
}

// terse writes what differs between the commands of a check.
func terse(c *Command) string {
	if c.Op == 0 {
		return ""
	}
	return fmt.Sprintf("%v tenure %d life %d, window %d, version %d: floor %d target %d total %d cleared %d spent %d correction %d revision %d request %d cost %d",
		c.Op, c.Holder.Tenure, c.Holder.Life, windowIndex(c.Window), c.Version, c.Floor, c.Target, c.Total, c.Cleared, c.Spent, c.Correction, c.Revision, c.Request.Lo, c.Cost)
}

// because adds to how w came about.
func (w *world) because(what string, tenure uint64, c Command) *world {
	w.trail = &trail{w.trail, what, tenure, c}
	return w
}

func (w *world) fork() *world {
	c := *w
	for i := range c.pools {
		c.pools[i].Shares = slices.Clone(c.pools[i].Shares)
	}
	c.actors = slices.Clone(w.actors)
	return &c
}

// windows are two that follow on each other.
func windows(i int) Window {
	return [...]Window{{Start: 100_000, End: 110_000}, {Start: 110_000, End: 120_000}}[i]
}

func windowIndex(w Window) int {
	if w.Start == windows(0).Start {
		return 0
	}
	return 1
}

func (s *scenario) terms(policy uint8) *Terms {
	limits := [...]uint64{s.limit, s.amended}
	return &Terms{Version: uint64(policy) + 1, Limit: limits[policy], MaxDebt: s.debtMax, GrantMax: 8, Horizon: time.Second}
}

// start is the first world: one holder, the first window open; both, if they roll.
func (s *scenario) start() *world {
	return &world{
		time:    1000 * windows(int(s.rolling)).Start,
		rolling: s.rolling,
		tenure:  1,
		actors:  []actor{{alive: true, tenure: 1}},
		left:    s.moves,
	}
}

// window returns window i of w.
func (w *world) window(i int) Window {
	window := windows(i)
	window.Rolling = w.rolling
	return window
}

// A checker visits worlds.
type checker struct {
	machines
	s     *scenario
	group Group // scratch: holds what a world has of it
	seen  map[limiter.Key]struct{}
	next  []*world
	steps int
	found string // the first violation
	buf   []byte
}

// check visits all worlds of s, at most most, and returns how many there are and
// the first violation.
func check(s *scenario, m machines, most int) (states, steps int, found string) {
	k := &checker{machines: m, s: s, seen: map[limiter.Key]struct{}{}}
	k.visit(s.start())
	for len(k.next) > 0 && k.found == "" && len(k.seen) <= most {
		w := k.next[0]
		k.next[0] = nil
		k.next = k.next[1:]
		k.expand(w)
	}
	return len(k.seen), k.steps, k.found
}

// fail notes the first violation.
func (k *checker) fail(format string, args ...any) {
	if k.found == "" {
		k.found = fmt.Sprintf(format, args...)
	}
}

// visit queues w if it is new, after it was judged.
func (k *checker) visit(w *world) {
	k.steps++
	k.buf = w.encode(k.buf[:0])
	id := limiter.NewKeyHasher([16]byte{}).Key(k.buf)
	if _, ok := k.seen[id]; ok {
		return
	}
	k.seen[id] = struct{}{}
	if k.found != "" {
		return
	}
	if k.judge(w); k.found != "" {
		k.found += ", after" + w.trail.String()
	}
	k.next = append(k.next, w)
}

// encode writes all that tells w from other worlds.
func (w *world) encode(b []byte) []byte {
	number := func(numbers ...uint64) {
		for _, v := range numbers {
			b = binary.AppendUvarint(b, v)
		}
	}
	number(uint64(w.time), uint64(w.frozen), w.tenure, w.peak[0], w.peak[1], w.version[0], w.version[1], uint64(len(w.actors)), uint64(len(w.bag)))
	b = append(b, w.left[:]...)
	for i := range w.pools {
		b = w.pools[i].AppendTo(b)
		if w.gone[i] {
			b = append(b, 0xff)
		}
	}
	for i := range w.actors {
		a := &w.actors[i]
		alive := uint64(0)
		if a.alive {
			alive = 1
		}
		number(alive, a.tenure, uint64(a.policy))
		for j := range a.holdings {
			h, t := &a.holdings[j], &a.truth[j]
			number(h.known, h.returned, h.used, h.held, h.debt, h.cleared, h.free, uint64(min(h.seen, 1)), uint64(h.life), uint64(h.state))
			number(t.before, t.spent, t.holds, t.owed, t.largest, t.wanted, t.freed)
		}
	}
	for i := range w.requests {
		b = w.requests[i].AppendTo(b)
	}
	v := &w.verdict
	for _, is := range [...]bool{v.rounds[0], v.rounds[1], v.joined[0], v.joined[1], v.letGo[0], v.letGo[1], v.passed} {
		b = append(b, 0)
		if is {
			b[len(b)-1] = 1
		}
	}
	for i := range w.told {
		number(w.told[i].charged, w.told[i].cost)
		for _, is := range [...]bool{w.told[i].asked, w.told[i].settled} {
			b = append(b, 0)
			if is {
				b[len(b)-1] = 1
			}
		}
	}
	for i := range w.bag {
		b = w.bag[i].AppendTo(b)
	}
	for i := range w.answers {
		b = w.answers[i].r.AppendTo(w.answers[i].c.AppendTo(b))
	}
	return b
}

// propose puts c into the bag, where the adversary finds it.
func (w *world) propose(c Command, window int, tenure uint64) {
	if !c.Op.ofGroup() {
		c.Key, c.Window = limiter.Key{Lo: 1}, w.window(window)
		if c.Op != OpAdjust && !c.Op.exact() {
			c.Holder.Tenure = tenure
		}
	}
	if c.Op == OpEnsure || c.Op == OpReturn {
		c.Spent = 0 // it decides nothing, and would make more worlds of one
	}
	if slices.Contains(w.bag, c) {
		return
	}
	i, _ := slices.BinarySearchFunc(w.bag, c, func(a, b Command) int {
		return strings.Compare(string(a.AppendTo(nil)), string(b.AppendTo(nil)))
	})
	w.bag = slices.Insert(slices.Clone(w.bag), i, c)
}

// applyTo applies c to the log and returns the answer. w is a fork.
func (k *checker) applyTo(w *world, c *Command) (r Result, pool bool) {
	k.group.time, k.group.frozen, k.group.tenures[0] = w.time, w.frozen, w.tenure
	code, _, _ := k.receive(&k.group, c)
	w.frozen, w.tenure = k.group.frozen, k.group.tenures[0]
	if c.Op.ofGroup() || code != OK {
		return Result{Code: code}, false
	}
	i := windowIndex(c.Window)
	p := &w.pools[i]
	p.Beside = k.beside(c.Window, func(near Window) uint64 {
		if near.Start != windows(0).Start && near.Start != windows(1).Start {
			return 0
		}
		return w.pools[windowIndex(near)].Use()
	})
	before := p.Outstanding()
	if c.Op.exact() {
		r = k.decide(p, 0, c, &w.requests[c.Request.Lo])
	} else {
		r = k.apply(p, 0, c)
	}
	w.peak[i] = max(w.peak[i], p.Amount())
	w.version[i] = max(w.version[i], c.Version)
	if after := p.Outstanding(); after > before && c.Op == OpEnsure {
		t := &w.holderOf(c).truth[i]
		t.largest = max(t.largest, after-before)
	}
	return r, true
}

// holderOf returns the newest actor that c is from.
func (w *world) holderOf(c *Command) *actor {
	for i := len(w.actors) - 1; ; i-- {
		if w.actors[i].tenure == c.Holder.Tenure {
			return &w.actors[i]
		}
	}
}

// idempotent applies c once more, to a pool read back from its record.
func (k *checker) idempotent(w *world, p *Pool, c *Command, r Result) {
	if k.s.onlySafety {
		return
	}
	record := p.AppendTo(nil)
	again := Pool{}
	if err := DecodePool(record, &again); err != nil {
		k.fail("I1 %v: a record that can't be read: %v", c.Op, err)
		return
	}
	again.Beside = p.Beside
	request := w.requests[c.Request.Lo]
	var second Result
	if c.Op.exact() {
		second = k.decide(&again, 0, c, &request)
	} else {
		second = k.apply(&again, 0, c)
	}
	if second != r || string(again.AppendTo(nil)) != string(record) {
		k.fail("again: %v answers %+v after %+v", c.Op, second, r)
	}
}

// delivered tells the holder of c about r, if it is still there.
func (k *checker) delivered(w *world, c Command, r Result) {
	if c.Op.ofGroup() || c.Op == OpAdjust {
		return
	}
	if c.Op.exact() {
		w.hear(&c, r)
		return
	}
	if a := w.holderOf(&c); a.alive {
		k.learn(&a.holdings[windowIndex(c.Window)], &c, r)
	}
}

// hear tells the caller of an exact request about r. Once it has said what the
// request cost, it does not count on more.
func (w *world) hear(c *Command, r Result) {
	if c.Request.Lo >= undecided {
		w.verdict.hear(c, r)
		return
	}
	t := &w.told[c.Request.Lo]
	switch {
	case r.Code != OK || t.settled:
	case c.Op == OpSettle:
		t.charged, t.settled = r.Charged, true
	case t.asked:
		t.charged = min(r.Charged, t.cost)
	default:
		t.charged = r.Charged
	}
}

// hear tells a caller: that the request is charged and nothing more, or that it passed,
// by its own conclusion or by that of somebody else in the same round.
func (v *verdict) hear(c *Command, r Result) {
	round := r.Round
	if c.Op != OpPropose {
		round = c.Round
	}
	switch {
	case round >= uint64(len(v.rounds)):
	case c.Request.Lo == beside:
		v.joined[round] = v.joined[round] || c.Op == OpJoin && r.Code == OK
	case r.Sure && round == r.Round:
		v.passed = true
	case c.Op == OpPropose && r.Code == OK:
		v.rounds[round] = true
	case c.Op == OpConclude && (r.Code == OK || r.Round != round):
		v.letGo[round] = true
	}
}

// admitted adds up what was admitted in a window. What callers of exact requests
// were not told, they do not count on.
func (w *world) admitted(i int) (n uint64) {
	if i == 0 {
		n = w.told[0].charged + w.told[1].charged
		if w.verdict.passed {
			n += undecidedCost + besideCost
		}
	}
	for j := range w.actors {
		n += w.actors[j].truth[i].admitted()
	}
	return n
}

// judge holds w to what must hold in every world.
func (k *checker) judge(w *world) {
	if both := w.admitted(0) + w.admitted(1); w.rolling > 0 && both > max(w.peak[0], w.peak[1]) {
		k.fail("I1 %d admitted in windows that share %d", both, max(w.peak[0], w.peak[1]))
	}
	for i := range k.s.windows {
		admitted, p := w.admitted(i), &w.pools[i]
		if admitted > w.peak[i] {
			k.fail("I1 window %d: %d admitted, at most %d were in force", i, admitted, w.peak[i])
		}
		if w.gone[i] || k.s.onlySafety {
			continue
		}
		if p.Outstanding() > p.Peak {
			k.fail("I1 window %d: %d outstanding, at most %d were in force", i, p.Outstanding(), p.Peak)
		}
		if p.Version != w.version[i] || p.Version > 0 && p.Limit != k.s.terms(uint8(p.Version-1)).Limit {
			k.fail("window %d: version %d is in force with %d, the last was %d", i, p.Version, p.Limit, w.version[i])
		}
		if owed := p.Debt(); owed > k.s.debtMax {
			k.fail("window %d: %d owed, at most %d", i, owed, k.s.debtMax)
		}
		for j := range w.actors {
			k.judgeHolding(&w.actors[j], i)
		}
		k.judgeStranding(w, i)
	}
}

// judgeHolding checks what one holder believes against what happened.
func (k *checker) judgeHolding(a *actor, i int) {
	h, t := &a.holdings[i], &a.truth[i]
	if h.used+h.held+h.returned > h.known {
		k.fail("I1 tenure %d, window %d: more used than known: %+v", a.tenure, i, *h)
	}
	if a.alive && !h.is(closed) {
		if h.used != t.spent || h.held != t.holds || h.Owes() != t.owed {
			k.fail("tenure %d, window %d: %+v believed, %+v happened", a.tenure, i, *h, *t)
		}
		if h.Balance() > t.bound() {
			k.fail("I3 tenure %d, window %d: a crash would strand %d: %+v", a.tenure, i, h.Balance(), *t)
		}
	}
}

// bound is what I3 allows a crash to strand, beside holds: a quarter of a grant when
// the next was fetched, and that; or what was fetched for charges that are no more;
// and what give-backs and ended holds set free, which goes back at once.
func (t *truth) bound() uint64 { return max(t.largest+t.largest/4, t.wanted) + t.freed }

// judgeStranding lets everything end from here: all that is under way is applied
// and answered, then every holder that is still there closes. What is outstanding
// then, and was not admitted, is stranded: only crashes may do that.
func (k *checker) judgeStranding(from *world, i int) {
	w := from.fork()
	for _, c := range from.bag {
		if c.Window == w.window(i) && c.Op != OpAdjust && !c.Op.ofGroup() {
			r, _ := k.applyTo(w, &c)
			k.delivered(w, c, r)
		}
	}
	if i == 0 { // who asks again, and is denied by another limit
		last := Command{Op: OpConclude, Window: w.window(0), Request: limiter.Key{Lo: undecided}, Round: w.requests[undecided].Round}
		r, _ := k.applyTo(w, &last)
		if k.delivered(w, last, r); !r.Sure {
			last.Request.Lo = beside
			k.applyTo(w, &last)
		}
	}
	allowed := uint64(0)
	for j := range w.actors {
		a := &w.actors[j]
		if !a.alive {
			allowed += a.truth[i].bound()
			continue
		}
		c := k.close(&a.holdings[i], k.s.terms(a.policy))
		c.Key, c.Window, c.Holder.Tenure = limiter.Key{Lo: 1}, w.window(i), a.tenure
		k.apply(&w.pools[i], 0, &c)
	}
	admitted, out := w.admitted(i), w.pools[i].Outstanding()
	if out < admitted {
		k.fail("I1 window %d: after everybody left the ledger knows of %d, %d were admitted", i, out, admitted)
	}
	if out > admitted+allowed {
		k.fail("I3 window %d: after everybody left %d are outstanding, %d were admitted, crashes may strand %d", i, out, admitted, allowed)
	}
}
