package quota

import (
	"cmp"
	"math"

	"github.com/headgate/headgate/limiter"
)

// A Window is one period of a quota: [Start, End) in Unix seconds, with
// 0 ≤ Start < End ≤ TimeMax. Together with a key it names a pool.
type Window struct{ Start, End int64 }

// TimeMax bounds a Window's End, in Unix seconds: the year 9999. Milliseconds,
// which a [Batch] counts in, are bounded by 1000 times as much.
const TimeMax = 253_402_300_799

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

// Opens returns when grants from w begin, in Unix seconds: min(10 min, a tenth of
// its length) before Start, so that active counters can have their first grant
// when it starts.
func (w Window) Opens() int64 {
	return max(0, w.Start-min(earlyMax, (w.End-w.Start)/earlyPart))
}

// Purges returns when w is forgotten, in Unix seconds: max(48 h, twice its
// length) after End.
func (w Window) Purges() int64 {
	return w.End + max(keptMin, keptPeriods*(w.End-w.Start))
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
