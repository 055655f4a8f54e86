package bench

import (
	"context"
	"runtime"
	"time"
)

// A schedule says when the requests of an open loop are due: the k-th of all at
// k/rate, evenly spaced, and lane i of n has those with k mod n = i.
type schedule struct {
	interval float64 // ns between two requests; 0: closed loop
	lanes    int
	until    int64 // ns, when the last is due
}

// due returns when the j-th request of a lane is due, in ns.
func (s *schedule) due(lane int, j int64) int64 {
	return int64(float64(j*int64(s.lanes)+int64(lane)) * s.interval)
}

// count returns how many requests of all lanes are due at now.
func (s *schedule) count(now int64) int64 {
	now = min(now, s.until-1)
	if now < 0 {
		return 0
	}
	k := int64(float64(now)/s.interval) + 1
	// Rounding may be one off; due is what counts.
	for k > 0 && int64(float64(k-1)*s.interval) > now {
		k--
	}
	for int64(float64(k)*s.interval) <= now {
		k++
	}
	return k
}

// pace wakes each lane when requests of it are due, until the last is or ctx
// ends.
func (s *schedule) pace(ctx context.Context, now func() int64, lanes []*lane) {
	var k int64 // the next request of all
	for ctx.Err() == nil {
		next := int64(float64(k) * s.interval)
		if next >= s.until {
			return
		}
		if d := next - now(); d > 0 {
			sleep(time.Duration(min(d, int64(50*time.Millisecond))))
			continue
		}
		due := s.count(now())
		for i := range min(due-k, int64(len(lanes))) {
			lanes[(k+i)%int64(len(lanes))].signal()
		}
		k = due
		runtime.Gosched() // the senders go first: this goroutine is about to block its thread
	}
}
