package limiter

import (
	"testing"
	"time"
)

func TestVerdict(t *testing.T) {
	pass := Decision{Verdict: Allowed}
	deny := func(retry time.Duration) Decision { return Decision{Verdict: Denied, RetryAfter: retry} }
	ordinary, shadow, anyOf := &Limit{}, &Limit{Spec: Spec{Shadow: true}}, &Limit{Spec: Spec{AnyOf: true}}
	shadowAnyOf := &Limit{Spec: Spec{Shadow: true, AnyOf: true}}

	type charge struct {
		limit    *Limit
		decision Decision
	}
	tests := []struct {
		name    string
		charges []charge
		want    Verdict
		by      int
	}{
		{"a call without charges is allowed", nil, Allowed, -1},
		{"all charges allowed", []charge{{ordinary, pass}, {ordinary, pass}}, Allowed, -1},
		{"one denial denies", []charge{{ordinary, pass}, {ordinary, deny(5)}}, Denied, 1},
		{"the denial that waits longest decides", []charge{{ordinary, deny(5)}, {ordinary, deny(9)}, {ordinary, deny(7)}}, Denied, 1},
		{"of equal denials the first decides", []charge{{ordinary, deny(5)}, {ordinary, deny(5)}}, Denied, 0},
		{"a denial that never passes waits longest", []charge{{ordinary, deny(Never)}, {ordinary, deny(9)}}, Denied, 0},
		{"a shadow denial does not deny", []charge{{shadow, deny(Never)}, {ordinary, pass}}, Allowed, -1},
		{"a shadow denial does not decide", []charge{{shadow, deny(Never)}, {ordinary, deny(5)}}, Denied, 1},
		{"one alternative that passes is enough", []charge{{anyOf, deny(5)}, {anyOf, pass}}, Allowed, -1},
		{"no alternative passes: the earliest decides", []charge{{anyOf, deny(9)}, {anyOf, deny(5)}, {anyOf, deny(7)}}, Denied, 1},
		{"an ordinary denial denies beside alternatives that pass", []charge{{anyOf, pass}, {ordinary, deny(5)}, {anyOf, deny(9)}}, Denied, 1},
		{"alternatives all denied deny beside an ordinary limit that passes", []charge{{ordinary, pass}, {anyOf, deny(5)}}, Denied, 1},
		{"alternatives that wait longer decide", []charge{{ordinary, deny(5)}, {anyOf, deny(9)}, {anyOf, deny(7)}}, Denied, 2},
		{"an ordinary limit that waits longer decides", []charge{{anyOf, deny(5)}, {ordinary, deny(9)}}, Denied, 1},
		{"a shadow alternative never denies, so not all do", []charge{{anyOf, deny(5)}, {shadowAnyOf, deny(5)}}, Allowed, -1},
		{"only shadow alternatives", []charge{{shadowAnyOf, deny(5)}}, Allowed, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c Call
			for _, ch := range tt.charges {
				c.Add(Charge{Limit: ch.limit, Decision: ch.decision})
			}
			if v, by := c.Verdict(); v != tt.want || by != tt.by {
				t.Errorf("got %v by %d, want %v by %d", v, by, tt.want, tt.by)
			}
		})
	}
}

func TestAddRefusesMoreThanChargesMax(t *testing.T) {
	var c Call
	for i := range ChargesMax {
		if !c.Add(Charge{Cost: uint64(i)}) {
			t.Fatalf("no room for charge %d", i)
		}
	}
	if c.Add(Charge{}) {
		t.Error("one more was taken")
	}
	if n := len(c.Charges()); n != ChargesMax {
		t.Errorf("%d charges", n)
	}
}

func TestRemoveKeepsOrderAndLeavesNothingBehind(t *testing.T) {
	limit := new(Limit)
	for i := range 3 {
		var c Call
		for cost := range uint64(3) {
			c.Add(Charge{Cost: cost, Limit: limit})
		}
		c.Remove(i)
		last := uint64(0)
		for j, ch := range c.Charges() {
			if ch.Cost == uint64(i) || (j > 0 && ch.Cost <= last) {
				t.Errorf("removed %d, left %d at %d", i, ch.Cost, j)
			}
			last = ch.Cost
		}
		if c.charges[2] != (Charge{}) {
			t.Errorf("removed %d, and the call still holds on to a charge", i)
		}
	}
}

func TestRemovePanicsOutOfRange(t *testing.T) {
	for _, i := range []int{-1, 1, 2, ChargesMax} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Remove(%d) of one charge did not panic", i)
				}
			}()
			var c Call
			c.Add(Charge{})
			c.Remove(i)
		}()
	}
}

func TestResetKeepsOnlyDone(t *testing.T) {
	finished := 0
	c := Call{Mode: AllOrNothing, Deadline: 5, Done: func(*Call) { finished++ }}
	c.Add(Charge{Cost: 1, Limit: c.Scratch()})
	c.Reset()
	if c.Mode != ChargeAll || c.Deadline != 0 || len(c.Charges()) != 0 || len(c.overrides) != 0 {
		t.Errorf("left over: %+v", c)
	}
	if c.charges[0] != (Charge{}) {
		t.Error("the call still holds on to a charge")
	}
	if c.Finish(); finished != 1 {
		t.Errorf("Done was called %d times", finished)
	}
}

func TestScratchHandsOutChargesMaxEmptyLimitsThatStay(t *testing.T) {
	var c Call
	for use := range 2 {
		var limits [ChargesMax]*Limit
		for i := range limits {
			l := c.Scratch()
			if l == nil || *l != (Limit{}) {
				t.Fatalf("use %d, limit %d: %+v", use, i, l)
			}
			if err := l.Init(Spec{Kind: KindFixed, Amount: uint64(i), Period: time.Second}); err != nil {
				t.Fatal(err)
			}
			limits[i] = l
		}
		if c.Scratch() != nil {
			t.Error("one more was handed out")
		}
		for i, l := range limits {
			if l.Amount != uint64(i) {
				t.Errorf("limit %d was overwritten: amount %d", i, l.Amount)
			}
		}
		c.Reset()
	}
}

func TestACallWaitsForItsSlowestPace(t *testing.T) {
	pace := &Limit{Spec: Spec{Kind: KindPace}}
	shadow := &Limit{Spec: Spec{Kind: KindPace, Shadow: true}}
	charge := func(l *Limit, v Verdict, wait time.Duration) Charge {
		return Charge{Limit: l, Decision: Decision{Verdict: v, Wait: wait}}
	}
	for _, tt := range []struct {
		name    string
		charges []Charge
		want    time.Duration
	}{
		{"nothing waits", []Charge{charge(pace, Allowed, 0)}, 0},
		{"the longest wait counts", []Charge{charge(pace, Allowed, 2), charge(pace, Allowed, 3), charge(pace, Allowed, 1)}, 3},
		{"nobody waits for a shadow", []Charge{charge(shadow, Allowed, 9), charge(pace, Allowed, 1)}, 1},
		{"a denied call does not wait", []Charge{charge(pace, Allowed, 2), charge(pace, Denied, 0)}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c Call
			for _, ch := range tt.charges {
				c.Add(ch)
			}
			if got := c.Wait(); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
