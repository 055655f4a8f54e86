package obs

import (
	"sync"
	"sync/atomic"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/limiter"
)

const (
	// samplesMax is how many charges one stripe notes between two drains. What
	// is offered beyond is only counted, and each note then weighs more.
	samplesMax = 64
	// textBytesMax is how much of a key's text is kept.
	textBytesMax = 96
)

// A note is one charge that was seen.
type note struct {
	key           limiter.Key
	domain, limit string
	text          [textBytesMax]byte
	textLen       uint8
}

// A sampler notes the first charges that are offered after each drain.
type sampler struct {
	offered atomic.Uint64 // requests, also those that were not noted
	room    atomic.Int32  // notes left; a hint that spares the lock

	mu       sync.Mutex // guards what follows; only ever tried on the decision path
	requests uint64     // noted since the last drain
	n        int
	notes    [samplesMax]note
}

// offer notes the charges of x, only the denied ones if onlyDenied. It does
// not wait: if another processor is at this stripe, x is only counted.
func (s *sampler) offer(x *api.Exchange, onlyDenied bool) {
	s.offered.Add(1)
	if s.room.Load() <= 0 || !s.mu.TryLock() {
		return
	}
	s.requests++
	charges := x.Call.Charges()
	for i := range charges {
		ch := &charges[i]
		if onlyDenied && (ch.Decision.Verdict != limiter.Denied || ch.Limit.Shadow) || ch.Key == (limiter.Key{}) {
			continue
		}
		if s.n == samplesMax {
			break
		}
		nt := &s.notes[s.n]
		s.n++
		nt.key, nt.domain, nt.limit = ch.Key, ch.Limit.Domain, ch.Limit.Name
		nt.textLen = 0
	}
	s.room.Store(int32(samplesMax - s.n))
	s.mu.Unlock()
}

// drain calls f with each note and the requests that it stands for, and makes
// room.
func (s *sampler) drain(f func(n *note, weight float64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	offered := s.offered.Swap(0)
	if s.requests > 0 {
		weight := max(1, float64(offered)/float64(s.requests))
		for i := range s.n {
			f(&s.notes[i], weight)
			s.notes[i] = note{}
		}
	}
	s.n, s.requests = 0, 0
	s.room.Store(samplesMax)
}
