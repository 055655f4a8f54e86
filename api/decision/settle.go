package decision

import (
	"context"
	"encoding/binary"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headgate/headgate/api"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/hold"
	"github.com/headgate/headgate/policy"
)

// Extend answers the ExtendRequest in x.In by x.Out, as Reserve does.
func (s *Service) Extend(_ context.Context, x *api.Exchange) (*api.Exchange, error) {
	var m headgatev1.ExtendRequest
	if err := s.unmarshal(x.In, &m); err != nil {
		return x, err
	}
	lifetime, err := lifetimeOf(m.GetLifetime())
	if err != nil {
		return x, err
	}
	e, o := s.Reservations.Extend(s.Desk.Now(), s.key(&m), lifetime)
	switch o {
	case hold.Done:
	case hold.TooLong:
		return x, &api.Fault{
			Reason: api.OutOfBounds, Field: "lifetime", Value: lifetime.String(),
			Bound: "at most " + e.Bound.String() + ": what is left of " + hold.LifetimeMax.String() + ", or the shortest lifetime of the limits",
		}
	default:
		return x, refusal(o, m.GetId())
	}
	x.Out = wire.AppendDuration(x.Out[:0], tagExtendLifetime, e.Lifetime)
	for _, l := range e.Lost {
		x.Out = wire.AppendString(x.Out, tagExtendLost, l.Name)
	}
	return x, nil
}

// lifetimeOf returns what d says, which has to be said.
func lifetimeOf(d *durationpb.Duration) (time.Duration, error) {
	s := slotFields{id: []byte{0}, hasLifetime: true, seconds: d.GetSeconds(), nanos: d.GetNanos()}
	var r policy.Request
	err := s.finish(&r)
	return r.Lifetime, err
}

// Settle answers the SettleRequest in x.In by x.Out, as Reserve does.
func (s *Service) Settle(ctx context.Context, x *api.Exchange) (*api.Exchange, error) {
	var m headgatev1.SettleRequest
	if err := s.unmarshal(x.In, &m); err != nil {
		return x, err
	}
	return s.settle(ctx, x, &m)
}

// Cancel answers the CancelRequest in x.In by x.Out, as Reserve does.
func (s *Service) Cancel(ctx context.Context, x *api.Exchange) (*api.Exchange, error) {
	var m headgatev1.CancelRequest
	if err := s.unmarshal(x.In, &m); err != nil {
		return x, err
	}
	return s.settle(ctx, x, &headgatev1.SettleRequest{Domain: m.GetDomain(), Id: m.GetId(), Cost: proto.Uint64(0)})
}

func (s *Service) settle(ctx context.Context, x *api.Exchange, m *headgatev1.SettleRequest) (*api.Exchange, error) {
	costs, err := costsOf(m)
	if err != nil {
		return x, err
	}
	check := unitCheck{costs: costs}
	by := hold.End{
		ID: s.key(m), Content: s.Desk.Policy().ContentKey(settleContent(m, costs)),
		Costs: func(l *limiter.Limit, reserved uint64) uint64 { return costOf(m, costs, l, reserved) },
	}
	if len(costs) > 0 {
		by.Check = check.passes
	}
	ctx, cancel := context.WithTimeout(ctx, s.Desk.Timeout())
	defer cancel()
	result, o := s.Reservations.Settle(ctx, s.Desk.Now(), by, appendSettled)
	if o == hold.Refused {
		return x, check.fault()
	}
	if o != hold.Done && o != hold.Again {
		return x, refusal(o, m.GetId())
	}
	x.Out = append(x.Out[:0], result...)
	return x, nil
}

// A named request says which reservation it is about.
type named interface {
	proto.Message
	GetDomain() string
	GetId() []byte
}

// unmarshal reads b into m, and checks what all requests about a reservation have.
func (s *Service) unmarshal(b []byte, m named) error {
	if len(b) > s.Bounds.MessageBytes {
		return api.TooLong("message", len(b), s.Bounds.MessageBytes)
	}
	if proto.Unmarshal(b, m) != nil {
		return api.NotProto("message")
	}
	switch domain, id := m.GetDomain(), m.GetId(); {
	case domain == "":
		return &api.Fault{Reason: api.Malformed, Field: "domain", Bound: "must not be empty"}
	case len(domain) > s.Bounds.KeyBytes:
		return api.TooLong("domain", len(domain), s.Bounds.KeyBytes)
	case len(id) == 0:
		return &api.Fault{Reason: api.Malformed, Field: "id", Bound: "must not be empty"}
	case len(id) > limiter.HolderBytesMax:
		return api.TooLong("id", len(id), limiter.HolderBytesMax)
	}
	return nil
}

func (s *Service) key(m named) limiter.Key {
	return s.Desk.Policy().ReservationKey([]byte(m.GetDomain()), m.GetId())
}

// costsOf returns what m says the call has cost, checked.
func costsOf(m *headgatev1.SettleRequest) (costs []policy.UnitCost, err error) {
	if m.GetCost() > limiter.CostMax {
		return nil, &api.Fault{
			Reason: api.OutOfBounds, Field: "cost",
			Value: strconv.FormatUint(m.GetCost(), 10), Bound: "at most " + strconv.FormatUint(limiter.CostMax, 10),
		}
	}
	for _, c := range m.GetCosts() {
		if err := checkCost(costs, []byte(c.GetUnit()), c.GetUnits()); err != nil {
			return nil, err
		}
		costs = append(costs, policy.UnitCost{Unit: []byte(c.GetUnit()), Units: c.GetUnits()})
	}
	return costs, nil
}

// settleContent is reserveContent for a settlement.
func settleContent(m *headgatev1.SettleRequest, costs []policy.UnitCost) []byte {
	b := []byte{0}
	if m.Cost != nil {
		b = binary.AppendUvarint([]byte{1}, m.GetCost())
	}
	return appendCosts(b, costs)
}

// costOf returns what a call has cost the limit l.
func costOf(m *headgatev1.SettleRequest, costs []policy.UnitCost, l *limiter.Limit, reserved uint64) uint64 {
	if unit := l.Unit(); unit != "" {
		for _, c := range costs {
			if string(c.Unit) == unit {
				return c.Units
			}
		}
	}
	if m.Cost != nil {
		return m.GetCost()
	}
	return reserved
}

// Tags of ExtendResponse, SettleResponse and SettledUnits.
const (
	tagExtendLifetime = 1<<3 | message
	tagExtendLost     = 2<<3 | message

	tagSettleLimits = 1<<3 | message
	tagSettleLate   = 2<<3 | number

	tagSettledName      = 1<<3 | message
	tagSettledUnit      = 2<<3 | message
	tagSettledReserved  = 3<<3 | number
	tagSettledCost      = 4<<3 | number
	tagSettledReturned  = 5<<3 | number
	tagSettledOwed      = 6<<3 | number
	tagSettledUncharged = 7<<3 | number
)

// appendSettled returns the SettleResponse for s.
func appendSettled(s hold.Settlement) []byte {
	var dst []byte
	for i := range s.Legs {
		l := &s.Legs[i]
		var at int
		dst, at = wire.Open(dst, tagSettleLimits)
		dst = wire.AppendString(dst, tagSettledName, l.Limit.Name)
		dst = wire.AppendString(dst, tagSettledUnit, l.Limit.Unit())
		dst = wire.AppendUint(dst, tagSettledReserved, l.Reserved)
		dst = wire.AppendUint(dst, tagSettledCost, l.Cost)
		dst = wire.AppendUint(dst, tagSettledReturned, l.Returned)
		dst = wire.AppendUint(dst, tagSettledOwed, l.Owed)
		dst = wire.AppendUint(dst, tagSettledUncharged, l.Lost)
		dst = wire.Shut(dst, at)
	}
	if s.Late {
		dst = append(dst, tagSettleLate, 1)
	}
	return dst
}
