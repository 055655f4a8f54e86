//go:build !race

// The race detector makes regexp's sync.Pool forget at random.

package policy

import (
	"testing"

	"github.com/headgate/headgate/limiter"
)

func TestMatchingAllocatesNothing(t *testing.T) {
	s := compiled(t, everything)
	r := everyRequest(t)
	var c limiter.Call
	match := func() {
		c.Reset()
		if s.Foresee(r) {
			t.Fatal("a small policy has far tags")
		}
		if o := s.Match(r, &c); o != Matched {
			t.Fatal(o)
		}
	}
	match()
	if n := len(c.Charges()); n < 9 {
		t.Fatalf("only %d charges", n)
	}
	if n := testing.AllocsPerRun(1000, match); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMatchingACarriedLimitAllocatesNothing(t *testing.T) {
	s := compiled(t, carriers3)
	var r Request
	var c limiter.Call
	name, key := []byte("api_users"), []byte("account:1")
	match := func() {
		r.Reset()
		c.Reset()
		r.SetCarried(name, key, limiter.OpCharge, 1, Carried{Kind: limiter.KindRate, Amount: 5, Calendar: UnitMonth, At: overrideNow, Restart: true})
		if o := s.Match(&r, &c); o != Matched || len(c.Charges()) != 2 {
			t.Fatal(o)
		}
	}
	match()
	if n := testing.AllocsPerRun(1000, match); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
