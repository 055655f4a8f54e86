package holdings

import "github.com/headgate/headgate/limiter"

// namesMax bounds the counters of which nothing is held whose limit a shard remembers. One
// more takes the place of any.
const namesMax = 1024

// names are the limits of counters of which nothing is held, so that none here says whose
// they are: those of exact quotas, and those that were idle and are forgotten. The zero value is empty.
type names map[limiter.Key]limiter.LimitID

func (n *names) put(key limiter.Key, id limiter.LimitID) {
	if *n == nil {
		*n = names{}
	}
	if _, known := (*n)[key]; !known && len(*n) == namesMax {
		for other := range *n {
			delete(*n, other)
			break
		}
	}
	(*n)[key] = id
}

// LimitOf returns the limit that the counter of key counts for, if nothing is held of it and the
// ledger was asked of it since the start. 262,144 of them are remembered, spread
// over the shards by their keys. It takes one shard's lock.
func (h *Holdings) LimitOf(key limiter.Key) (id limiter.LimitID, ok bool) {
	s := h.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	id, ok = s.names[key]
	return id, ok
}

// heard counts the answer to q, and remembers whose counter it was about if the
// ledger knows it.
func (h *Holdings) heard(q *question, known bool) {
	s := h.shard(q.command.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.waited++
	if known {
		s.names.put(q.command.Key, q.plan.limit.ID)
	}
}
