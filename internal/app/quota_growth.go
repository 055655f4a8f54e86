package app

import (
	"sync/atomic"
	"time"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/storage/ledger"
)

// doubtOver is how long it takes to have all counters of a group asked for again.
const doubtOver = time.Second

// quotaGrowth passes on to what the node holds that units became free in the ledgers. It
// is told by those of all groups, since every entry is applied here.
type quotaGrowth struct {
	holdings atomic.Pointer[holdings.Holdings] // nil before there are any: nothing is remembered then
	doubted  atomic.Uint32                     // groups whose state was replaced, a bit each

	// What follows belongs to pace.
	groups uint8 // groups that are being gone through
	part   int   // the next one
}

// grown is told by a ledger in which pools units became free.
func (g *quotaGrowth) grown(list []ledger.Growth) {
	h := g.holdings.Load()
	if h == nil {
		return
	}
	for i := range list {
		h.Grow(list[i].Key, list[i].Window, list[i].Free)
	}
}

// replaced is told by the ledger of a group that a snapshot took the place of its state.
func (g *quotaGrowth) replaced(group uint32) { g.doubted.Or(1 << group) }

// pace goes on with what is doubted; it is called every tendEvery.
func (g *quotaGrowth) pace(h *holdings.Holdings) {
	const parts = holdings.Parts * int(tendEvery) / int(doubtOver)
	for range parts + 1 {
		if g.part == 0 {
			g.groups = uint8(g.doubted.Swap(0))
		}
		if g.groups == 0 {
			return
		}
		h.Doubt(g.part, g.groups)
		g.part = (g.part + 1) % holdings.Parts
	}
}
