package consensus

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// A seat is a group as spreading sees it.
type seat struct {
	group  uint32
	leader string
	takers []Server // voters other than the leader that could lead it
}

// move returns the group that self should give away, and to whom: one of those
// that it leads, to the voter that leads fewest, if that voter leads at least two
// fewer. Every such move makes the spread more even, so that moving ends.
func move(self string, seats []seat) (group uint32, to Server, ok bool) {
	leads := map[string]int{}
	for _, s := range seats {
		leads[s.leader]++
	}
	for _, s := range seats {
		if s.leader != self || len(s.takers) == 0 {
			continue
		}
		taker := slices.MinFunc(s.takers, func(a, b Server) int {
			return cmp.Or(cmp.Compare(leads[a.ID], leads[b.ID]), cmp.Compare(a.ID, b.ID))
		})
		if leads[taker.ID] <= leads[self]-2 && (!ok || leads[taker.ID] < leads[to.ID]) {
			group, to, ok = s.group, taker, true
		}
	}
	return group, to, ok
}

// takers returns the voters that could lead the group instead of this node: none
// if it does not lead it, and none that is silent.
func (g *group) takers() (takers []Server) {
	if !g.leads() {
		return nil
	}
	for _, v := range g.voters() {
		if v.ID != g.cfg.ID && g.hears(v.ID) {
			takers = append(takers, v)
		}
	}
	return takers
}

// spread gives a group away every SpreadInterval, as long as that evens leadership
// out. The jitter keeps nodes from giving to the same taker at the same time.
func (n *Node) spread() {
	for {
		quarter := n.cfg.SpreadInterval / 4
		jitter := time.Duration(rand.Int64N(int64(2*quarter) + 1)) //nolint:gosec // it only spreads moves over time
		if !pause(n.ctx, n.cfg.SpreadInterval-quarter+jitter) {
			return
		}
		seats := make([]seat, 0, len(n.groups))
		for _, g := range n.groups {
			seats = append(seats, seat{group: g.id, leader: g.leader().ID, takers: g.takers()})
		}
		if id, to, ok := move(n.cfg.ID, seats); ok {
			n.cfg.Events.handed(id, to, n.groups[id].transfer(n.ctx, to))
		}
	}
}
