package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headgate/headgate/api"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/limiter"
)

// unitCosts are what a call costs by unit.
type unitCosts map[string]units

var errCosts = errors.New("costs: must be an object of whole numbers by unit")

// UnmarshalJSON reads an object of units.
func (c *unitCosts) UnmarshalJSON(b []byte) error {
	*c = nil
	if string(b) == "null" {
		return nil
	}
	if b[0] != '{' {
		return errCosts
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil {
		return err
	}
	*c = make(unitCosts, len(members))
	for _, unit := range slices.Sorted(maps.Keys(members)) {
		var n units
		if err := n.read(members[unit]); err != nil {
			return fmt.Errorf("costs: %s: %w", api.Quote([]byte(unit)), err)
		}
		(*c)[unit] = n
	}
	return nil
}

// messages returns c as the native API has it.
func (c unitCosts) messages() (list []*headgatev1.UnitCost) {
	for _, unit := range slices.Sorted(maps.Keys(c)) {
		list = append(list, &headgatev1.UnitCost{Unit: unit, Units: uint64(c[unit])})
	}
	return list
}

// A span is a time in seconds, fractions too.
type span time.Duration

var errSpan = errors.New("lifetime_seconds: must be in [1e-9, 86400]")

// UnmarshalJSON reads one.
func (s *span) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if ns := math.Round(f * float64(time.Second)); err == nil && f >= 1e-9 && ns <= float64(limiter.LifetimeMax) {
		*s = span(ns)
		return nil
	}
	return errSpan
}

// message returns s as the native API has it, nil if it was not said.
func (s *span) message() *durationpb.Duration {
	if s == nil {
		return nil
	}
	return durationpb.New(time.Duration(*s))
}

// A reserve is the body of POST /v1/reserve: a ReserveRequest.
type reserve struct {
	Domain     string     `json:"domain"`
	Attributes attributes `json:"attributes"`
	ID         string     `json:"id"`
	Cost       *units     `json:"cost"`
	Costs      unitCosts  `json:"costs"`
	Lifetime   *span      `json:"lifetime_seconds"`
	Explain    bool       `json:"explain"`
}

// An extend is the body of POST /v1/extend: an ExtendRequest.
type extend struct {
	Domain   string `json:"domain"`
	ID       string `json:"id"`
	Lifetime *span  `json:"lifetime_seconds"`
}

// A settle is the body of POST /v1/settle: a SettleRequest.
type settle struct {
	Domain string    `json:"domain"`
	ID     string    `json:"id"`
	Cost   *units    `json:"cost"`
	Costs  unitCosts `json:"costs"`
}

// A cancel is the body of POST /v1/cancel: a CancelRequest.
type cancel struct {
	Domain string `json:"domain"`
	ID     string `json:"id"`
}

// A reservation is a ReserveResponse.
type reservation struct {
	Decision *decision  `json:"decision"`
	Reserved []reserved `json:"reserved"`
	Lifetime *float64   `json:"lifetime_seconds,omitempty"`
}

// A reserved is a ReservedUnits.
type reserved struct {
	Name  string `json:"name"`
	Unit  string `json:"unit,omitempty"`
	Units uint64 `json:"units"`
}

// An extension is an ExtendResponse.
type extension struct {
	Lifetime float64  `json:"lifetime_seconds"`
	Lost     []string `json:"lost,omitempty"`
}

// A settlement is a SettleResponse.
type settlement struct {
	Limits []settled `json:"limits"`
	Late   bool      `json:"late,omitempty"`
}

// A settled is a SettledUnits.
type settled struct {
	Name      string `json:"name"`
	Unit      string `json:"unit,omitempty"`
	Reserved  uint64 `json:"reserved"`
	Cost      uint64 `json:"cost"`
	Returned  uint64 `json:"returned,omitempty"`
	Owed      uint64 `json:"owed,omitempty"`
	Uncharged uint64 `json:"uncharged,omitempty"`
}

// reservationRoutes adds the routes that are about reservations.
func (h *Handler) reservationRoutes() {
	h.mux.HandleFunc("/v1/reserve", only(http.MethodPost, h.reserve))
	h.mux.HandleFunc("/v1/extend", only(http.MethodPost, h.extend))
	h.mux.HandleFunc("/v1/settle", only(http.MethodPost, h.settle))
	h.mux.HandleFunc("/v1/cancel", only(http.MethodPost, h.cancel))
}

// A nativeMethod answers x.In by x.Out.
type nativeMethod = func(context.Context, *api.Exchange) (*api.Exchange, error)

// ask has the native API answer a request, reads its answer into out, and returns the
// exchange, which is the caller's to close, also with an error; not in a defer, see
// decide.
func (h *Handler) ask(ctx context.Context, method nativeMethod, in, out proto.Message) (*api.Exchange, error) {
	x := h.Desk.Open()
	var err error
	if x.In, err = (proto.MarshalOptions{}).MarshalAppend(x.In[:0], in); err != nil {
		return x, &api.Fault{Reason: api.Malformed, Field: "body", Bound: "must be valid UTF-8"}
	}
	if x, err = method(ctx, x); err != nil {
		return x, err
	}
	if err := proto.Unmarshal(x.Out, out); err != nil { // our own bytes
		panic(err)
	}
	return x, nil
}

// reserve answers POST /v1/reserve.
func (h *Handler) reserve(w http.ResponseWriter, r *http.Request) {
	var body reserve
	if err := h.readJSON(w, r, &body); err != nil {
		h.refuse(w, err)
		return
	}
	var m headgatev1.ReserveResponse
	x, err := h.ask(r.Context(), h.Native.Reserve, &headgatev1.ReserveRequest{
		Domain: body.Domain, Attributes: body.Attributes, Id: []byte(body.ID), Cost: (*uint64)(body.Cost), Costs: body.Costs.messages(),
		Lifetime: body.Lifetime.message(), Explain: body.Explain,
	}, &m)
	if err != nil {
		h.refuse(w, err)
	} else {
		h.answerReserved(w, x, &m)
	}
	h.Desk.Close(x)
}

// answerReserved writes m, which is the answer that x holds.
func (h *Handler) answerReserved(w http.ResponseWriter, x *api.Exchange, m *headgatev1.ReserveResponse) {
	d := decisionFrom(m.GetDecision(), true)
	if m.GetDecision().GetVerdict() == headgatev1.Verdict_VERDICT_DENIED {
		setFields(w.Header(), x)
		p := denial(x, http.StatusTooManyRequests)
		p.Decision = d
		p.write(w)
		return
	}
	out := reservation{Decision: d, Reserved: make([]reserved, 0, len(m.GetReserved())), Lifetime: seconds(m.GetLifetime())}
	for _, u := range m.GetReserved() {
		out.Reserved = append(out.Reserved, reserved{u.GetName(), u.GetUnit(), u.GetUnits()})
	}
	writeJSON(w, &out)
}

// extend answers POST /v1/extend.
func (h *Handler) extend(w http.ResponseWriter, r *http.Request) {
	var body extend
	if err := h.readJSON(w, r, &body); err != nil {
		h.refuse(w, err)
		return
	}
	var m headgatev1.ExtendResponse
	x, err := h.ask(r.Context(), h.Native.Extend, &headgatev1.ExtendRequest{Domain: body.Domain, Id: []byte(body.ID), Lifetime: body.Lifetime.message()}, &m)
	if err != nil {
		h.refuse(w, err)
	} else {
		writeJSON(w, &extension{m.GetLifetime().AsDuration().Seconds(), m.GetLost()})
	}
	h.Desk.Close(x)
}

// settle answers POST /v1/settle.
func (h *Handler) settle(w http.ResponseWriter, r *http.Request) {
	var body settle
	if err := h.readJSON(w, r, &body); err != nil {
		h.refuse(w, err)
		return
	}
	h.end(w, r, h.Native.Settle, &headgatev1.SettleRequest{
		Domain: body.Domain, Id: []byte(body.ID), Cost: (*uint64)(body.Cost), Costs: body.Costs.messages(),
	})
}

// cancel answers POST /v1/cancel.
func (h *Handler) cancel(w http.ResponseWriter, r *http.Request) {
	var body cancel
	if err := h.readJSON(w, r, &body); err != nil {
		h.refuse(w, err)
		return
	}
	h.end(w, r, h.Native.Cancel, &headgatev1.CancelRequest{Domain: body.Domain, Id: []byte(body.ID)})
}

// end has a reservation ended.
func (h *Handler) end(w http.ResponseWriter, r *http.Request, method nativeMethod, in proto.Message) {
	var m headgatev1.SettleResponse
	x, err := h.ask(r.Context(), method, in, &m)
	h.Desk.Close(x)
	if err != nil {
		h.refuse(w, err)
		return
	}
	out := settlement{Limits: make([]settled, 0, len(m.GetLimits())), Late: m.GetLate()}
	for _, u := range m.GetLimits() {
		out.Limits = append(out.Limits, settled{
			u.GetName(), u.GetUnit(), u.GetReserved(), u.GetCost(), u.GetReturned(), u.GetOwed(), u.GetUncharged(),
		})
	}
	writeJSON(w, &out)
}
