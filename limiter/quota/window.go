package quota

import (
	"cmp"
	"math"

	"github.com/headgate/headgate/limiter"
)

// A Window is one period of a quota: [Start, End) in Unix seconds, with
// 0 ≤ Start < End ≤ TimeMax. Together with a key it names a pool.
type Window struct {
	Start, End int64
	// Rolling is of a sub-window of a quota that rolls: the amount is for it and
	// as many before it together, each of the same length. At most
	// RollingMax; 0 means that the amount is for this window alone.
	Rolling uint8
}

// TimeMax bounds a Window's End, in Unix seconds: the year 9999. Milliseconds,
// which a [Batch] counts in, are bounded by 1000 times as much.
const TimeMax = 253_402_300_799

// RollingMax bounds Window.Rolling.
const RollingMax = limiter.RollingMax

const (
	// earlyMax and earlyPart bound how long before its start a window may be
	// granted from: 10 minutes, and a tenth of its length.
	earlyMax  = 600
	earlyPart = 10
	// keptMin and keptPeriods say how long after its end a window is kept: 48
	// hours, and two of its lengths.
	keptMin     = 48 * 3600
	keptPeriods = 2
)

// These four are part of the replicated state machine: if nodes of one group
// had different ones, their ledgers would differ. A change needs a new format.

// valid reports whether w is within its bounds.
func (w Window) valid() bool { return 0 <= w.Start && w.Start < w.End && w.End <= TimeMax }

// Near returns the sub-window that is i after w, or −i before it.
func (w Window) Near(i int) Window {
	by := int64(i) * (w.End - w.Start)
	return Window{w.Start + by, w.End + by, w.Rolling}
}

// First returns when the earliest sub-window begins whose use counts with that of w, in
// Unix seconds, which may be below 0; of a quota that does not roll it is Start.
func (w Window) First() int64 { return w.Near(-int(w.Rolling)).Start }

// Opens returns when grants from w begin, in Unix seconds: min(10 min, a tenth of
// its length) before Start, so that active counters can have their first grant
// when it starts.
func (w Window) Opens() int64 {
	return max(0, w.Start-min(earlyMax, (w.End-w.Start)/earlyPart))
}

// OpenBy returns the latest Start of a window that may have been granted from by now, in
// Unix seconds.
func OpenBy(now int64) int64 { return now + earlyMax }

// Purges returns when w is forgotten, in Unix seconds: max(48 h, twice its
// length) after End. Of a quota that rolls, its length is that of the whole period;
// the record of such a pool is to be kept until w.Near(w.Rolling).Purges(), since it
// counts for as long as sub-windows after it are granted from.
func (w Window) Purges() int64 {
	return w.End + max(keptMin, keptPeriods*(w.End-w.Start)*max(1, int64(w.Rolling)))
}

// Beside returns what the sub-windows around w take of its amount, in units: of
// all runs of sub-windows that the amount is for and w belongs to, what the fullest
// uses without w. used returns the Use of the pool of a sub-window, 0 if it has
// none; it is asked for at most Rolling before w and as many after it.
func Beside(w Window, used func(Window) uint64) uint64 {
	n := min(int(w.Rolling), RollingMax)
	var before, after [RollingMax + 1]uint64 // used by the i before w, and the i after it
	for i := 1; i <= n; i++ {
		if near := w.Near(-i); near.valid() {
			before[i] = used(near)
		}
		if near := w.Near(i); near.valid() {
			after[i] = used(near)
		}
		before[i] += before[i-1]
		after[i] += after[i-1]
	}
	most := uint64(0)
	for i, use := range after[:n+1] {
		most = max(most, before[n-i]+use)
	}
	return most
}

// A Holder is who may hold grants of a counter.
type Holder struct {
	// Partition is the one that the counter belongs to.
	Partition limiter.Partition
	// Tenure is committed with the placement and new, and higher, whenever the
	// partition's memory was lost. It is at least 1.
	Tenure uint64
	// Life tells the times apart that this tenure began to remember the counter
	// in this window: a holder that forgets an idle counter, and later comes back
	// to it, does so with a higher Life. The owner takes it from a counter of the
	// partition, which moves along with it.
	Life uint32
}

// compare orders holders by partition, and those of one partition by age.
func (h Holder) compare(other Holder) int {
	return cmp.Or(
		cmp.Compare(h.Partition, other.Partition),
		cmp.Compare(h.Tenure, other.Tenure),
		cmp.Compare(h.Life, other.Life))
}

// Groups is how many groups the ledger has, fixed for the life of a cluster.
const Groups = 8

// GroupOf returns the group, in [0, Groups), whose log holds the counters of k.
func GroupOf(k limiter.Key) int { return int(k.Hi >> 61) }

// TotalMax bounds every amount in a command and a record, in units. No cumulative
// amount gets there: at a million units a second it takes 140,000 years.
const TotalMax = math.MaxInt64 / 2
