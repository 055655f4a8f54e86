package holdings_test

import (
	"testing"
	"time"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
)

// domains has quotas of so many domains installed, of which each has one.
func (n *node) domains(t *testing.T, names ...string) {
	t.Helper()
	n.quotas = nil
	for _, name := range names {
		l := limit(1000)
		l.Domain, l.ID, l.Def = name, limiter.LimitID{name[0]}, limiter.DefHash(name[0])
		n.quotas = append(n.quotas, holdings.Quota{Limit: l, When: daily(t)})
	}
	n.Install(1, n.quotas)
}

// many charges so many new keys of domain i and returns how many were allowed; the others
// have to be denied for want of room, as why says.
func (n *node) many(t *testing.T, i int, from, count uint64, why limiter.Degraded) (allowed int) {
	t.Helper()
	for key := from; key < from+count; key++ {
		c := &limiter.Call{Done: func(*limiter.Call) {}}
		c.Add(limiter.Charge{Key: limiter.Key{Lo: key}, Limit: n.quotas[i].Limit, Cost: 1})
		n.Decide(n.now, c)
		n.ledger.run()
		switch d := c.Charges()[0].Decision; {
		case d.Verdict == limiter.Allowed:
			allowed++
		case d.Degraded != why:
			t.Fatalf("key %d: %+v, want %v", key, d, why)
		}
	}
	return allowed
}

func TestOneDomainFillsItsShareOfTheCounters(t *testing.T) {
	n := newNode(t, limit(1000), func(c *holdings.Config) { c.CountersMax, c.ShareMax = 100, 0.3 })
	n.domains(t, "alone")
	if got := n.many(t, 0, 0, 10, 0); got != 10 {
		t.Fatal(got)
	}
	n.domains(t, "alone", "busy")
	if got := n.many(t, 1, 1000, 50, limiter.ShareFull); got != 30 {
		t.Errorf("%d counters of a domain whose share is 30", got)
	}
	if got := n.many(t, 0, 10, 50, limiter.ShareFull); got != 20 {
		t.Errorf("%d counters of another one, which had 10 before", got)
	}
	if got := n.many(t, 1, 1000, 30, 0); got != 30 {
		t.Errorf("%d counters that are there are asked for again", got)
	}
	if st := n.Stats(); st.ShareFull != 50 || st.Refused != 0 || st.Counters != 60 {
		t.Errorf("%+v", st)
	}

	// A policy that has the domain no more, and then has it again.
	n.domains(t, "alone")
	n.domains(t, "alone", "busy")
	if got := n.many(t, 1, 2000, 5, limiter.ShareFull); got != 0 {
		t.Errorf("%d counters after a policy without the domain", got)
	}
	n.now = n.now.Add(15 * time.Minute)
	for range 4 {
		n.tendAll(n.ledger.run)
	}
	if st := n.Stats(); st.Counters != 0 {
		t.Fatalf("%+v", st)
	}
	if got := n.many(t, 1, 2000, 50, limiter.ShareFull); got != 30 {
		t.Errorf("%d counters when the others are forgotten", got)
	}
}

func TestADomainThatIsAloneFillsAllCounters(t *testing.T) {
	n := newNode(t, limit(1000), func(c *holdings.Config) { c.CountersMax, c.ShareMax = 100, 0.3 })
	n.domains(t, "alone")
	if got := n.many(t, 0, 0, 150, limiter.TableFull); got != 100 {
		t.Errorf("%d counters of 100", got)
	}
	if st := n.Stats(); st.Refused != 50 || st.ShareFull != 0 {
		t.Errorf("%+v", st)
	}
}
