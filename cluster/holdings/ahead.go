package holdings

import (
	"time"

	"github.com/headgate/headgate/limiter"
)

// Active counters have their first grant of the next window before it begins, so that
// their callers do not all wait for the ledger in its first moments. When that is,
// and when the window that is over is closed, differs from counter to counter.
const (
	// aheadMax is how long before the end of a window it is asked for at most, and
	// aheadPart which part of its length: the ledger takes it from a tenth of the
	// length on, by a clock that need not be this one. It is also for how long what was
	// granted ahead waits to be asked for.
	aheadMax  = time.Minute
	aheadPart = 20
	// activeFor: a counter is active that was asked for so recently.
	activeFor = time.Minute
	// aheadBatch bounds the counters that one call of Tend asks ahead for.
	aheadBatch = 512
	// aheadRoom is the part of CountersMax that is left to counters that somebody
	// asks for now.
	aheadRoom = 8
)

// offset returns when, before the end of its window, the counter's next one is
// prepared, and after it when this one is closed.
func (k *counter) offset() time.Duration {
	span := min(aheadMax, time.Duration(k.end-k.start)*time.Second/aheadPart)
	const parts = 1 << 16
	part := k.key.Lo * 0x9e37_79b9_7f4a_7c15 >> 48 // in [0, parts), whatever the key is
	return span/6 + (span-span/6)*time.Duration(part)/parts
}

// waits reports whether the counter is to be left alone: what it was granted ahead may
// still be asked for, or its window is only just over.
func (k *counter) waits(now limiter.Instant) bool {
	since := now.Sub(limiter.Instant(k.end * int64(time.Second)))
	if k.asked == 0 {
		return now.Sub(limiter.Instant(k.start*int64(time.Second))) < aheadMax && since < 0
	}
	return 0 <= since && since < k.offset()
}

// ahead makes the counter of the next window, if k, of s, which is locked, is active and
// its window soon over, and returns what it asks for.
func (h *Holdings) ahead(s *shard, now limiter.Instant, k *counter) proposal {
	ends := k.ends(now)
	if k.prepared || ends == 0 || ends > k.offset() || now.Sub(k.asked) > activeFor || h.leaving.Load() {
		return proposal{}
	}
	k.prepared = true
	w := k.plan.when.Window(k.end)
	at := place{k.key, w.Start}
	if s.counters.get(at) != nil || h.counters.Load() >= h.cfg.CountersMax-h.cfg.CountersMax/aheadRoom || h.room(k.domain) != limiter.NotDegraded {
		return proposal{}
	}
	free := k.plan.terms.Limit
	if k.plan.rolling > 0 {
		free = k.holding.Free()
	}
	s.lives++
	begins := limiter.Instant(w.Start * int64(time.Second))
	next := &counter{place: at, end: w.End, partition: k.partition, domain: k.domain}
	next.holding = k.holding.Next(now, begins, s.lives, free, &k.plan.terms)
	next.follow(k.plan)
	s.counters.put(next)
	return h.proposal(next, now)
}
