package hold

import "github.com/headgate/headgate/limiter"

// Terms say what saved reservations come back to.
type Terms struct {
	// Limit returns the limit that has the id, best with the definition def; nil if no
	// policy has it any more.
	Limit func(id limiter.LimitID, def limiter.DefHash) *limiter.Limit
	// Counters says that the limits in memory still have what was charged. Otherwise
	// nothing of them is given back.
	Counters bool
	// Tenure is that of the process now: only an earlier one has charged. 0: there are no quotas.
	Tenure uint64
}

// Restored says what has come back.
type Restored struct {
	Open       int // they may be settled
	Remembered int // they have ended, and are answered again
	Forgotten  int // they are too old by now
	NoRoom     int
	Gone       int // limits that the policies in force don't have: of each reservation, they are left out
}

// Restore enters what was saved at that moment. Time has passed since by what the wall clock
// says; none has if it went back.
func (b *Book) Restore(now, at limiter.Instant, list []Saved, t *Terms) (done Restored) {
	back := min(now.Sub(at), 0)
	for i := range list {
		v := &list[i]
		_, known := b.records[v.ID]
		when := v.When.Add(back)
		switch {
		case known || v.State != open && when <= now || when.Add(RememberFor) <= now:
			done.Forgotten++
			continue
		case len(b.records) >= b.bounds.Max:
			done.NoRoom++
			continue
		}
		r := &record{
			id: v.ID, content: v.Content, end: v.End, opened: v.Opened.Add(back), deadline: v.Deadline.Add(back), place: -1,
			state: v.State, late: v.Late, domain: b.domain(v.domain), made: v.made, settle: v.settle,
			units: v.units,
		}
		for i := range v.legs {
			if l := v.legs[i].leg(t); l.Limit == nil {
				done.Gone++
			} else {
				if l.Limit.Kind != limiter.KindQuota {
					l.Was = l.Was.Add(back)
				}
				r.legs = append(r.legs, l)
			}
		}
		b.records[r.id] = r
		r.domain.Records++
		if r.state == open {
			r.domain.Open++
			done.Open++
		} else {
			done.Remembered++
		}
		b.enqueue(r, when)
	}
	return done
}

// leg returns the Leg that was saved, as it is now; without a Limit if that is gone.
func (s *savedLeg) leg(t *Terms) Leg {
	l := Leg{
		Key: s.Key, Limit: t.Limit(s.ID, s.Def), Units: s.Units, Partition: s.Partition, Was: s.Was, Request: s.Request,
		Holder: s.Holder,
	}
	switch {
	case l.Limit == nil || l.Exact():
	case l.Limit.Kind == limiter.KindQuota:
		l.Former = true
		if l.Holder.Tenure >= t.Tenure { // it is of another store
			l.Holder = Holder{}
		}
	case !t.Counters:
		l.Was = 0 // as if it had come back by itself
	}
	return l
}
