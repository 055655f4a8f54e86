package policy

import (
	"encoding/binary"
	"errors"
	"strconv"
	"time"

	"github.com/headgate/headgate/limiter"
)

// A Carried is a limit that a request brings whole, as clients of Gubernator do.
// It is decided only in the domain whose document takes its name (`gubernator`),
// and only within what that allows. The zero Carried is none.
type Carried struct {
	// Kind is KindFixed, whose window begins with its first charge, or KindRate.
	Kind   limiter.Kind
	Amount uint64        // units per Period
	Period time.Duration // without Calendar
	Burst  uint64        // KindRate only; 0 means Amount

	// Calendar is UnitMinute, UnitHour, UnitDay, UnitMonth or UnitYear: the Period
	// is then the one that At is in, in UTC, and the counter ends with it. 0: none.
	Calendar Unit
	At       limiter.Instant

	Drain   bool // a charge that does not fit takes what is left
	Restart bool // the counter is fresh before it is charged; a window is then not charged
}

// Left returns how long a window lasts that begins at At: its Period, or what is
// left of the calendar's.
func (c *Carried) Left() time.Duration {
	if c.Calendar == 0 {
		return c.Period
	}
	_, end := calendarSpan(c.Calendar, c.At)
	return max(end.Sub(c.At), limiter.PeriodMin)
}

// A Refusal says why a limit that a request carries is not decided. Field is one of
// "name", "limit", "duration" and "burst".
type Refusal struct{ Field, Value, Bound string }

// SetCarried makes r a request for the counter of key under a limit's name, and
// nothing else. r must be empty. The slices are kept, not copied.
func (r *Request) SetCarried(name, key []byte, op limiter.Op, cost uint64, c Carried) {
	d := r.AddDescriptor()
	r.AddEntry(name, key)
	d.Op, d.Cost = op, cost
	r.carried = c
}

// Carried returns the limit that r carries; the zero Carried if none.
func (r *Request) Carried() *Carried { return &r.carried }

// Refusal says why a match's outcome was CarriedRefused.
func (r *Request) Refusal() Refusal { return r.refusal }

// A carriage is what a domain takes of limits that requests carry.
type carriage struct {
	id                  limiter.LimitID
	maxAmount, maxBurst uint64
	maxPeriod           time.Duration
	domain              string
}

// carriage compiles what the document says of such limits; nil: nothing.
func (b *builder) carriage() *carriage {
	g := b.doc.Gubernator
	if g == nil {
		return nil
	}
	c := &carriage{id: carriedID(b.doc.Domain), maxAmount: g.MaxLimit, maxBurst: g.MaxBurst, maxPeriod: g.MaxDuration, domain: b.doc.Domain}
	if c.maxBurst == 0 {
		c.maxBurst = c.maxAmount
	}
	return c
}

// matchCarried is Match for a request that carries its limit.
func (s *Snapshot) matchCarried(r *Request, call *limiter.Call) Outcome {
	desc := &r.descriptors[0]
	name, unique := desc.Entries[0].Key, desc.Entries[0].Value
	d := s.domains[s.carriers.find(name)]
	if d == nil || d.carriage == nil {
		r.refusal = Refusal{"name", strconv.Quote(string(name)), "no domain takes limits of this name from requests"}
		return CarriedRefused
	}
	r.Headers = d.headers
	start := r.carried.inCalendar()
	if !d.carriage.accepts(r) {
		return CarriedRefused
	}
	if d.operator == ModeOff {
		return Matched
	}
	limit := call.Scratch()
	if err := d.carried(limit, &r.carried); err != nil {
		r.refusal = refusalOf(err)
		return CarriedRefused
	}
	key := r.carriedKey(limit, start)
	key = limiter.AppendValue(limiter.AppendValue(key, name), unique)
	r.key = key
	k := s.hasher.Key(key)
	if r.carried.Restart {
		owe(call, k, limit, limiter.OpGiveBack, limiter.CostMax)
	}
	if !r.carried.Restart || limit.Kind == limiter.KindRate {
		owe(call, k, limit, desc.Op, desc.Cost)
	}
	if d.prefetch != nil {
		d.prefetch(k, k.Partition())
	}
	return Matched
}

// owe adds a charge; there is room: a request that carries its limit owes two at
// most.
func owe(call *limiter.Call, k limiter.Key, limit *limiter.Limit, op limiter.Op, cost uint64) {
	ch := call.Next()
	ch.Key, ch.Limit, ch.Op, ch.Cost = k, limit, op, cost
	ch.Partition, ch.Descriptors = k.Partition(), 1
}

// inCalendar works out Period for a Calendar and returns when it began; 0 without
// one. The end of a window is that of the calendar's period; a rate's Period is
// the whole of it.
func (c *Carried) inCalendar() (start limiter.Instant) {
	if c.Calendar == 0 {
		return 0
	}
	start, end := calendarSpan(c.Calendar, c.At)
	c.Period = end.Sub(start)
	return start
}

// calendarSpan returns the minute, hour, day, month or year that at is in, in UTC.
func calendarSpan(u Unit, at limiter.Instant) (start, end limiter.Instant) {
	switch u {
	case UnitMonth:
		t := at.Time()
		from := time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
		return limiter.Instant(from.UnixNano()), limiter.Instant(from.AddDate(0, 1, 0).UnixNano())
	case UnitYear:
		from := time.Date(at.Time().Year(), time.January, 1, 0, 0, 0, 0, time.UTC)
		return limiter.Instant(from.UnixNano()), limiter.Instant(from.AddDate(1, 0, 0).UnixNano())
	default:
		start = at - at%limiter.Instant(u.Duration())
		return start, start.Add(u.Duration())
	}
}

// accepts reports whether the limit that r carries is within what the domain takes;
// otherwise r says what is not.
func (c *carriage) accepts(r *Request) bool {
	field, value, most := "", "", ""
	switch l := &r.carried; {
	case l.Amount > c.maxAmount:
		field, value, most = "limit", strconv.FormatUint(l.Amount, 10), strconv.FormatUint(c.maxAmount, 10)
	case l.Period > c.maxPeriod:
		field, value, most = "duration", l.Period.String(), c.maxPeriod.String()
	case l.Burst > c.maxBurst:
		field, value, most = "burst", strconv.FormatUint(l.Burst, 10), strconv.FormatUint(c.maxBurst, 10)
	default:
		return true
	}
	r.refusal = Refusal{field, value, "at most " + most + ", says the policy of domain " + strconv.Quote(c.domain)}
	return false
}

// carried makes limit the one that l describes.
func (d *domain) carried(limit *limiter.Limit, l *Carried) error {
	stands := d.override
	spec := stands.Spec
	spec.ID = d.carriage.id
	spec.Kind, spec.Amount, spec.Period, spec.Burst = l.Kind, l.Amount, l.Period, l.Burst
	spec.FromFirst = l.Kind == limiter.KindFixed
	spec.CountDenied, spec.PeekUsed = l.Drain, false
	if spec.FromFirst {
		spec.Period = l.Left()
	}
	if err := limit.Init(spec); err != nil {
		return err
	}
	limit.Ref = stands.Ref
	return nil
}

// refusalOf says err, the kernel's, in the words of a request.
func refusalOf(err error) Refusal {
	var bound *limiter.BoundError
	if !errors.As(err, &bound) {
		return Refusal{"limit", "", err.Error()}
	}
	field := "limit"
	switch bound.Field {
	case "Period":
		field = "duration"
	case "Burst":
		field = "burst"
	}
	return Refusal{field, bound.Value, bound.Bound}
}

// carriedKey returns what tells the counters of carried limits apart before their
// name and key. A window is the same whatever its amount and its period, so that a
// change of either takes it over. A rate has one bucket for each period: what is
// used of one says little of another. With a calendar it has one for each of the
// calendar's periods, so that each begins full.
func (r *Request) carriedKey(l *limiter.Limit, start limiter.Instant) []byte {
	key := r.key[:0]
	key = append(key, l.ID[:]...)
	key = append(key, byte(l.Kind))
	if l.Kind == limiter.KindRate {
		key = binary.AppendUvarint(key, uint64(l.Period))
		key = binary.AppendUvarint(append(key, byte(r.carried.Calendar)), uint64(start))
	}
	return key
}
