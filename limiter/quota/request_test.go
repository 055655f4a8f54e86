package quota

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
)

func TestExactMode(t *testing.T) {
	const minute = 60_000
	by := func(op Op, cost uint64) Command {
		return Command{Op: op, Version: 1, Limit: 10, Cost: cost, MaxDebt: 5, Until: 5 * minute, Request: limiter.Key{Lo: 1}}
	}
	spend, hold, settle := by(OpSpend, 4), by(OpHold, 4), func(cost uint64) Command { return by(OpSettle, cost) }
	unnamed, settleUnnamed := spend, settle(0)
	unnamed.Request, settleUnnamed.Request = Unnamed(0, 1), Unnamed(0, 1)
	credited := settle(1)
	credited.Credit = true
	extend := func(until int64) Command { c := by(OpExtend, 0); c.Until = until; return c }
	conclude := func(cost, round uint64) Command { c := by(OpConclude, cost); c.Round = round; return c }
	propose := by(OpPropose, 4)
	join := func(cost, round uint64) Command { c := by(OpJoin, cost); c.Round = round; return c }
	grant := Command{Op: OpEnsure, Holder: owner, Version: 1, Limit: 10, Floor: 5}
	type exact struct {
		at            int64
		c             Command
		code          Code
		charged, owed uint64
		free          uint64
	}
	tests := []struct {
		name  string
		steps []exact
	}{
		{"a request is charged once", []exact{
			{0, spend, OK, 4, 0, 6},
			{1, spend, OK, 4, 0, 6},
		}},
		{"and again when it is forgotten, ten minutes later", []exact{
			{0, spend, OK, 4, 0, 6},
			{10*minute - 1, spend, OK, 4, 0, 6},
			{10 * minute, spend, OK, 4, 0, 2},
		}},
		{"after half a minute, if nobody repeats it", []exact{
			{0, unnamed, OK, 4, 0, 6},
			{minute/2 - 1, unnamed, OK, 4, 0, 6},
			{minute / 2, unnamed, OK, 4, 0, 2},
		}},
		{"half a minute from when it was settled", []exact{
			{0, unnamed, OK, 4, 0, 6},
			{minute/2 - 1, settleUnnamed, OK, 0, 0, 10},
			{minute - 2, settleUnnamed, OK, 0, 0, 10},
			{minute - 1, settleUnnamed, Unknown, 0, 0, 10},
		}},
		{"its id with another cost or operation is an error", []exact{
			{0, spend, OK, 4, 0, 6},
			{1, by(OpSpend, 3), Differs, 4, 0, 6},
			{1, hold, Differs, 4, 0, 6},
		}},
		{"a refusal is not remembered", []exact{
			{0, by(OpSpend, 11), Exhausted, 0, 0, 10},
			{1, by(OpSpend, 10), OK, 10, 0, 0},
		}},
		{"a hold that is settled below frees the rest, once", []exact{
			{0, hold, OK, 4, 0, 6},
			{1, settle(1), OK, 1, 0, 9},
			{2, settle(1), OK, 1, 0, 9},
			{3, settle(0), Differs, 1, 0, 9},
			{4, hold, OK, 1, 0, 9},
		}},
		{"released is settled with nothing", []exact{
			{0, hold, OK, 4, 0, 6},
			{1, settle(0), OK, 0, 0, 10},
		}},
		{"settled above, what fits is charged, and the rest owed up to the largest debt", []exact{
			{0, hold, OK, 4, 0, 6},
			{1, settle(18), OK, 10, 5, 0},
			{2, settle(18), OK, 10, 5, 0},
		}},
		{"a spend may be corrected like a hold", []exact{
			{0, spend, OK, 4, 0, 6},
			{1, settle(3), OK, 3, 0, 7},
		}},
		{"a hold that ended by itself is charged in full", []exact{
			{0, hold, OK, 4, 0, 6},
			{5 * minute, settle(1), OK, 4, 0, 6},
		}},
		{"unless late settlements are credited", []exact{
			{0, hold, OK, 4, 0, 6},
			{5 * minute, credited, OK, 1, 0, 9},
		}},
		{"and later it is not known any more", []exact{
			{0, hold, OK, 4, 0, 6},
			{15 * minute, settle(1), Unknown, 0, 0, 6},
		}},
		{"nor ten minutes after it was settled, however long it was to last", []exact{
			{0, hold, OK, 4, 0, 6},
			{1, settle(1), OK, 1, 0, 9},
			{10 * minute, settle(1), OK, 1, 0, 9},
			{10*minute + 1, settle(1), Unknown, 0, 0, 9},
		}},
		{"a hold can be extended while it is open, by a day at most", []exact{
			{0, hold, OK, 4, 0, 6},
			{1, extend(6 * minute), OK, 4, 0, 6},
			{2, extend(5 * minute), OK, 4, 0, 6},
			{5 * minute, settle(1), OK, 1, 0, 9},
			{6 * minute, extend(9 * minute), Closed, 1, 0, 9},
		}},
		{"not when it has ended", []exact{
			{0, hold, OK, 4, 0, 6},
			{5 * minute, extend(9 * minute), Closed, 4, 0, 6},
		}},
		{"what was never held can't be settled or extended", []exact{
			{0, settle(1), Unknown, 0, 0, 10},
			{0, extend(1), Unknown, 0, 0, 10},
			{0, spend, OK, 4, 0, 6},
			{0, extend(9 * minute), Unknown, 4, 0, 6},
		}},
		{"a spend of nothing says what is free, and leaves no record", []exact{
			{0, by(OpSpend, 0), OK, 0, 0, 10},
			{1, spend, OK, 4, 0, 6},
		}},
		{"and what its request is charged", []exact{
			{0, spend, OK, 4, 0, 6},
			{1, by(OpSpend, 0), Differs, 4, 0, 6},
			{2, settle(1), OK, 1, 0, 9},
			{3, by(OpSpend, 0), Differs, 1, 0, 9},
		}},
		{"what is let go frees its units, and is made again in the next round", []exact{
			{0, propose, OK, 4, 0, 6},
			{1, conclude(0, 0), OK, 0, 0, 10},
			{2, conclude(0, 0), OK, 0, 0, 10},
			{3, conclude(4, 0), Differs, 0, 0, 10},
			{4, by(OpSpend, 0), Differs, 0, 0, 10},
			{5, settle(4), Unknown, 0, 0, 10},
			{6, by(OpPropose, 11), Exhausted, 0, 0, 10},
			{7, by(OpPropose, 5), OK, 5, 0, 5},
			{8, conclude(0, 0), Differs, 5, 0, 5},
			{9, conclude(4, 0), Differs, 5, 0, 5},
			{10, conclude(5, 1), OK, 5, 0, 5},
		}},
		{"what is kept is not let go, and can be given back", []exact{
			{0, propose, OK, 4, 0, 6},
			{0, settle(1), Unknown, 4, 0, 6},
			{1, conclude(4, 0), OK, 4, 0, 6},
			{2, conclude(4, 0), OK, 4, 0, 6},
			{3, conclude(0, 0), Differs, 4, 0, 6},
			{4, propose, OK, 4, 0, 6},
			{5, settle(1), OK, 1, 0, 9},
			{6, propose, OK, 1, 0, 9},
		}},
		{"only what is proposed or joined is concluded", []exact{
			{0, conclude(4, 0), Unknown, 0, 0, 10},
			{1, hold, OK, 4, 0, 6},
			{2, conclude(0, 0), Unknown, 4, 0, 6},
			{3, join(4, 0), Differs, 4, 0, 6},
			{4, propose, Differs, 4, 0, 6},
		}},
		{"what is proposed when it was forgotten has rounds that it never had", []exact{
			{1000, propose, OK, 4, 0, 6},
			{2000, conclude(0, 1<<roundBits), OK, 0, 0, 10},
			{2000 + 10*minute, propose, OK, 4, 0, 6},
			{2001 + 10*minute, conclude(4, 1<<roundBits+1), Differs, 4, 0, 6},
			{2002 + 10*minute, conclude(4, 602<<roundBits), OK, 4, 0, 6},
		}},
		{"what joins is charged once in a round, and a later one takes its place", []exact{
			{0, join(4, 7), OK, 4, 0, 6},
			{1, join(4, 7), OK, 4, 0, 6},
			{2, join(3, 7), Differs, 4, 0, 6},
			{3, join(9, 8), OK, 9, 0, 1},
			{4, join(4, 7), Closed, 9, 0, 1},
			{5, conclude(0, 7), Differs, 9, 0, 1},
			{6, conclude(9, 8), Differs, 9, 0, 1},
		}},
		{"what joins and does not fit leaves nothing of an earlier round", []exact{
			{0, join(4, 7), OK, 4, 0, 6},
			{1, join(11, 8), Exhausted, 0, 0, 10},
			{2, join(11, 8), Exhausted, 0, 0, 10},
			{3, join(4, 8), OK, 4, 0, 6},
		}},
		{"who leaves a round leaves all before, and what joins them late is refused", []exact{
			{0, conclude(0, 9), Unknown, 0, 0, 10},
			{1, join(4, 7), OK, 4, 0, 6},
			{2, conclude(0, 9), OK, 0, 0, 10},
			{3, conclude(0, 9), OK, 0, 0, 10},
			{4, join(4, 8), Closed, 0, 0, 10},
			{5, join(4, 9), Closed, 0, 0, 10},
			{6, settle(1), Unknown, 0, 0, 10},
			{7, join(5, 10), OK, 5, 0, 5},
			{8, settle(1), OK, 1, 0, 9},
			{9, join(5, 10), OK, 1, 0, 9},
		}},
		{"both modes share the amount", []exact{
			{0, grant, OK, 0, 0, 5},
			{1, by(OpSpend, 6), Exhausted, 0, 0, 5},
			{2, by(OpSpend, 5), OK, 5, 0, 0},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p Pool
			var q Request
			for i, s := range tt.steps {
				if !s.c.Op.exact() {
					p.Apply(s.at, &s.c)
					continue
				}
				record, request := string(p.AppendTo(nil)), q
				foreseen, ok := p.Foresee(s.at, &s.c, q)
				got := p.Decide(s.at, &s.c, &q)
				if got.Code != s.code || got.Charged != s.charged || got.Owed != s.owed || got.Free != s.free {
					t.Fatalf("step %d, %v: got %+v, want %+v", i, s.c.Op, got, s)
				}
				if ok && (foreseen != got || string(p.AppendTo(nil)) != record || q != request) {
					t.Errorf("step %d, %v: foreseen was %+v", i, s.c.Op, foreseen)
				}
				if back, err := DecodeRequest(q.AppendTo(nil)); q.Op != 0 && (err != nil || back != q) {
					t.Errorf("step %d, %v: %+v is read as %+v, %v", i, s.c.Op, q, back, err)
				}
				if s.code == Differs && !ok {
					t.Errorf("step %d, %v: what changes nothing needs the log", i, s.c.Op)
				}
			}
		})
	}
	var p Pool
	var q Request
	far := hold
	far.Until = 1000 * TimeMax
	if p.Decide(7, &far, &q); q.Until != 7+24*60*minute {
		t.Errorf("a hold lasts until %d", q.Until)
	}
}

// A group whose node was off catches up, by a time that passes twice as fast as clocks do.
func TestARequestIsRememberedForItsTimeWhileTheGroupCatchesUp(t *testing.T) {
	type made struct {
		q  Request
		at int64 // what a clock showed then
	}
	rapid.Check(t, func(t *rapid.T) {
		moment := int64(1_800_000_000_000) // what a clock shows, Unix milliseconds
		var g Group
		g.Advance(moment)
		var s Stamper
		var requests []made
		now := limiter.Instant(1)
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 9).Draw(t, "what") == 0 {
				moment += rapid.Int64Range(0, 2*rememberFor).Draw(t, "is off for")
				s, now = Stamper{}, 1
				s.Applied(now, g.Time(), g.Clock())
			}
			run := rapid.Int64Range(0, rememberFor/8).Draw(t, "runs for")
			moment, now = moment+run, now.Add(time.Duration(run)*time.Millisecond)
			s.Applied(now, g.Time(), g.Clock())
			s.Agree(now, moment)
			at, ahead, _ := s.Stamp(now, moment)
			g.Begin(&Batch{At: at, Ahead: ahead})
			for _, r := range requests {
				long := int64(rememberFor)
				if r.q.Unasked {
					long = rememberUnasked
				}
				if moment-r.at < long && r.q.Forgotten(g.Time()) {
					t.Fatalf("%+v is forgotten after %d ms", r.q, moment-r.at)
				}
				if g.Time()-r.at >= 2*long && !r.q.Forgotten(g.Time()) {
					t.Fatalf("%+v is remembered after %d ms of the group's", r.q, g.Time()-r.at)
				}
			}
			c := Command{Op: OpSpend, Version: 1, Limit: 100, Cost: 1, Request: Named(limiter.Key{Lo: uint64(i)})}
			if rapid.Bool().Draw(t, "nobody repeats it") {
				c.Request = Unnamed(0, uint64(i))
			}
			r, p := made{at: moment}, Pool{Behind: g.Clock() - g.Time()}
			p.Decide(g.Time(), &c, &r.q)
			if rapid.Bool().Draw(t, "it is settled") {
				c.Op = OpSettle
				p.Decide(g.Time(), &c, &r.q)
			}
			requests = append(requests, r)
		}
	})
}

// TestExactModeAgreesWithItsCallers lets callers repeat what they ask, in any order,
// and adds up what they were told.
func TestExactModeAgreesWithItsCallers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Uint64Range(0, 12).Draw(t, "limit")
		var p Pool
		requests, told := map[limiter.Key]*Request{}, map[limiter.Key]Result{}
		settled := map[limiter.Key]bool{}
		for at := range int64(rapid.IntRange(1, 50).Draw(t, "commands")) {
			id := limiter.Key{Lo: rapid.Uint64Range(1, 5).Draw(t, "request")}
			c := Command{
				Op: OpHold, Version: 1, Limit: limit, Cost: id.Lo, Until: 1000, Request: id,
				MaxDebt: 3, Correction: 0,
			}
			if rapid.Bool().Draw(t, "settle") {
				c.Op, c.Cost = OpSettle, rapid.Uint64Range(0, 7).Draw(t, "cost")
			}
			if requests[id] == nil {
				requests[id] = &Request{}
			}
			before, known := told[id]
			r := p.Decide(at, &c, requests[id])
			switch {
			case c.Op == OpHold && known && (r.Code != OK || r.Charged != before.Charged):
				t.Fatalf("repeated: %+v, then %+v", before, r)
			case c.Op == OpSettle && settled[id] && r.Charged != before.Charged:
				t.Fatalf("settled twice: %+v, then %+v", before, r)
			}
			if r.Code == OK {
				told[id] = r
				settled[id] = settled[id] || c.Op == OpSettle
			}
			charged, owed := uint64(0), uint64(0)
			for _, r := range told {
				charged, owed = charged+r.Charged, owed+r.Owed
			}
			if charged != p.Outstanding() || charged > limit || owed != p.Debt() || owed > 3 {
				t.Fatalf("callers know of %d and %d, the pool of %d and %d, of %d", charged, owed, p.Outstanding(), p.Debt(), limit)
			}
			if q, err := DecodeRequest(requests[id].AppendTo(nil)); requests[id].Op != 0 && (err != nil || q != *requests[id]) {
				t.Fatalf("%+v is read as %+v, %v", *requests[id], q, err)
			}
		}
	})
}
