package quota

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestWhatIsLeftCanBeSpentWhenTheFaultsAreOver drives a holder through a random
// history in which proposals are lost, answered late, and repeated, and its tenure
// ends in crashes. Then nothing fails any more: of the amount, all is spent but what
// the crashes stranded.
func TestWhatIsLeftCanBeSpentWhenTheFaultsAreOver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms := terms()
		terms.Limit = rapid.Uint64Range(1, 3000).Draw(t, "limit")
		var (
			p               Pool
			h               Holding
			now             = noon
			tenure, spent   = uint64(1), uint64(0)
			allowed         uint64 // what crashes may have stranded
			largest, wanted uint64 // of the present tenure
			freed           uint64
			old             []Command
		)
		apply := func(c Command) (Command, Result) {
			before := p.Outstanding()
			c.Holder.Tenure = max(1, c.Holder.Tenure)
			r := p.Apply(1, &c)
			if c.Holder.Tenure == tenure && p.Outstanding() > before {
				largest = max(largest, p.Outstanding()-before)
			}
			return c, r
		}
		propose := func(c Command, ok bool) {
			if !ok {
				return
			}
			c.Holder.Tenure = tenure
			old = append(old, c)
			switch rapid.SampledFrom([]string{"answered", "answered", "unanswered", "lost"}).Draw(t, "fate") {
			case "answered":
				c, r := apply(c)
				h.Learn(&c, r)
			case "unanswered":
				apply(c)
				h.Lost(&c)
			default:
				h.Lost(&c)
			}
		}
		for range rapid.IntRange(0, 120).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond)
			switch rapid.SampledFrom([]string{"charge", "charge", "charge", "refund", "surplus", "repeat", "crash"}).Draw(t, "event") {
			case "charge":
				cost := rapid.Uint64Range(1, 40).Draw(t, "cost")
				if h.Spend(now, cost, &terms) == Short {
					wanted = max(wanted, cost)
					propose(h.Need(now, cost, cost, &terms))
				} else if h.Spend(now, 0, &terms) == Admitted {
					propose(h.Need(now, 0, 0, &terms))
				}
			case "refund":
				units := rapid.Uint64Range(1, 40).Draw(t, "units")
				freed += units - h.Refund(units)
				propose(h.Surplus(now, &terms))
			case "surplus":
				propose(h.Surplus(now, &terms))
			case "repeat":
				if len(old) > 0 {
					apply(old[rapid.IntRange(0, len(old)-1).Draw(t, "which")])
				}
			case "crash":
				spent += h.Used()
				allowed += max(largest+largest/4, wanted) + freed
				h, largest, wanted, freed = Holding{}, 0, 0, 0
				tenure++
			}
		}
		// From here on all goes well.
		for _, c := range old {
			apply(c)
		}
		if c, ok := h.Surplus(now, &terms); ok { // what it has not been told was returned, and with it what a late command granted
			c.Holder.Tenure = tenure
			c, r := apply(c)
			h.Learn(&c, r)
		}
		for range 4 * terms.Limit {
			outcome := h.Spend(now, 1, &terms)
			if outcome == Exceeded {
				break
			}
			if c, ok := h.Need(now, 1, 1, &terms); ok {
				c.Holder.Tenure = tenure
				c, r := apply(c)
				h.Learn(&c, r)
			} else if outcome == Short {
				t.Fatalf("short, and asks for nothing: %+v", h)
			}
		}
		spent += h.Used()
		if spent > terms.Limit || spent+allowed < terms.Limit {
			t.Fatalf("%d spent of %d, crashes may have stranded %d: %+v, %+v", spent, terms.Limit, allowed, h, p)
		}
		if h.Balance() > 0 {
			t.Fatalf("it has %d left, and is told that there are none", h.Balance())
		}
	})
}
