package decision

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/hold"
	"github.com/headgate/headgate/policy"
)

// LifetimeDefault is how long a reservation is open whose request does not say.
const LifetimeDefault = 5 * time.Minute

// A Reserver keeps reservations: see cluster/reservations.
type Reserver interface {
	// Bounds returns how many reservations there may be.
	Bounds() hold.Bounds
	// Reserve charges what c asks, all or nothing, and calls answer for what the
	// reservation is remembered with if it is allowed. If the outcome is Again, it returns
	// that of an earlier request.
	Reserve(ctx context.Context, now limiter.Instant, c *limiter.Call, a hold.Ask, answer func() []byte) (again []byte, o hold.Outcome)
	// Extend has the reservation live for lifetime from now on.
	Extend(now limiter.Instant, id limiter.Key, lifetime time.Duration) (e hold.Extension, o hold.Outcome)
	// Settle ends a reservation, and returns what answer makes of it, or has made.
	Settle(ctx context.Context, now limiter.Instant, by hold.End, answer func(hold.Settlement) []byte) (result []byte, o hold.Outcome)
}

// Reserve answers the ReserveRequest in x.In by x.Out. The error is a *api.Fault.
func (s *Service) Reserve(ctx context.Context, x *api.Exchange) (*api.Exchange, error) {
	explain, err := decodeReserve(x.In, &s.Bounds, &x.Req)
	if err != nil {
		return x, err
	}
	id := x.Req.Holder
	now := s.Desk.Now()
	x.Patient = true
	s.Desk.Match(x)
	if err := x.Fault(); err != nil {
		return x, err
	}
	ask := hold.Ask{
		ID:      x.Snapshot.ReservationKey(x.Req.Domain, id),
		Content: x.Snapshot.ContentKey(reserveContent(&x.Req)), Lifetime: x.Req.Lifetime,
		Alone: !x.Snapshot.Several(),
	}
	if domain := string(x.Req.Domain); x.Snapshot.Has(domain) {
		ask.Domain = domain
	}
	if ask.Lifetime == 0 {
		ask.Lifetime = min(LifetimeDefault, policy.ShortestLifetime(&x.Call))
	}
	for _, c := range x.Req.Costs() {
		ask.Units = append(ask.Units, c.Unit)
	}
	clamp(&x.Call)
	x.Call.Deadline, x.Call.Patience = now.Add(s.Desk.Timeout()), limiter.Never
	if x.Outcome == policy.UnknownDomainDeny {
		s.Desk.End(now, x)
		x.Out = appendReserved(x.Out[:0], x, 0, explain)
		return x, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.Desk.Timeout())
	defer cancel()
	again, o := s.Reservations.Reserve(ctx, now, &x.Call, ask, func() []byte {
		x.Out = appendReserved(x.Out[:0], x, ask.Lifetime, explain)
		return bytes.Clone(x.Out) // no longer than it has to be, for ten minutes and more
	})
	switch o {
	case hold.Done:
		s.Desk.End(now, x)
		x.Out = appendReserved(x.Out[:0], x, ask.Lifetime, explain)
		return x, nil
	case hold.Again:
		x.Out = append(x.Out[:0], again...)
		return x, nil
	case hold.Full, hold.ShareFull:
		return x, s.noRoom(x.Req.Domain, o)
	default:
		return x, refusal(o, id)
	}
}

// noRoom returns why there is no room for a reservation of a domain.
func (s *Service) noRoom(domain []byte, o hold.Outcome) error {
	b := s.Reservations.Bounds()
	bound := fmt.Sprintf("there are %d reservations (reservations.max)", b.Max)
	if o == hold.ShareFull {
		bound = fmt.Sprintf("the domain, or all those without a policy, has %d reservations (reservations.share_percent of reservations.max)", b.Share)
	}
	return &api.Fault{
		Reason: api.FullReservations, Field: "domain", Value: api.Quote(domain),
		Bound: "no room for another reservation, nothing was charged: " + bound,
	}
}

// decodeReserve is Decode for a ReserveRequest, which has the fields of an
// AcquireRequest.
func decodeReserve(b []byte, bounds *api.Bounds, r *policy.Request) (explain bool, err error) {
	return decodeSlots(b, bounds, r, fieldLifetime, limiter.OpCharge)
}

// clamp lowers what c asks to what each limit lets a reservation set aside.
func clamp(c *limiter.Call) {
	charges := c.Charges()
	for i := range charges {
		if l := charges[i].Limit; l.Costing != nil && l.Costing.EstimateMax != 0 {
			charges[i].Cost = min(charges[i].Cost, l.Costing.EstimateMax)
		}
	}
}

// reserveContent returns what r says of a reservation, so that no two requests that
// differ have the same.
func reserveContent(r *policy.Request) []byte {
	d := &r.Descriptors()[0]
	b := binary.AppendUvarint(nil, d.Cost)
	b = binary.AppendUvarint(b, uint64(r.Lifetime))
	b = binary.AppendUvarint(b, uint64(len(d.Entries)))
	for _, e := range d.Entries {
		b = limiter.AppendValue(limiter.AppendValue(b, e.Key), e.Value)
	}
	return appendCosts(b, r.Costs())
}

// appendCosts appends costs, in whatever order they came.
func appendCosts(b []byte, costs []policy.UnitCost) []byte {
	sorted := slices.SortedFunc(slices.Values(costs), func(a, b policy.UnitCost) int { return strings.Compare(string(a.Unit), string(b.Unit)) })
	for _, c := range sorted {
		b = binary.AppendUvarint(limiter.AppendValue(b, c.Unit), c.Units)
	}
	return b
}

// refusal returns why a request about the reservation of id was not done.
func refusal(o hold.Outcome, id []byte) error {
	f := &api.Fault{Field: "id", Value: api.Quote(id)}
	switch o {
	case hold.Unknown:
		f.Reason, f.Bound = api.NoReservation, "no reservation of this domain has it: none was made on this node, or it ended more than "+hold.RememberFor.String()+" ago, or the node has crashed since"
	case hold.Differs:
		f.Reason, f.Bound = api.OtherReservation, "the reservation was made for something else, or was ended with another cost"
	case hold.Busy:
		f.Reason, f.Bound = api.BusyReservation, "another request is deciding or ending the reservation: ask again"
	case hold.Over:
		f.Reason, f.Bound = api.EndedReservation, "the reservation has ended"
	default:
		f.Reason, f.Bound = api.LateReservation, "not done in time: ask again"
	}
	return f
}

// Tags of ReserveResponse and ReservedUnits.
const (
	tagReserveDecision = 1<<3 | message
	tagReserveUnits    = 2<<3 | message
	tagReserveLifetime = 3<<3 | message

	tagReservedName  = 1<<3 | message
	tagReservedUnit  = 2<<3 | message
	tagReservedUnits = 3<<3 | number
)

// appendReserved appends the ReserveResponse for x, which is decided and has no Fault.
func appendReserved(dst []byte, x *api.Exchange, lifetime time.Duration, explain bool) []byte {
	dst, at := wire.Open(dst, tagReserveDecision)
	dst = wire.Shut(Append(dst, x, explain), at)
	if v, _ := x.Verdict(); v == limiter.Denied {
		return dst
	}
	charges := x.Call.Charges()
	for i := range charges {
		l, ok := hold.LegOf(0, &charges[i])
		if !ok {
			continue
		}
		dst, at = wire.Open(dst, tagReserveUnits)
		dst = wire.AppendString(dst, tagReservedName, l.Limit.Name)
		dst = wire.AppendString(dst, tagReservedUnit, l.Limit.Unit())
		dst = wire.AppendUint(dst, tagReservedUnits, l.Units)
		dst = wire.Shut(dst, at)
	}
	return wire.AppendDuration(dst, tagReserveLifetime, lifetime)
}
