package holdings

import (
	"math/bits"

	"github.com/headgate/headgate/limiter"
)

// crossingsMax is how many crossings wait to be read; one more is missed.
const crossingsMax = 1024

// A Crossing says that use of a counter has reached one of its limit's marks. It is
// told once in a window; by whom the counter is known when it is reached.
type Crossing struct {
	Limit   *limiter.Limit
	Key     limiter.Key
	Percent uint8  // the mark
	Used    uint64 // as far as is known here
	At      limiter.Instant
}

// Crossings returns where they are told. It is to be read now and then: no more than
// 1,024 wait there.
func (h *Holdings) Crossings() <-chan Crossing { return h.crossings }

// marksOf returns from which use on each of l's marks is reached, in units.
func marksOf(l *limiter.Limit) (marks []uint64) {
	if l.Quota == nil {
		return nil
	}
	for _, percent := range l.Quota.Notify {
		if percent > 0 {
			marks = append(marks, (l.Amount*uint64(percent)+99)/100)
		}
	}
	return marks
}

// used returns the units that are charged, as far as is known here.
func (k *counter) used() uint64 { return k.plan.terms.Limit - k.left() }

// hear notes what was reached before the counter was known here, which was told
// then.
func (k *counter) hear() {
	if k.heard {
		return
	}
	k.heard = true
	for i, mark := range k.plan.marks {
		if k.used() >= mark {
			k.told |= 1 << i
		}
	}
}

// retell has what was told of the marks of one policy count for those of the next: a
// mark that it adds is told, if it was reached long ago too.
func (k *counter) retell(next *plan) {
	told := uint8(0)
	for i := range next.marks {
		percent := next.limit.Quota.Notify[i]
		for j := range k.plan.marks {
			if k.plan.limit.Quota.Notify[j] == percent {
				told |= k.told >> j & 1 << i
			}
		}
	}
	k.told = told
}

// cross tells of the marks that use has reached, once it is known.
func (h *Holdings) cross(s *shard, now limiter.Instant, k *counter) {
	for k.heard {
		i := bits.TrailingZeros8(^k.told) // the lowest that was not told
		if i >= len(k.plan.marks) || k.used() < k.plan.marks[i] {
			return
		}
		h.announce(s, Crossing{Limit: k.plan.limit, Key: k.key, Percent: k.plan.limit.Quota.Notify[i], Used: k.used(), At: now})
		k.told |= 1 << i
	}
}

// announce tells of a crossing, if there is room, and counts it in s, which is locked.
func (h *Holdings) announce(s *shard, c Crossing) {
	select {
	case h.crossings <- c:
		s.tally.crossed++
	default:
		s.tally.missed++
	}
}
