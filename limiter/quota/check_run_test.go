package quota

import (
	"flag"
	"strings"
	"testing"
	"time"
)

// go test ./limiter/quota -run EveryHistory -args -deep explores larger bounds.
var deep = flag.Bool("deep", false, "check histories with larger bounds")

// scenarios are checked whole. What more a deep check allows comes on top.
func scenarios() []scenario {
	return []scenario{
		{
			name: "lost, repeated and late commands", limit: 2, costs: []uint64{1, 2}, windows: 1, queued: 1,
			moves: budget{charge: 2, ask: 3, recall: 1, lose: 1, late: 1},
			more:  budget{charge: 1, lose: 1, takeover: 1},
		},
		{
			name: "crashes and tenures", limit: 2, costs: []uint64{1}, windows: 1,
			moves: budget{charge: 3, ask: 3, recall: 1, crash: 1, takeover: 1},
			more:  budget{ask: 1, late: 1},
		},
		{
			name: "give-back", limit: 2, costs: []uint64{1}, windows: 1, queued: 1,
			moves: budget{charge: 3, ask: 2, refund: 2, recall: 1, crash: 1},
			more:  budget{charge: 1, ask: 1, closeIt: 1},
		},
		{
			name: "holds", limit: 2, costs: []uint64{1}, windows: 1, queued: 1, debtMax: 1,
			moves: budget{charge: 1, ask: 2, hold: 2, recall: 1, closeIt: 1},
			more:  budget{ask: 1, refund: 1, crash: 1},
		},
		{
			name: "debt", limit: 1, costs: []uint64{1}, windows: 1, debtMax: 2,
			moves: budget{charge: 1, ask: 2, post: 3, refund: 1, recall: 1},
			more:  budget{charge: 1, takeover: 1, late: 1},
		},
		{
			name: "debt of two tenures", limit: 1, costs: []uint64{1}, windows: 1, debtMax: 1,
			moves: budget{charge: 1, ask: 2, post: 2, takeover: 1},
			more:  budget{charge: 1, refund: 1, ask: 1, post: 1},
		},
		{
			name: "the amount is raised", limit: 1, amended: 3, costs: []uint64{1, 2}, windows: 1,
			moves: budget{charge: 2, ask: 3, amend: 1, takeover: 1},
			more:  budget{charge: 1, amend: 1, ask: 1, late: 1, recall: 1},
		},
		{
			name: "the amount is lowered", limit: 3, amended: 1, costs: []uint64{1, 2}, windows: 1,
			moves: budget{charge: 2, ask: 3, amend: 1, takeover: 1},
			more:  budget{charge: 1, amend: 1, ask: 1, late: 1, recall: 1},
		},
		{
			name: "corrections", limit: 1, costs: []uint64{1}, windows: 1,
			moves: budget{charge: 3, ask: 3, operator: 3, recall: 1},
			more:  budget{ask: 1, crash: 1, late: 1},
		},
		{
			name: "rollover, and windows that are forgotten", limit: 1, costs: []uint64{1}, windows: 2,
			moves: budget{charge: 2, ask: 3, tick: 3, takeover: 1},
			more:  budget{charge: 1, recall: 1, crash: 1},
		},
		{
			name: "sub-windows of a quota that rolls", limit: 2, costs: []uint64{1}, windows: 2, rolling: 1,
			moves: budget{charge: 3, ask: 3, recall: 1, lose: 1},
			more:  budget{ask: 1, crash: 1, refund: 1},
		},
		{
			name: "a counter is forgotten and comes back", limit: 2, costs: []uint64{1}, windows: 1,
			moves: budget{charge: 2, ask: 3, closeIt: 1, forget: 2, lose: 1, refund: 1},
			more:  budget{charge: 1, closeIt: 1, recall: 1, late: 1},
		},
		{
			name: "a counter of one unit is forgotten", limit: 1, costs: []uint64{1}, windows: 1,
			moves: budget{charge: 2, ask: 3, closeIt: 1, forget: 2, lose: 1, refund: 1},
			more:  budget{charge: 1, closeIt: 1, recall: 1, late: 1},
		},
		{
			name: "exact mode beside holders", limit: 3, costs: []uint64{1}, windows: 1, debtMax: 1,
			moves: budget{begin: 2, settle: 2, charge: 1, ask: 1},
			more:  budget{settle: 1, charge: 1, ask: 1, recall: 1, late: 1},
		},
		{
			name: "exact calls that other limits decide, too", limit: 2, costs: []uint64{1}, windows: 1,
			moves: budget{attempt: 2, joined: 3, concluded: 3, charge: 1, ask: 1},
			more:  budget{concluded: 1, charge: 1, recall: 1, late: 1},
		},
		{
			name: "moves to another node", limit: 2, costs: []uint64{1}, windows: 1, debtMax: 1,
			moves: budget{charge: 2, ask: 2, hold: 1, recall: 1, post: 1, handOver: 2},
			more:  budget{charge: 1, late: 1},
		},
		{
			name: "a restored backup", limit: 1, costs: []uint64{1}, windows: 2,
			moves: budget{charge: 2, ask: 3, recall: 1, restore: 1, takeover: 1},
			more:  budget{charge: 1, tick: 1, crash: 1},
		},
	}
}

func TestEveryHistoryOfASmallQuotaIsSafe(t *testing.T) {
	most := 100_000
	switch {
	case *deep:
		most = 20_000_000
	case testing.Short():
		most = 5000 // the first of them
	}
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			if *deep {
				s.deepen()
			}
			began := time.Now()
			states, steps, found := check(&s, realMachines(), most)
			t.Logf("%d states, %d steps, %v", states, steps, time.Since(began))
			if found != "" {
				t.Error(found)
			}
			if states > most && !testing.Short() {
				t.Errorf("there are more than %d states: not all were visited", most)
			}
		})
	}
}

// TestTheCheckFindsBrokenMachines breaks one thing at a time: a check that can't fail
// proves nothing.
func TestTheCheckFindsBrokenMachines(t *testing.T) {
	genuine := realMachines()
	refusing := func(code Code) func(m *machines) { // not any more
		return func(m *machines) {
			m.receive = func(g *Group, c *Command) (Code, bool, bool) {
				got, raised, head := genuine.receive(g, c)
				if got == code {
					got = OK
				}
				return got, raised, head
			}
		}
	}
	applying := func(op Op, change func(p *Pool, c *Command)) func(m *machines) {
		return func(m *machines) {
			m.apply = func(p *Pool, at int64, c *Command) Result {
				changed := *c
				if c.Op == op {
					change(p, &changed)
				}
				return genuine.apply(p, at, &changed)
			}
		}
	}
	own := func(p *Pool, c *Command) Share {
		if i, ok := p.find(c.Holder); ok {
			return p.Shares[i]
		}
		return Share{}
	}
	tests := []struct {
		name     string
		scenario string
		breaks   func(m *machines)
		want     string // what the finding begins with
	}{
		{"a repeated grant adds up", "lost, repeated and late commands", applying(OpEnsure, func(p *Pool, c *Command) {
			granted := own(p, c).Granted
			c.Floor, c.Target = granted+1, granted+1
		}), "again"},
		{"a repeated return adds up", "lost, repeated and late commands", applying(OpReturn, func(p *Pool, c *Command) {
			s := own(p, c)
			c.Total = min(s.Granted, s.Returned+c.Total)
		}), "I1"},
		{"a repeated debt adds up", "debt", applying(OpDebt, func(p *Pool, c *Command) { c.Total += own(p, c).Debt }), "again"},
		{"other holders' grants are not counted", "crashes and tenures", func(m *machines) {
			m.apply = func(p *Pool, at int64, c *Command) Result {
				alone := *p
				alone.Shares = nil
				if s := own(p, c); s.Granted > 0 {
					alone.Shares = []Share{s}
				}
				r := genuine.apply(&alone, at, c)
				if s := own(&alone, c); s.Granted > 0 {
					*p.share(c.Holder) = s
				}
				p.Version, p.Limit, p.Peak = alone.Version, alone.Limit, alone.Peak
				return r
			}
		}, "I1"},
		{"an older version comes back", "the amount is raised", applying(OpEnsure, func(p *Pool, c *Command) { p.Version = c.Version - 1 }), "window"},
		{"a holder that closed gets late grants", "a counter is forgotten and comes back", applying(OpEnsure, func(p *Pool, c *Command) {
			if i, ok := p.find(c.Holder); ok {
				p.Shares[i].Closed = false
			}
		}), "I3"},
		{"units are spent that were given back", "lost, repeated and late commands", func(m *machines) {
			m.recall = func(h *Holding, t *Terms) (Command, bool) {
				before := h.returned
				c, ok := h.Recall(t)
				h.returned = before
				return c, ok
			}
		}, "I1"},
		{"units are spent after the close", "a counter of one unit is forgotten", func(m *machines) {
			m.close = func(h *Holding, t *Terms) Command {
				c := h.Close(t)
				h.state &^= closed
				return c
			}
		}, "I1"},
		{"answers add up", "lost, repeated and late commands", func(m *machines) {
			m.learn = func(h *Holding, c *Command, r Result) {
				r.Granted += h.known
				h.Learn(c, r)
			}
		}, "I1"},
		{"the last answer counts, not the latest", "lost, repeated and late commands", func(m *machines) {
			m.learn = func(h *Holding, c *Command, r Result) {
				h.known = r.Granted
				h.Learn(c, r)
			}
		}, "I1"},
		{"more is refunded than was spent", "give-back", func(m *machines) {
			m.refund = func(h *Holding, units uint64) uint64 {
				if h.used == 0 {
					h.known += units
				} else {
					h.used -= units
				}
				return 0
			}
		}, "I1"},
		{"a settlement is credited twice", "holds", func(m *machines) {
			m.commit = func(h *Holding, units, cost uint64, t *Terms) (owed, lost uint64) {
				owed, lost = h.Commit(units, cost, t)
				h.used -= min(h.used, units)
				return owed, lost
			}
		}, "tenure"},
		{"sub-windows that roll count only what is before them", "sub-windows of a quota that rolls", func(m *machines) {
			m.beside = func(w Window, used func(Window) uint64) uint64 { return used(w.Near(-1)) }
		}, "I1"},
		{"an exact request is charged again", "exact mode beside holders", func(m *machines) {
			m.decide = func(p *Pool, at int64, c *Command, q *Request) Result {
				if c.Op != OpSettle {
					*q = Request{}
				}
				return genuine.decide(p, at, c, q)
			}
		}, "again"},
		{"an exact request is credited twice", "exact mode beside holders", func(m *machines) {
			m.decide = func(p *Pool, at int64, c *Command, q *Request) Result {
				r := genuine.decide(p, at, c, q)
				if c.Op == OpSettle && r.Code == OK && p.Exact.Charged > 0 {
					p.Exact.Charged--
				}
				return r
			}
		}, "I1"},
		{"what was kept is let go", "exact calls that other limits decide, too", func(m *machines) {
			m.decide = func(p *Pool, at int64, c *Command, q *Request) Result {
				if c.Op == OpConclude {
					q.Sure = false
				}
				return genuine.decide(p, at, c, q)
			}
		}, "I1"},
		{"what was let go is kept, in a later round", "exact calls that other limits decide, too", func(m *machines) {
			m.decide = func(p *Pool, at int64, c *Command, q *Request) Result {
				if c.Op == OpConclude && c.Cost > 0 && c.Round == q.Round && q.LetGo {
					q.Sure = true
				}
				r := genuine.decide(p, at, c, q)
				return r
			}
		}, "I1"},
		{"what has joined a round that was kept leaves one before", "exact calls that other limits decide, too", func(m *machines) {
			m.decide = func(p *Pool, at int64, c *Command, q *Request) Result {
				if late := *c; c.Op == OpConclude && q.Op == OpJoin {
					late.Round = q.Round
					return genuine.decide(p, at, &late, q)
				}
				return genuine.decide(p, at, c, q)
			}
		}, "I1"},
		{"what joins a later round is charged in the earlier one, too", "exact calls that other limits decide, too", func(m *machines) {
			m.decide = func(p *Pool, at int64, c *Command, q *Request) Result {
				if c.Op == OpJoin && c.Round > q.Round {
					*q = Request{}
				}
				return genuine.decide(p, at, c, q)
			}
		}, "I3"},
		{"a tenure is used again after its memory was lost", "crashes and tenures", func(m *machines) {
			m.tenure = func(last uint64) uint64 { return last }
		}, "I1"},
		{"a life is used again after it was forgotten", "a counter of one unit is forgotten", func(m *machines) {
			m.life = func(last uint32) uint32 { return last }
		}, "I1"},
		{"a window is granted from again after it was forgotten", "rollover, and windows that are forgotten", refusing(Purged), "I1"},
		{"a restored window is granted from", "a restored backup", refusing(Frozen), "I1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := genuine
			tt.breaks(&m)
			for _, s := range scenarios() {
				if s.name != tt.scenario {
					continue
				}
				s.onlySafety = tt.want == "I1"
				states, _, found := check(&s, m, 100_000)
				if found == "" || !strings.HasPrefix(found, tt.want) {
					t.Fatalf("%d states, found %q, want %q", states, found, tt.want)
				}
				return
			}
			t.Fatalf("no scenario %q", tt.scenario)
		})
	}
}
