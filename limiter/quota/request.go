package quota

import (
	"encoding/binary"

	"github.com/headgate/headgate/limiter"
)

const (
	// rememberFor is how long a request is remembered after it last changed, or its
	// hold ended without being settled, in milliseconds: 10 minutes.
	rememberFor = 600_000
	// rememberUnasked is the same for a spend that nobody can ask about again (see
	// [Unnamed]): 30 seconds, in which its sender settles it if the answer was lost.
	rememberUnasked = 30_000
	// roundBits are those of a [Request.Round] that count rounds of one life, and roundMax
	// bounds it.
	roundBits = 20
	roundMax  = TimeMax<<roundBits | (1<<roundBits - 1)
	// holdMax bounds how long a hold lasts from when it was made or extended, in
	// milliseconds: 24 hours.
	holdMax = 24 * 3600 * 1000
)

// They are part of the replicated state machine, as those of a [Window] are.

// RequestsMax bounds the requests that a group remembers. Its leader holds to it:
// it answers [Busy] before it proposes an OpSpend or OpHold beyond it.
const RequestsMax = 1 << 20

// Named returns the name of a request that a caller may repeat, whose id has the hash
// k: it is even.
func Named(k limiter.Key) limiter.Key { return limiter.Key{Hi: k.Hi &^ 1, Lo: k.Lo} }

// Unnamed returns the name of a request that nobody repeats, made of random bits: it
// is odd. A spend under it is remembered for half a minute.
func Unnamed(hi, lo uint64) limiter.Key { return limiter.Key{Hi: hi | 1, Lo: lo} }

// LifeOf returns what the rounds of a request have in common from when it was first
// proposed until it is forgotten, and with no round of it before or after.
func LifeOf(round uint64) uint64 { return round >> roundBits }

// A Request is what the ledger records of one request of exact mode, under the name
// of its pool and its id. The zero Request is one that was never made.
type Request struct {
	Op      Op     // OpSpend, OpHold, OpPropose or OpJoin
	Cost    uint64 // as it was asked
	Charged uint64 // what counts now
	Owed    uint64 // what did not fit when it was settled
	Changed int64  // when it last changed, Unix milliseconds, and what the time may gain: see change
	Until   int64  // OpHold: when it ends by itself, charged in full, Unix milliseconds
	Settled bool
	Final   uint64 // what it was settled with
	Unasked bool   // an OpSpend that nobody repeats: see Unnamed

	// What OpConclude made of an OpPropose or OpJoin. One that was let go may be made again, in
	// a later round; one that is sure can't be let go any more. The first round of an OpPropose
	// says when it was, in seconds, above what counts the rounds: see LifeOf.
	LetGo, Sure bool
	Round       uint64
}

// Kept returns until when q is remembered, in Unix milliseconds.
func (q *Request) Kept() int64 {
	kept := q.Changed + q.remember()
	if q.Op == OpHold && !q.Settled {
		kept = max(kept, q.Until+rememberFor)
	}
	return kept
}

// remember returns for how long q is remembered after it changed, in milliseconds.
func (q *Request) remember() int64 {
	if q.Unasked {
		return rememberUnasked
	}
	return rememberFor
}

// change notes that q changed at the group's time at, which was behind its clock by so
// much. In the time that q is remembered the group's gains on the clock at most that, and
// at most as much again, since it passes at most twice as fast: see [Stamper].
func (q *Request) change(at, behind int64) { q.Changed = at + min(behind, q.remember()) }

// Forgotten reports whether q means nothing any more at the group's time at: it
// may be deleted. An unsettled hold stays charged in full.
func (q *Request) Forgotten(at int64) bool {
	return q.Op != 0 && at >= q.Kept()
}

// Decide applies a command of exact mode, where the decision is the entry, as Apply
// does the others. q is the record of c.Request, the zero Request if there is none;
// it is changed, and to be stored if its Op is not 0 then. A request that was
// refused leaves no record, so it may be made again.
func (p *Pool) Decide(at int64, c *Command, q *Request) Result {
	changed := p.adopt(c)
	if q.Forgotten(at) {
		*q = Request{}
	}
	code, did := Unknown, false
	switch c.Op {
	case OpSpend, OpHold, OpPropose:
		code, did = p.begin(at, c, q)
	case OpSettle:
		code, did = p.settle(at, c, q)
	case OpExtend:
		code, did = p.extend(at, c, q)
	case OpConclude:
		code, did = p.conclude(at, c, q)
	case OpJoin:
		code, did = p.join(at, c, q)
	default:
	}
	p.touch(at, changed || did)
	r := p.result(code, c)
	r.Charged, r.Owed, r.Round, r.Sure = q.Charged, q.Owed, q.Round, q.Sure
	return r
}

// Foresee returns what Decide would, if c would change nothing: see [Pool.Answer].
func (p *Pool) Foresee(at int64, c *Command, q Request) (Result, bool) {
	after, request := *p, q
	r := after.Decide(at, c, &request)
	same := after.Exact == p.Exact && after.Version == p.Version && request == q
	return r, same
}

func (p *Pool) begin(at int64, c *Command, q *Request) (Code, bool) {
	round := uint64(0)
	switch {
	case c.Op == OpPropose && q.Op == 0:
		round = uint64(at/1000) << roundBits
	case c.Op == q.Op && q.LetGo:
		round = min(q.Round+1, roundMax)
	case q.Op == c.Op && q.Cost == c.Cost:
		return OK, false // done before, whatever became of it
	case q.Op != 0:
		return Differs, false
	}
	switch {
	case c.Op == OpSpend && c.Cost == 0:
		return OK, false // it only looks, and leaves no record
	}
	return p.charge(at, c, q, round)
}

// charge charges c, if there is as much, and records it.
func (p *Pool) charge(at int64, c *Command, q *Request, round uint64) (Code, bool) {
	if c.Cost > p.Free() {
		return Exhausted, false
	}
	p.Exact.Charged += c.Cost
	*q = Request{Op: c.Op, Cost: c.Cost, Charged: c.Cost, Round: round}
	switch c.Op {
	case OpHold:
		q.Until = min(c.Until, at+holdMax)
	case OpSpend:
		q.Unasked = c.Request.Hi&1 == 1
	default:
	}
	q.change(at, p.Behind)
	return OK, true
}

// join charges c in its round, instead of what an earlier one charged: that was let go, or
// there would be no later one.
func (p *Pool) join(at int64, c *Command, q *Request) (Code, bool) {
	switch {
	case q.Op == 0:
		return p.charge(at, c, q, c.Round)
	case q.Op != OpJoin:
		return Differs, false
	case c.Round < q.Round, c.Round == q.Round && q.LetGo:
		return Closed, false
	case c.Round > q.Round:
		left := !q.LetGo
		if left {
			p.letGo(q)
			q.change(at, p.Behind)
		}
		code, did := p.charge(at, c, q, c.Round)
		return code, did || left
	case q.Cost != c.Cost:
		return Differs, false
	}
	return OK, false
}

// letGo takes back what a request is charged.
func (p *Pool) letGo(q *Request) {
	p.Exact.Charged -= q.Charged
	q.Charged, q.LetGo = 0, true
}

func (p *Pool) settle(at int64, c *Command, q *Request) (Code, bool) {
	switch {
	case q.Op == 0 || q.LetGo || q.Op == OpPropose && !q.Sure:
		return Unknown, false
	case q.Settled && q.Final == c.Cost:
		return OK, false
	case q.Settled:
		return Differs, false
	}
	late := q.Op == OpHold && at >= q.Until
	q.Settled, q.Final = true, c.Cost
	q.change(at, p.Behind)
	switch {
	case c.Cost > q.Charged:
		p.exceed(c, q)
	case !late || c.Credit:
		p.Exact.Charged -= q.Charged - c.Cost
		q.Charged = c.Cost
	}
	return OK, true
}

// conclude keeps what a request is charged, or lets go of it.
func (p *Pool) conclude(at int64, c *Command, q *Request) (Code, bool) {
	keep := c.Cost > 0
	switch {
	case q.Op == OpJoin:
		return p.leave(at, c, q)
	case q.Op != OpPropose:
		return Unknown, false
	case c.Round != q.Round:
		return Differs, false // that round was let go
	case q.Sure || q.LetGo:
		if q.Sure != keep {
			return Differs, false
		}
		return OK, false
	case keep:
		q.Sure = true
	default:
		p.letGo(q)
	}
	q.change(at, p.Behind)
	return OK, true
}

// leave lets go of what a request joined in the round of c or before. What joins late is
// refused then.
func (p *Pool) leave(at int64, c *Command, q *Request) (Code, bool) {
	switch {
	case c.Cost > 0 || c.Round < q.Round:
		return Differs, false
	case q.LetGo && c.Round == q.Round:
		return OK, false
	}
	p.letGo(q)
	q.Round = c.Round
	q.change(at, p.Behind)
	return OK, true
}

// exceed charges what a request cost more than it had asked for: what does not fit
// is owed, up to the largest debt.
func (p *Pool) exceed(c *Command, q *Request) {
	more := c.Cost - q.Charged
	fits := min(more, p.Free())
	p.Exact.Charged += fits
	q.Charged += fits
	if debt := p.Debt(); debt < c.MaxDebt {
		q.Owed = min(more-fits, c.MaxDebt-debt)
		p.Exact.Owed += q.Owed
	}
}

func (p *Pool) extend(at int64, c *Command, q *Request) (Code, bool) {
	until := min(c.Until, at+holdMax)
	switch {
	case q.Op != OpHold:
		return Unknown, false
	case q.Settled || at >= q.Until:
		return Closed, false
	case until <= q.Until:
		return OK, false
	}
	q.Until = until
	q.change(at, p.Behind)
	return OK, true
}

// Flags of a record.
const (
	flagSettled = 1 << iota
	flagUnasked
	flagSure
	flagLetGo
	flagsEnd
)

// AppendTo appends the record to b as
//
//	version(1) op(1) cost charged owed changed until flags final
//
// where all from cost on are varints; flag 1 is Settled, 2 Unasked, 4 Sure, 8 LetGo, and
// what is above is Round.
func (q *Request) AppendTo(b []byte) []byte {
	b = append(b, format, byte(q.Op))
	flags := flagsEnd * q.Round
	for i, set := range [...]bool{q.Settled, q.Unasked, q.Sure, q.LetGo} {
		if set {
			flags |= flagSettled << i
		}
	}
	for _, v := range [...]uint64{q.Cost, q.Charged, q.Owed, uint64(q.Changed), uint64(q.Until), flags, q.Final} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

// DecodeRequest reads a whole record. Errors wrap [ErrVersion] or [ErrMalformed].
func DecodeRequest(b []byte) (Request, error) {
	r := reader{b: b}
	r.version("request")
	q := Request{Op: Op(r.octet("op"))}
	if r.err == nil && !q.Op.Begins() {
		r.fail("op=%d: must be %d, %d, %d or %d", q.Op, OpSpend, OpHold, OpPropose, OpJoin)
	}
	q.Cost = r.uint("cost", limiter.CostMax)
	q.Charged = r.uint("charged", limiter.CostMax)
	q.Owed = r.uint("owed", limiter.AmountMax)
	q.Changed = int64(r.uint("changed", 1000*TimeMax))
	q.Until = int64(r.uint("until", 1000*TimeMax))
	flags := r.uint("flags", flagsEnd*roundMax+flagsEnd-1)
	q.Settled, q.Unasked = flags&flagSettled != 0, flags&flagUnasked != 0
	q.Sure, q.LetGo, q.Round = flags&flagSure != 0, flags&flagLetGo != 0, flags/flagsEnd
	q.Final = r.uint("final", limiter.CostMax)
	if err := r.end(); err != nil {
		return Request{}, err
	}
	return q, nil
}
