package holdings

import (
	"sync"
	"sync/atomic"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// shardCount is how many locks the counters are spread over.
const shardCount = 256

// Holdings are what this node holds of all quotas. Make them with [New].
type Holdings struct {
	shards [shardCount]shard // first, for its alignment
	cfg    Config
	done   func(*quota.Command, quota.Result, error) // answered, made once
	plans  atomic.Pointer[plans]

	crossings chan Crossing
	refusals  refusals
	formers   formers
	frozen    frozen

	share   int64              // counters that one domain has at most while there are several
	several atomic.Bool        // whether there are
	domains map[string]*domain // of the policy in force, and with counters; owned by Install

	counters atomic.Int64
	parked   atomic.Int64
	stuck    atomic.Uint64
	leaving  atomic.Bool  // Leave was called
	tended   atomic.Int32 // the shard that Tend looks at next
}

// A shard owns some of the counters. The first of its three cache lines is what a
// decision needs.
type shard struct {
	mu       sync.Mutex // guards what follows
	counters index
	tally    tally
	names    names
	lives    uint32   // counters made so far: the life of the last one
	_        [36]byte // up to another shard's cache line
}

// tally counts what happened in a shard, since the start.
type tally struct {
	spent, owed, lost, refunded, dropped, refused, waited, failed, crossed, missed, shareFull uint64
}

// New returns Holdings that hold nothing, of no quota: see [Holdings.Install].
func New(cfg Config) (*Holdings, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	h := &Holdings{cfg: cfg.withDefaults(), crossings: make(chan Crossing, crossingsMax)}
	h.share = max(1, int64(float64(h.cfg.CountersMax)*h.cfg.ShareMax))
	if h.cfg.Gather == nil {
		h.cfg.Gather = h.cfg.Submit
	}
	h.done = h.answered
	h.plans.Store(newPlans(0))
	return h, nil
}

func (h *Holdings) shard(key limiter.Key) *shard { return &h.shards[key.Lo%shardCount] }

// counter returns what s, which is locked, has at p, if need be made now; nil if
// there is no room, and why.
func (h *Holdings) counter(s *shard, now limiter.Instant, ch *limiter.Charge, p *plan) (*counter, limiter.Degraded) {
	w := p.at(now)
	at := place{ch.Key, w.Start}
	k := s.counters.get(at)
	if k != nil && k.over() { // it was idle, and is asked for again
		h.forget(s, at)
		k = nil
	}
	if k == nil {
		if full := h.room(p.domain); full != limiter.NotDegraded {
			s.tally.full(full)
			return nil, full
		}
		s.lives++ // enough for 10,000 new counters a second over three years
		k = &counter{place: at, end: w.End, partition: ch.Partition, domain: p.domain, holding: quota.NewHolding(s.lives)}
		k.holding.Amend() // what is free is not known yet
		s.counters.put(k)
	}
	if k.plan != p {
		k.follow(p)
		h.cross(s, now, k)
	}
	k.asked = max(k.asked, now)
	return k, limiter.NotDegraded
}

// forget removes what s, which is locked, has at p, but for its name.
func (h *Holdings) forget(s *shard, p place) {
	k := s.counters.get(p)
	s.names.put(p.key, k.plan.limit.ID)
	h.free(k.domain)
	s.counters.remove(p)
}

// A proposal is a command that waits until no lock is held.
type proposal struct {
	command quota.Command
	any     bool
	urgent  bool // a call waits for the answer
}

// submit proposes the commands. A command that is refused is as one that is lost. No
// call is finished before it returns.
func (h *Holdings) submit(proposals ...proposal) {
	for i := range proposals {
		p := &proposals[i]
		if !p.any {
			continue
		}
		submit := h.cfg.Gather
		if p.urgent {
			submit = h.cfg.Submit
		}
		if err := submit(p.command, h.done); err != nil {
			h.refuse(p.command, err)
		}
	}
}

// Stats are figures of all counters. All but Counters and Parked count since the
// start.
type Stats struct {
	Counters  int64  // held
	Parked    int64  // calls that wait for units
	Spent     uint64 // units that were charged
	Owed      uint64 // units of post-paid use that did not fit
	Lost      uint64 // units beyond the largest debt, which no record has
	Refunded  uint64 // units that were given back, and credited
	Dropped   uint64 // units that were given back, but not charged here
	Refused   uint64 // charges that found no room for their counter, or to wait
	ShareFull uint64 // charges that found no room for their counter in the domain's share
	Waited    uint64 // charges that had to wait, for units or for the ledger's decision
	Failed    uint64 // charges that waited, and were denied since no answer came
	Crossed   uint64 // marks that were reached
	Missed    uint64 // those of them that nobody was told, since too many were not read
	Stuck     uint64 // units of exact quotas that may be charged to calls that were denied
}

// Stats returns the figures of now. It takes each shard's lock in turn.
func (h *Holdings) Stats() Stats {
	st := Stats{Counters: h.counters.Load(), Parked: h.parked.Load(), Stuck: h.stuck.Load()}
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		t := s.tally
		s.mu.Unlock()
		st.Spent += t.spent
		st.Owed += t.owed
		st.Lost += t.lost
		st.Refunded += t.refunded
		st.Dropped += t.dropped
		st.Refused += t.refused
		st.ShareFull += t.shareFull
		st.Waited += t.waited
		st.Failed += t.failed
		st.Crossed += t.crossed
		st.Missed += t.missed
	}
	return st
}
