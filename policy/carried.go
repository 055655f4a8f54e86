package policy

import (
	"encoding/binary"
	"errors"
	"strconv"
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota/calendar"
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

	// Calendar is UnitMinute, UnitHour, UnitDay, UnitMonth or UnitYear: the Period is
	// then the one that At is in, by the clock of the policy's zone, and the counter
	// ends with it. 0: none.
	Calendar Unit
	At       limiter.Instant

	Drain   bool // a charge that does not fit takes what is left
	Restart bool // the counter is fresh before it is charged; a window is then not charged

	left time.Duration // see Left; set by a match
}

// Left returns how long a window lasts that begins at At: its Period, or what is
// left of the calendar's. A match must have accepted c.
func (c *Carried) Left() time.Duration { return c.left }

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

	hours, days, months, years *calendar.Calendar
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
	zone, err := time.LoadLocation(g.TimeZone)
	for unit, to := range map[limiter.CalendarUnit]**calendar.Calendar{
		limiter.PerHour: &c.hours, limiter.PerDay: &c.days, limiter.PerMonth: &c.months, limiter.PerYear: &c.years,
	} {
		if err == nil {
			*to, err = calendar.New(limiter.Schedule{Unit: unit}, zone)
		}
	}
	if err != nil { // Parse has said it better
		b.rep.add(Problem{Position: g.Pos, Path: "gubernator.time_zone", Value: g.TimeZone, Message: err.Error()})
		return nil
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
	if !d.carriage.accepts(r) {
		return CarriedRefused
	}
	start := d.carriage.place(&r.carried)
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

// place works out the Period of a limit with a Calendar, which is the whole of the
// calendar's, and what is left of it. It returns when that began; 0 without one.
func (c *carriage) place(l *Carried) (start limiter.Instant) {
	l.left = l.Period
	if l.Calendar == 0 {
		return 0
	}
	start, end := c.span(l.Calendar, l.At)
	l.Period, l.left = end.Sub(start), max(end.Sub(l.At), limiter.PeriodMin)
	return start
}

// span returns the minute, hour, day, month or year that at is in.
func (c *carriage) span(u Unit, at limiter.Instant) (start, end limiter.Instant) {
	const second = limiter.Instant(time.Second)
	var in *calendar.Calendar
	switch u {
	case UnitHour:
		in = c.hours
	case UnitDay:
		in = c.days
	case UnitMonth:
		in = c.months
	case UnitYear:
		in = c.years
	default:
		start = at - at%limiter.Instant(time.Minute) // the same everywhere
		return start, start.Add(time.Minute)
	}
	w := in.Window(int64(at / second))
	return limiter.Instant(w.Start) * second, limiter.Instant(w.End) * second
}

// longest is what a limit's period counts as where it is bounded: of a calendar,
// that of its longest, but for changes of the clock.
func (c *Carried) longest() time.Duration {
	switch c.Calendar {
	case 0:
		return c.Period
	case UnitMonth:
		return 31 * UnitDay.Duration()
	case UnitYear:
		return 366 * UnitDay.Duration()
	default:
		return c.Calendar.Duration()
	}
}

// accepts reports whether the limit that r carries is within what the domain takes;
// otherwise r says what is not.
func (c *carriage) accepts(r *Request) bool {
	var field, value, most string
	switch l := &r.carried; {
	case l.Amount > c.maxAmount:
		field, value, most = "limit", strconv.FormatUint(l.Amount, 10), strconv.FormatUint(c.maxAmount, 10)
	case l.longest() > c.maxPeriod:
		field, value, most = "duration", l.longest().String(), c.maxPeriod.String()
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
