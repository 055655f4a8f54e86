package quota

import (
	"reflect"
	"testing"

	"github.com/headgate/headgate/limiter"
)

// A step is a command for a pool, or the group before it, and what it answers.
type step struct {
	c    Command
	want answered
}

// answered is what a Result says of pools and holders.
type answered struct {
	Code                                           Code
	Granted, Returned, Free, Limit, Debt, Revision uint64
}

func (a answered) result() Result {
	return Result{Code: a.Code, Granted: a.Granted, Returned: a.Returned, Free: a.Free, Limit: a.Limit, Debt: a.Debt, Revision: a.Revision}
}

func of(tenure uint64, life uint32) Holder { return Holder{Partition: 7, Tenure: tenure, Life: life} }

func ensure(h Holder, floor, target uint64) Command {
	return Command{Op: OpEnsure, Key: key, Window: month, Holder: h, Version: 1, Limit: 10, Floor: floor, Target: target}
}

func giveBack(h Holder, total uint64) Command {
	return Command{Op: OpReturn, Key: key, Window: month, Holder: h, Version: 1, Limit: 10, Total: total}
}

func closing(h Holder, spent uint64) Command {
	return Command{Op: OpClose, Key: key, Window: month, Holder: h, Version: 1, Limit: 10, Spent: spent}
}

func debt(h Holder, total, cleared uint64) Command {
	return Command{Op: OpDebt, Key: key, Window: month, Holder: h, Version: 1, Limit: 10, Total: total, Cleared: cleared, MaxDebt: 5}
}

func adjust(correction int64, revision uint64) Command {
	return Command{Op: OpAdjust, Key: key, Window: month, Version: 1, Limit: 10, Correction: correction, Revision: revision}
}

func TestPool(t *testing.T) {
	a, b := of(1, 0), of(2, 0)
	second := func(c Command) Command { c.Version, c.Limit = 2, 4; return c }
	tests := []struct {
		name  string
		steps []step
		want  Pool // Shares compared when set
	}{
		{"a grant is at best its target", []step{
			{ensure(a, 1, 4), answered{OK, 4, 0, 6, 10, 0, 0}},
		}, Pool{}},
		{"a grant is raised to its target, within the amount", []step{
			{ensure(a, 1, 40), answered{OK, 10, 0, 0, 10, 0, 0}},
		}, Pool{}},
		{"a target below the floor means the floor", []step{
			{ensure(a, 3, 0), answered{OK, 3, 0, 7, 10, 0, 0}},
		}, Pool{}},
		{"less than the floor is not granted", []step{
			{ensure(a, 8, 8), answered{OK, 8, 0, 2, 10, 0, 0}},
			{ensure(a, 11, 20), answered{Exhausted, 8, 0, 2, 10, 0, 0}},
			{ensure(a, 10, 20), answered{OK, 10, 0, 0, 10, 0, 0}},
		}, Pool{}},
		{"a command again, or a late one, changes nothing", []step{
			{ensure(a, 5, 5), answered{OK, 5, 0, 5, 10, 0, 0}},
			{ensure(a, 5, 9), answered{OK, 5, 0, 5, 10, 0, 0}},
			{giveBack(a, 2), answered{OK, 5, 2, 7, 10, 0, 0}},
			{giveBack(a, 2), answered{OK, 5, 2, 7, 10, 0, 0}},
			{giveBack(a, 1), answered{OK, 5, 2, 7, 10, 0, 0}},
			{ensure(a, 1, 1), answered{OK, 5, 2, 7, 10, 0, 0}},
		}, Pool{}},
		{"units that were not granted can't come back", []step{
			{giveBack(a, 1), answered{Unknown, 0, 0, 10, 10, 0, 0}},
			{closing(a, 1), answered{Unknown, 0, 0, 10, 10, 0, 0}},
			{ensure(a, 2, 2), answered{OK, 2, 0, 8, 10, 0, 0}},
			{giveBack(a, 3), answered{Unknown, 2, 0, 8, 10, 0, 0}},
			{closing(a, 3), answered{Unknown, 2, 0, 8, 10, 0, 0}},
		}, Pool{}},
		{"a close gives back what was not spent, once, and ends grants", []step{
			{ensure(a, 6, 6), answered{OK, 6, 0, 4, 10, 0, 0}},
			{giveBack(a, 1), answered{OK, 6, 1, 5, 10, 0, 0}},
			{closing(a, 2), answered{OK, 6, 4, 8, 10, 0, 0}},
			{closing(a, 2), answered{OK, 6, 4, 8, 10, 0, 0}},
			{giveBack(a, 3), answered{OK, 6, 4, 8, 10, 0, 0}},
			{ensure(a, 7, 7), answered{Closed, 6, 4, 8, 10, 0, 0}},
		}, Pool{Shares: []Share{{Holder: a, Granted: 6, Returned: 4, Closed: true}}}},
		{"what a closed holder had spent comes back once, and no more than that", []step{
			{ensure(a, 6, 6), answered{OK, 6, 0, 4, 10, 0, 0}},
			{closing(a, 5), answered{OK, 6, 1, 5, 10, 0, 0}},
			{giveBack(a, 0), answered{OK, 6, 1, 5, 10, 0, 0}},
			{giveBack(a, 4), answered{OK, 6, 4, 8, 10, 0, 0}},
			{giveBack(a, 4), answered{OK, 6, 4, 8, 10, 0, 0}},
			{closing(a, 5), answered{OK, 6, 4, 8, 10, 0, 0}},
			{giveBack(a, 7), answered{Unknown, 6, 4, 8, 10, 0, 0}},
			{ensure(a, 7, 7), answered{Closed, 6, 4, 8, 10, 0, 0}},
		}, Pool{Shares: []Share{{Holder: a, Granted: 6, Returned: 4, Closed: true}}}},
		{"a close of one that was granted nothing keeps a late grant out", []step{
			{closing(a, 0), answered{OK, 0, 0, 10, 10, 0, 0}},
			{ensure(a, 1, 1), answered{Closed, 0, 0, 10, 10, 0, 0}},
		}, Pool{}},
		{"what a lost tenure held stays granted, and a newer one gets the rest", []step{
			{ensure(a, 3, 3), answered{OK, 3, 0, 7, 10, 0, 0}},
			{ensure(b, 1, 9), answered{OK, 7, 0, 0, 10, 0, 0}},
			{ensure(a, 4, 4), answered{Fenced, 3, 0, 0, 10, 0, 0}},
			{giveBack(a, 2), answered{OK, 3, 2, 2, 10, 0, 0}},
			{closing(a, 0), answered{OK, 3, 3, 3, 10, 0, 0}},
		}, Pool{}},
		{"a new life counts what the old one kept as spent", []step{
			{ensure(a, 3, 3), answered{OK, 3, 0, 7, 10, 0, 0}},
			{ensure(of(1, 1), 1, 1), answered{OK, 1, 0, 6, 10, 0, 0}},
			{ensure(a, 4, 4), answered{Fenced, 0, 0, 6, 10, 0, 0}},
			{giveBack(a, 3), answered{Unknown, 0, 0, 6, 10, 0, 0}},
		}, Pool{Past: Past{Outstanding: 3}, Shares: []Share{{Holder: of(1, 1), Granted: 1}}}},
		{"holders beyond the bound are merged, the oldest first", []step{
			{ensure(of(1, 0), 1, 1), answered{OK, 1, 0, 9, 10, 0, 0}},
			{ensure(of(2, 0), 1, 1), answered{OK, 1, 0, 8, 10, 0, 0}},
			{ensure(of(3, 0), 1, 1), answered{OK, 1, 0, 7, 10, 0, 0}},
			{ensure(of(4, 0), 1, 1), answered{OK, 1, 0, 6, 10, 0, 0}},
			{ensure(of(5, 0), 1, 1), answered{OK, 1, 0, 5, 10, 0, 0}},
			{giveBack(of(1, 0), 1), answered{Unknown, 0, 0, 5, 10, 0, 0}},
			{giveBack(of(2, 0), 1), answered{OK, 1, 1, 6, 10, 0, 0}},
		}, Pool{}},
		{"the highest version's amount counts, whatever comes later", []step{
			{ensure(a, 6, 6), answered{OK, 6, 0, 4, 10, 0, 0}},
			{second(ensure(a, 7, 7)), answered{Exhausted, 6, 0, 0, 4, 0, 0}},
			{ensure(a, 7, 7), answered{Exhausted, 6, 0, 0, 4, 0, 0}},
			{second(giveBack(a, 3)), answered{OK, 6, 3, 1, 4, 0, 0}},
		}, Pool{}},
		{"a correction is added to the amount, if its revision is the last", []step{
			{ensure(a, 10, 10), answered{OK, 10, 0, 0, 10, 0, 0}},
			{adjust(3, 0), answered{OK, 0, 0, 3, 13, 0, 1}},
			{adjust(3, 0), answered{OK, 0, 0, 3, 13, 0, 1}},
			{adjust(4, 0), answered{Conflict, 0, 0, 3, 13, 0, 1}},
			{adjust(-20, 1), answered{OK, 0, 0, 0, 0, 0, 2}},
			{adjust(3, 0), answered{Conflict, 0, 0, 0, 0, 0, 2}},
			{adjust(0, 2), answered{OK, 0, 0, 0, 10, 0, 3}},
		}, Pool{}},
		{"what is owed is served before new grants", []step{
			{ensure(a, 9, 9), answered{OK, 9, 0, 1, 10, 0, 0}},
			{debt(a, 3, 0), answered{OK, 9, 0, 0, 10, 3, 0}},
			{debt(a, 3, 0), answered{OK, 9, 0, 0, 10, 3, 0}},
			{giveBack(a, 2), answered{OK, 9, 2, 0, 10, 3, 0}},
			{giveBack(a, 3), answered{OK, 9, 3, 1, 10, 3, 0}},
			{debt(a, 3, 2), answered{OK, 9, 3, 3, 10, 1, 0}},
			{debt(a, 3, 1), answered{OK, 9, 3, 3, 10, 1, 0}},
		}, Pool{}},
		{"no more is owed than the largest debt, by all together", []step{
			{debt(a, 4, 0), answered{OK, 0, 0, 6, 10, 4, 0}},
			{debt(b, 4, 0), answered{OK, 0, 0, 5, 10, 5, 0}},
			{debt(a, 4, 2), answered{OK, 0, 0, 7, 10, 3, 0}},
			{debt(b, 4, 0), answered{OK, 0, 0, 5, 10, 5, 0}},
			{debt(b, 9, 9), answered{OK, 0, 0, 8, 10, 2, 0}},
		}, Pool{}},
		{"a holder that is outlived and unknown owes nothing", []step{
			{ensure(b, 1, 1), answered{OK, 1, 0, 9, 10, 0, 0}},
			{debt(a, 1, 0), answered{Unknown, 0, 0, 9, 10, 0, 0}},
			{closing(a, 0), answered{OK, 0, 0, 9, 10, 0, 0}},
		}, Pool{Shares: []Share{{Holder: b, Granted: 1}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p Pool
			for i, s := range tt.steps {
				answer, ok := p.Answer(&s.c)
				before := p.AppendTo(nil)
				if got := p.Apply(int64(i+1), &s.c); got != s.want.result() {
					t.Fatalf("step %d, %v: got %+v, want %+v", i, s.c.Op, got, s.want)
				}
				if ok && (answer != s.want.result() || string(before) != string(p.AppendTo(nil))) {
					t.Errorf("step %d, %v: answered without the log %+v, and then %+v", i, s.c.Op, answer, s.want)
				}
				if s.c.Op == OpEnsure && s.want.Code != OK && s.c.Version <= 1 && !ok {
					t.Errorf("step %d: a refusal that changes nothing needs the log", i)
				}
			}
			if tt.want.Shares != nil && (!reflect.DeepEqual(p.Shares, tt.want.Shares) || p.Past != tt.want.Past) {
				t.Errorf("got %+v, %+v", p.Past, p.Shares)
			}
		})
	}
}

func TestPoolRemembersItsPeakAndItsLastChange(t *testing.T) {
	var p Pool
	for i, c := range []Command{ensure(of(1, 0), 1, 1), adjust(5, 0), adjust(-5, 1), ensure(of(1, 0), 1, 1)} {
		p.Apply(int64(10+i), &c)
	}
	if p.Peak != 15 || p.Changed != 12 {
		t.Errorf("peak %d, changed %d, want 15 and 12", p.Peak, p.Changed)
	}
}

func TestGroup(t *testing.T) {
	day := Window{Start: 864_000, End: 950_400} // opens 10 min before, purged 48 h after
	hour := Window{Start: 864_000, End: 867_600}
	c := func(op Op, w Window, h Holder) Command { return Command{Op: op, Window: w, Holder: h} }
	tests := []struct {
		name string
		at   int64 // Unix seconds
		c    Command
		want Code
	}{
		{"a day opens 10 minutes before it starts", day.Start - 601, c(OpEnsure, day, of(3, 0)), Early},
		{"and then is granted from", day.Start - 600, c(OpEnsure, day, of(3, 0)), OK},
		{"an hour opens 6 minutes before it starts", hour.Start - 360, c(OpEnsure, hour, of(3, 0)), OK},
		{"a lower tenure is refused grants", hour.Start - 360, c(OpEnsure, hour, of(2, 9)), Fenced},
		{"but may give back", hour.Start - 360, c(OpReturn, hour, of(2, 0)), OK},
		{"another partition has tenures of its own", hour.Start - 360, c(OpEnsure, hour, Holder{Partition: 8, Tenure: 1}), OK},
		{"a fence raises the tenure", hour.Start, c(OpFence, Window{}, of(4, 0)), OK},
		{"from then on", hour.Start, c(OpEnsure, hour, of(3, 0)), Fenced},
		{"a fence that is late lowers nothing", hour.Start, c(OpFence, Window{}, of(1, 0)), OK},
		{"as before", hour.Start, c(OpEnsure, hour, of(3, 0)), Fenced},
		{"time does not go back", day.Start - 86_400, c(OpEnsure, day, of(4, 0)), OK},
		{"a window that ended is granted from until it is forgotten", day.End + 48*3600 - 1, c(OpEnsure, day, of(4, 0)), OK},
		{"and then is not", day.End + 48*3600, c(OpEnsure, day, of(4, 0)), Purged},
		{"nor given back to", day.End + 48*3600, c(OpReturn, day, of(4, 0)), Purged},
		{"a month is kept for two months", month.End + 2*(month.End-month.Start) - 1, c(OpEnsure, month, of(4, 0)), OK},
		{"a freeze stops grants from windows that had begun", month.Start, c(OpFreeze, month, Holder{}), OK},
		{"from then on, from that very window", month.Start, c(OpEnsure, month, of(4, 0)), Frozen},
		{"but it may be given back to", month.Start, c(OpReturn, month, of(4, 0)), OK},
		{"a freeze that is late thaws nothing", month.Start, c(OpFreeze, day, Holder{}), OK},
		{"as it was", month.Start, c(OpEnsure, month, of(4, 0)), Frozen},
		{"the window after it is granted from", month.End, c(OpEnsure, month.Near(1), of(4, 0)), OK},
	}
	var g Group
	for _, tt := range tests {
		g.Advance(1000 * tt.at)
		foreseen := g.Refuses(&tt.c)
		got, raised, head := g.Receive(&tt.c)
		if got != tt.want || foreseen != tt.want {
			t.Errorf("%s: got %v, foreseen %v, want %v", tt.name, got, foreseen, tt.want)
		}
		if raised && g.Tenure(tt.c.Holder.Partition) != tt.c.Holder.Tenure {
			t.Errorf("%s: raised to %d", tt.name, g.Tenure(tt.c.Holder.Partition))
		}
		if head && tt.c.Op != OpFreeze {
			t.Errorf("%s: the head changed", tt.name)
		}
		restored := Group{tenures: g.tenures}
		if err := restored.DecodeHead(g.AppendHead(nil)); err != nil || restored != g {
			t.Fatalf("%s: read as %+v, %v", tt.name, restored, err)
		}
	}
	if g.Tenure(7) != 4 || g.Tenure(8) != 1 || g.Tenure(9) != 0 || g.Time() != 1000*(month.End+2*(month.End-month.Start)-1) {
		t.Errorf("tenures %d, %d, %d, time %d", g.Tenure(7), g.Tenure(8), g.Tenure(9), g.Time())
	}
}

func TestStamper(t *testing.T) {
	const day, year = 86_400_000, 365 * 86_400_000
	var s Stamper
	check := func(name string, nowMS, wall, want int64, suspect bool) {
		t.Helper()
		now := 1_000_000*100 + 1_000_000*limiter.Instant(nowMS)
		at, ahead, got := s.Stamp(now, wall)
		if at+ahead != want || got != suspect {
			t.Errorf("%s: stamped %d + %d, %v, want %d, %v", name, at, ahead, got, want, suspect)
		}
		s.Applied(now, at, at+ahead)
	}
	check("before anybody was asked no time passes", 0, 5*day, 0, true)
	s.Agree(1_000_000*100, 5*day)
	check("then it is the wall's", 0, 5*day, 5*day, false)
	check("a little ahead", 0, 5*day+1000, 5*day+1000, false)
	check("at most a second", 0, 5*day+1001, 5*day+1000, true)
	check("and 2 %", 100_000, 5*day+103_000, 5*day+103_000, false)
	check("a year ahead", 200_000, 5*day+year, 5*day+205_000, true)
	check("and back again", 300_000, 5*day+300_000, 5*day+300_000, false)
	check("never behind the group's time", 300_000, 4*day, 5*day+300_000, false)
	s.Agree(1_000_000*100+1_000_000*limiter.Instant(300_000), 6*day)
	check("if a majority has got further, so may the stamps", 300_000, 6*day, 6*day, false)
	s.Agree(1_000_000*100+1_000_000*limiter.Instant(300_000), 5*day)
	check("if it has not, the clock waits for it", 300_000, 7*day, 6*day, true)
	check("which goes back when it is set back", 301_000, 5*day+302_000, 5*day+302_000, false)
}

func TestMajority(t *testing.T) {
	tests := []struct {
		name   string
		clocks []int64
		voters int
		want   int64
		ok     bool
	}{
		{"one of one", []int64{5}, 1, 5, true},
		{"one of three is none", []int64{5}, 3, 0, false},
		{"two of three", []int64{9, 5}, 3, 5, true},
		{"one is far ahead", []int64{1000, 5, 6}, 3, 6, true},
		{"one is far behind", []int64{1, 5, 6}, 3, 5, true},
		{"two of four is none", []int64{5, 6}, 4, 0, false},
		{"three of four", []int64{5, 6, 7}, 4, 5, true},
	}
	for _, tt := range tests {
		if got, ok := Majority(tt.clocks, tt.voters); got != tt.want || ok != tt.ok {
			t.Errorf("%s: got %d, %v, want %d, %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

func TestWhatALostHolderMayNotHaveSpentIsStranded(t *testing.T) {
	told := func(c Command, spent uint64) Command { c.Limit, c.Spent = 100, spent; return c }
	lost := func(tenures uint64) func(Holder) bool { return func(h Holder) bool { return h.Tenure <= tenures } }
	var p Pool
	steps := []struct {
		name     string
		c        Command
		lost     uint64 // the highest tenure that is
		stranded uint64
	}{
		{"all that was granted, while nothing is told", told(ensure(of(1, 1), 10, 10), 0), 1, 10},
		{"what was spent when the next units were asked for", told(ensure(of(1, 1), 11, 20), 9), 1, 11},
		{"a late command tells nothing new", told(ensure(of(1, 1), 5, 5), 3), 1, 11},
		{"what was given back and told then", told(giveBack(of(1, 1), 4), 14), 1, 2},
		{"a holder that is there strands nothing", told(ensure(of(2, 1), 10, 10), 0), 1, 2},
		{"the next one is lost, too", told(ensure(of(3, 1), 4, 4), 0), 2, 12},
		{"one that closed has told everything", told(closing(of(2, 1), 3), 3), 3, 6},
		{"a fourth", told(ensure(of(4, 1), 1, 1), 0), 3, 6},
		{"the oldest is not told apart any more", told(ensure(of(5, 1), 1, 1), 0), 4, 7},
		{"nor the next", told(ensure(of(6, 1), 1, 1), 0), 5, 8},
	}
	for _, s := range steps {
		before := p.Outstanding()
		if r := p.Apply(1, &s.c); r.Code != OK {
			t.Fatalf("%s: %v", s.name, r.Code)
		}
		var again Pool
		if err := DecodePool(p.AppendTo(nil), &again); err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("%s: %+v is read as %+v, %v", s.name, p, again, err)
		}
		if got := p.Stranded(lost(s.lost)); got != s.stranded || got > p.Outstanding() {
			t.Errorf("%s: %d, want %d, of %d and %d before", s.name, got, s.stranded, p.Outstanding(), before)
		}
	}
}

func TestUseThatIsWaivedIsAddedToTheAmount(t *testing.T) {
	var p Pool
	apply := func(c Command) Result { return p.Apply(1, &c) }
	apply(ensure(of(1, 1), 10, 10))
	waive := adjust(-2, 0)
	waive.Waived = 10
	for range 2 { // the second one was done before
		if r := apply(waive); r.Code != OK || r.Limit != 18 || r.Free != 8 || r.Revision != 1 {
			t.Fatalf("%+v", r)
		}
	}
	other := waive
	other.Waived = 9
	if r := apply(other); r.Code != Conflict {
		t.Errorf("another one of the same revision: %+v", r)
	}
	other = adjust(-100, 1)
	other.Waived = 9
	if r := apply(other); r.Code != OK || r.Limit != 9 || r.Free != 0 || p.Peak != 18 {
		t.Errorf("what is waived stays, however much is taken: %+v", r)
	}
}
