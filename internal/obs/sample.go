package obs

import (
	"sync"
	"sync/atomic"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
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
	text          []byte // of labels: true; at most textBytesMax, its room is kept
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
// not wait: if another processor is at this stripe, x is only counted. It
// allocates only for a note of a rule with `labels: true`.
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
		nt.text = nt.text[:0]
		if x.Snapshot != nil && x.Snapshot.Rule(ch.Limit).Labels {
			nt.text = appendLabels(nt.text, x.Snapshot.Labels(&x.Req, ch))
		}
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
			s.notes[i] = note{text: s.notes[i].text[:0]}
		}
	}
	s.n, s.requests = 0, 0
	s.room.Store(samplesMax)
}

// appendLabels appends labels as key=value,key=value to b, as far as there is
// room.
func appendLabels(b []byte, labels []policy.Label) []byte {
	for i, l := range labels {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, l.Key...), '='), l.Value...)
		if len(b) > textBytesMax {
			return append(b[:textBytesMax-3], "..."...)
		}
	}
	return b
}
