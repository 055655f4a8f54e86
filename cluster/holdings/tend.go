package holdings

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// forgetAfter is for how long nobody asked for a counter that holds nothing when
// it is forgotten. What it had charged can't be given back then.
const forgetAfter = 10 * time.Minute

// Tend gives idle balances back, asks ahead for the next window of counters that are in
// use, and forgets counters that hold nothing. It looks at one shard of 256 a call, so
// it is to be called at a steady pace: each shard every 5 seconds or so.
func (h *Holdings) Tend(now limiter.Instant) {
	s := &h.shards[uint32(h.tended.Add(1))%shardCount]
	for _, p := range h.tend(s, now) {
		h.submit(p)
		if c := &p.command; c.Op == quota.OpClose && h.cfg.Hurry != nil {
			h.overtaken(place{c.Key, c.Window.Start})
		}
	}
}

func (h *Holdings) tend(s *shard, now limiter.Instant) (proposals []proposal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.counters.tidy()
	ahead := 0
	for k := range s.counters.each() {
		if ahead < aheadBatch {
			if p := h.ahead(s, now, k); p.any {
				proposals = append(proposals, p)
				ahead++
			}
		}
		if len(k.waiting) > 0 || k.waits(now) {
			continue
		}
		over := k.ends(now) == 0
		forget := k.holding.Closed() || over || now.Sub(k.asked) >= forgetAfter
		switch {
		case forget && k.holding.Forgettable() && (over || k.holding.Reported()):
			h.forget(s, k.place)
		case forget:
			k.closes = true
			proposals = append(proposals, h.propose(k, k.holding.Close(&k.plan.terms)))
		default:
			proposals = append(proposals, h.due(k, now)...)
		}
	}
	return proposals
}

// due returns what a counter that stays is to tell the ledger.
func (h *Holdings) due(k *counter, now limiter.Instant) (proposals []proposal) {
	if c, ok := k.holding.Surplus(now, &k.plan.terms); ok {
		proposals = append(proposals, h.propose(k, c))
	}
	if p := h.owed(k); p.any {
		proposals = append(proposals, p)
	}
	return proposals
}

// ErrUnanswered is what Leave ends with if the ledger did not answer.
var ErrUnanswered = errors.New("the ledger did not answer")

// closeTries is how often in a row Leave tells the ledger what got no answer, if it
// takes none of that.
const closeTries = 3

// Leave gives back everything that is held, for a node that ends: from now on no
// new counter is made and what is asked for is denied. It returns when the ledger
// has all of it, or an error if that took longer than ctx or some got no answer:
// what the ledger does not have stays counted as spent.
func (h *Holdings) Leave(ctx context.Context) error {
	h.leaving.Store(true)
	left, err := 0, error(nil)
	for tries := 0; tries < closeTries && err == nil; tries++ {
		before := left
		if left, err = h.close(ctx); left == 0 {
			return nil
		}
		if left < before { // there are more than the ledger takes at once
			tries = 0
		}
	}
	if err == nil {
		err = ErrUnanswered
	}
	return fmt.Errorf("holdings: leave: %d counters still hold units: %w", left, err)
}

// close closes every counter that holds anything, waits for the answers, and
// returns how many the ledger has not heard of in full.
func (h *Holdings) close(ctx context.Context) (left int, err error) {
	var wg sync.WaitGroup
	for i := range h.shards {
		for _, p := range h.closeShard(&h.shards[i]) {
			wg.Add(1)
			done := func(c *quota.Command, r quota.Result, err error) {
				h.answered(c, r, err)
				wg.Done()
			}
			if err := h.cfg.Submit(p.command, done); err != nil {
				done(&p.command, quota.Result{}, err)
			}
		}
	}
	ended := make(chan struct{})
	go func() {
		wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		for k := range s.counters.each() {
			if !k.holding.Forgettable() || !k.holding.Reported() {
				left++
			}
		}
		s.mu.Unlock()
	}
	return left, err
}

func (h *Holdings) closeShard(s *shard) (proposals []proposal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.counters.each() {
		if p := h.owed(k); p.any {
			proposals = append(proposals, p)
		}
		if !k.holding.Forgettable() || !k.holding.Reported() {
			proposals = append(proposals, h.propose(k, k.holding.Close(&k.plan.terms)))
		}
	}
	return proposals
}
