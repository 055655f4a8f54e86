package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headgate/headgate/api"
	native "github.com/headgate/headgate/api/decision"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/limiter"
)

// A check is the body of POST /v1/check: a CheckRequest of the native API.
type check struct {
	Domain     string     `json:"domain"`
	Attributes attributes `json:"attributes"`
	Cost       *units     `json:"cost"`
	Costs      unitCosts  `json:"costs"`
	GiveBack   bool       `json:"give_back"`
	Peek       bool       `json:"peek"`
	CanWait    bool       `json:"can_wait"`
	Explain    bool       `json:"explain"`
	RequestID  string     `json:"request_id"`
}

// units are a whole number; 2.0 and 2e0 are ones, too.
type units uint64

// UnmarshalJSON reads one.
func (u *units) UnmarshalJSON(b []byte) error {
	if err := u.read(b); err != nil {
		return fmt.Errorf("cost: %w", err)
	}
	return nil
}

func (u *units) read(b []byte) error {
	if n, err := strconv.ParseUint(string(b), 10, 64); err == nil {
		*u = units(n)
		return nil
	}
	if f, err := strconv.ParseFloat(string(b), 64); err == nil && f >= 0 && f <= limiter.CostMax && f == math.Trunc(f) {
		*u = units(f)
		return nil
	}
	return fmt.Errorf("%s: must be a whole number from 0 to %d", api.Quote(b), uint64(limiter.CostMax))
}

// attributes are an object, or a list of {"key", "value"} where a key repeats.
// Both keep their order. Numbers and booleans are taken as they are written.
type attributes []*headgatev1.Attribute

var errAttributes = errors.New(`attributes: must be an object of texts, or a list of {"key": …, "value": …}`)

// UnmarshalJSON reads either form. As with every field of a JSON object, the last
// one counts if there are several.
func (a *attributes) UnmarshalJSON(b []byte) error {
	*a = nil
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	t, err := d.Token()
	switch {
	case err != nil:
		return fmt.Errorf("attributes: %w", err)
	case t == nil:
		return nil
	case t == json.Delim('{'):
		return a.object(d)
	case t == json.Delim('['):
		return a.list(b)
	default:
		return errAttributes
	}
}

func (a *attributes) object(d *json.Decoder) error {
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return fmt.Errorf("attributes: %w", err)
		}
		var v value
		if err := d.Decode(&v); err != nil {
			return fmt.Errorf("attributes: %v: %w", key, err)
		}
		name, _ := key.(string) // of an object it is one
		*a = append(*a, &headgatev1.Attribute{Key: name, Value: string(v)})
	}
	return nil
}

func (a *attributes) list(b []byte) error {
	var pairs []struct {
		Key   *string `json:"key"`
		Value *value  `json:"value"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&pairs); err != nil {
		return errors.New("attributes: " + api.JSONProblem(err))
	}
	for i, p := range pairs {
		if p.Key == nil || p.Value == nil {
			return fmt.Errorf("attributes[%d]: must have key and value", i)
		}
		*a = append(*a, &headgatev1.Attribute{Key: *p.Key, Value: string(*p.Value)})
	}
	return nil
}

// A value is a JSON text, number or boolean, as text.
type value string

// UnmarshalJSON reads one.
func (v *value) UnmarshalJSON(b []byte) error {
	switch c := b[0]; {
	case c == '"':
		return json.Unmarshal(b, (*string)(v))
	case c == '-' || '0' <= c && c <= '9' || c == 't' || c == 'f':
		*v = value(b)
		return nil
	default:
		return errors.New("must be a text, a number or a boolean")
	}
}

// An object is a JSON object's bytes.
type object []byte

// UnmarshalJSON keeps b.
func (o *object) UnmarshalJSON(b []byte) error {
	if b[0] != '{' {
		return errors.New("must be a JSON object")
	}
	*o = append((*o)[:0], b...)
	return nil
}

// readJSON reads the body of r, one JSON object without unknown fields, into v.
func (h *Handler) readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, int64(h.Bounds.MessageBytes)))
	var body object
	err := d.Decode(&body)
	if err == nil {
		strict := json.NewDecoder(bytes.NewReader(body))
		strict.DisallowUnknownFields()
		err = strict.Decode(v)
	}
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = errors.New("more than one JSON value")
		}
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return err
	}
	return &api.Fault{Reason: api.Malformed, Field: "body", Bound: api.JSONProblem(err)}
}

// decide decides c, without its counters if it is late, and returns the exchange, which is the caller's to close, also
// with an error: a *api.Fault. Nobody closes it in a defer: after a panic its state
// is unknown, and the desk must not lend it again.
func (h *Handler) decide(ctx context.Context, c *check, late bool) (*api.Exchange, error) {
	x := h.Desk.Open()
	message, err := proto.Marshal(&headgatev1.CheckRequest{
		Domain: c.Domain, Attributes: c.Attributes, Cost: (*uint64)(c.Cost), GiveBack: c.GiveBack, Explain: c.Explain,
		Costs: c.Costs.messages(), RequestId: []byte(c.RequestID),
	})
	if err != nil {
		return x, &api.Fault{Reason: api.Malformed, Field: "body", Bound: "must be valid UTF-8"}
	}
	decode := native.Decode
	if c.Peek {
		decode = native.DecodePeek
	}
	if _, err := decode(message, &h.Bounds, &x.Req); err != nil {
		return x, err
	}
	x.Patient = c.CanWait
	x = h.decideAt(ctx, x, late)
	return x, x.Fault()
}

// check answers POST /v1/check.
func (h *Handler) check(w http.ResponseWriter, r *http.Request) {
	var c check
	if err := h.readJSON(w, r, &c); err != nil {
		h.refuse(w, err)
		return
	}
	x, err := h.decide(r.Context(), &c, h.isBehind())
	h.answer(w, x, &c, err)
	h.Desk.Close(x)
}

// answer writes what came of c: the decision that x holds, or err.
func (h *Handler) answer(w http.ResponseWriter, x *api.Exchange, c *check, err error) {
	if err != nil {
		h.refuse(w, err)
		return
	}
	setFields(w.Header(), x)
	d := decisionOf(x, c)
	if v, _ := x.Verdict(); v == limiter.Denied && !c.Peek {
		p := denial(x, http.StatusTooManyRequests)
		p.Decision = d
		p.write(w)
		return
	}
	writeJSON(w, d)
}

// A batch is the body of POST /v1/batch.
type batch struct {
	Checks []check `json:"checks"`
}

// A batchItem is the outcome of one check: one of its fields is set.
type batchItem struct {
	Decision *decision `json:"decision,omitempty"`
	Error    *problem  `json:"error,omitempty"`
}

// batch answers POST /v1/batch: each check as POST /v1/check would, in order.
func (h *Handler) batch(w http.ResponseWriter, r *http.Request) {
	var b batch
	if err := h.readJSON(w, r, &b); err != nil {
		h.refuse(w, err)
		return
	}
	if b.Checks == nil {
		h.refuse(w, &api.Fault{Reason: api.Malformed, Field: "checks", Bound: "is missing"})
		return
	}
	if len(b.Checks) > h.Bounds.BatchChecks {
		h.refuse(w, api.TooMany("checks", len(b.Checks), h.Bounds.BatchChecks))
		return
	}
	out := struct {
		Items []batchItem `json:"items"`
	}{make([]batchItem, 0, len(b.Checks))}
	// One bound for the whole: a late decider is waited for once, not for each check.
	ctx, cancel := context.WithTimeout(r.Context(), h.Desk.Timeout())
	defer cancel()
	late := h.isBehind()
	for i := range b.Checks {
		out.Items = append(out.Items, h.batchItem(ctx, &b.Checks[i], late))
	}
	writeJSON(w, &out)
}

func (h *Handler) batchItem(ctx context.Context, c *check, late bool) batchItem {
	x, err := h.decide(ctx, c, late)
	var item batchItem
	if err != nil {
		h.Desk.CountFault()
		p := fault(err)
		item.Error = &p
	} else {
		item.Decision = decisionOf(x, c)
	}
	h.Desk.Close(x)
	return item
}

func writeJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil { // it has only texts and numbers
		panic(err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(body) // an error is the reader's: it went away
}

// seconds returns d as JSON shows it, nil if it is not set.
func seconds(d *durationpb.Duration) *float64 {
	if d == nil {
		return nil
	}
	s := d.AsDuration().Seconds()
	return &s
}
