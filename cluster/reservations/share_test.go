package reservations_test

import (
	"testing"

	"github.com/headgate/headgate/cluster/reservations"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/hold"
)

// TestOneDomainLeavesTheOthersRoom: what is beyond a domain's share is denied and charges
// nothing, and others are served.
func TestOneDomainLeavesTheOthersRoom(t *testing.T) {
	n := newNode(t, func(c *reservations.Config) { c.Max, c.ShareMax = 4, 0.5 })
	if b := n.Bounds(); b != (hold.Bounds{Max: 4, Share: 2}) {
		t.Fatalf("%+v", b)
	}
	name := uint64(0)
	reserve := func(domain string, alone bool, limits ...*limiter.Limit) (*limiter.Call, hold.Outcome) {
		name++
		c := n.call()
		for _, l := range limits {
			c.Add(limiter.Charge{Limit: l, Key: limiter.Key{Lo: uint64(l.Kind)}, Cost: 1})
		}
		_, o := n.Reserve(n.wait(), n.now, c, hold.Ask{ID: id(name), Lifetime: lifetime, Domain: domain, Alone: alone}, func() []byte { return nil })
		return c, o
	}
	made := func(domain string, alone bool) {
		t.Helper()
		if c, o := reserve(domain, alone, n.window); o != hold.Done || verdict(c) != limiter.Allowed {
			t.Fatalf("%s: outcome %d, %+v", domain, o, c.Charges()[0].Decision)
		}
	}
	denied := func(domain string, why limiter.Degraded) {
		t.Helper()
		before := n.left()
		c, o := reserve(domain, false, n.window)
		if d := c.Charges()[0].Decision; o != hold.Done || d.Verdict != limiter.Denied || d.Degraded != why || d.RetryAfter <= 0 {
			t.Errorf("%s: outcome %d, %+v", domain, o, d)
		}
		if after := n.left(); after != before {
			t.Errorf("%s: %v were left, and then %v", domain, before, after)
		}
	}
	made("a", false)
	made("a", false)
	denied("a", limiter.ReservationShareFull)
	if _, o := reserve("a", false); o != hold.ShareFull { // no limit applies, so that nothing can deny it
		t.Errorf("without a limit: outcome %d", o)
	}
	made("b", false)
	n.after(lifetime) // what has expired is remembered, and takes room
	denied("a", limiter.ReservationShareFull)
	made("a", true) // there is no other domain any more
	denied("c", limiter.ReservationsFull)
	n.after(hold.RememberFor)
	made("a", false)

	if s := n.Stats(); s.ShareFull != 3 || s.Refused != 1 || s.Domains["a"].ShareFull != 3 || s.Domains["c"].Refused != 1 || s.Domains["a"].Expired != 3 {
		t.Errorf("%+v", s)
	}
}
