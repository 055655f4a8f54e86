package holdings

import (
	"sync"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// What follows is about units that an earlier process of this node has charged. Its
// holder is closed: they are not here, and go back from there to the pool.

// A Former is a charge of a quota in escrow mode by an earlier process.
type Former struct {
	Key       limiter.Key
	Limit     *limiter.Limit
	Partition limiter.Partition
	Was       limiter.Instant // Charge.Was
	Tenure    uint64          // of the process; 0: nobody knows
	Life      uint32          // of the counter
}

// Credit gives units of what f says back to the pool. done is told how many were credited, from
// a goroutine that holds no lock of h: none if the window is over, if the pool
// does not know the holder any more, or did not answer in a few tries. Who calls it sees to
// it that no charge is given back twice: the pool credits all that the holder has spent.
func (h *Holdings) Credit(f Former, units uint64, done func(credited uint64)) {
	p := h.plans.Load().find(f.Limit)
	if p == nil || f.Tenure == 0 || f.Tenure >= h.cfg.Tenure || units == 0 {
		done(0)
		return
	}
	c := quota.Command{
		Op: quota.OpReturn, Key: f.Key, Window: p.pool(int64(f.Was) - 1),
		Holder:  quota.Holder{Partition: f.Partition, Tenure: f.Tenure, Life: f.Life},
		Version: p.terms.Version, Limit: p.terms.Limit,
	}
	h.credit(c, formerCredit{units, done})
}

// A formerCredit is what one call of Credit asks.
type formerCredit struct {
	units uint64
	done  func(credited uint64)
}

// formers are the holders of earlier processes that were given back to.
type formers struct {
	mu   sync.Mutex // guards what follows
	list map[formerPlace]*former
}

// A formerPlace is one counter of one former holder.
type formerPlace struct {
	place
	holder quota.Holder
}

// A former is what the pool knows of one: as the pool said when it was asked first, and
// with what was returned since.
type former struct {
	granted, returned uint64
	known             bool
	waiting           []formerCredit // until it is known
}

// credit has c, which says nothing of how much, return what one asks.
func (h *Holdings) credit(c quota.Command, one formerCredit) {
	at := formerPlace{place{c.Key, c.Window.Start}, c.Holder}
	f := &h.formers
	f.mu.Lock()
	k := f.list[at]
	if k == nil {
		k = new(former)
		if f.list == nil {
			f.list = map[formerPlace]*former{}
		}
		f.list[at] = k
	}
	if !k.known {
		k.waiting = append(k.waiting, one)
		first := len(k.waiting) == 1
		f.mu.Unlock()
		if first { // a return of nothing: the answer says what there is
			h.ask(c, 1, func(r quota.Result, ok bool) { h.recall(c, at, r, ok && r.Code == quota.OK) })
		}
		return
	}
	one.units = min(one.units, k.granted-k.returned)
	k.returned += one.units
	c.Total = k.returned
	f.mu.Unlock()
	if one.units == 0 {
		one.done(0)
		return
	}
	h.ask(c, 1, func(r quota.Result, ok bool) {
		if !ok || r.Code != quota.OK {
			one.units = 0
		}
		s := h.shard(c.Key)
		s.mu.Lock()
		s.tally.refunded += one.units
		s.mu.Unlock()
		one.done(one.units)
	})
}

// recall notes what the pool said of a holder, and returns what waits for that.
func (h *Holdings) recall(c quota.Command, at formerPlace, r quota.Result, ok bool) {
	f := &h.formers
	f.mu.Lock()
	k := f.list[at]
	waiting := k.waiting
	k.waiting = nil
	if ok {
		k.granted, k.returned, k.known = r.Granted, r.Returned, true
	} else {
		delete(f.list, at) // who comes later asks again
	}
	f.mu.Unlock()
	for _, one := range waiting {
		if ok {
			h.credit(c, one)
		} else {
			one.done(0)
		}
	}
}
