package obs

import (
	"slices"
	"sync/atomic"
	"time"
)

// durationBounds returns the upper bounds of the histogram's buckets.
func durationBounds() []time.Duration {
	return []time.Duration{
		250 * time.Nanosecond, 500 * time.Nanosecond,
		1 * time.Microsecond, 2500 * time.Nanosecond, 5 * time.Microsecond,
		10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond,
		100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
		1 * time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
		10 * time.Millisecond, 15 * time.Millisecond, 25 * time.Millisecond,
	}
}

const durationBuckets = 18 // one more than there are bounds

// durations is a histogram of one stripe.
type durations struct {
	buckets [durationBuckets]atomic.Uint64
	sum     atomic.Int64 // ns
}

func (d *durations) add(span time.Duration) {
	d.buckets[bucketOf(span)].Add(1)
	d.sum.Add(int64(span))
}

func bucketOf(span time.Duration) int {
	bounds := [durationBuckets - 1]time.Duration(durationBounds())
	n, _ := slices.BinarySearch(bounds[:], span)
	return n
}
