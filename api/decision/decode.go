package decision

import (
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// Tags of CheckRequest and Attribute.
const (
	tagDomain    = 1<<3 | byte(protowire.BytesType)
	tagAttribute = 2<<3 | byte(protowire.BytesType)
	tagKey       = 1<<3 | byte(protowire.BytesType)
	tagValue     = 2<<3 | byte(protowire.BytesType)
)

// Decode reads the CheckRequest b into r, which is empty: one descriptor with an
// entry for each attribute. r keeps slices of b. It means what proto.Unmarshal
// and the service's documentation make of the same bytes. explain is what the
// answer is asked for, see Append. The error, a *api.Fault, allocates; nothing
// else does.
func Decode(b []byte, bounds *api.Bounds, r *policy.Request) (explain bool, err error) {
	return decode(b, bounds, r, false)
}

// DecodePeek is Decode for the request of a Peek: r charges nothing.
func DecodePeek(b []byte, bounds *api.Bounds, r *policy.Request) (explain bool, err error) {
	return decode(b, bounds, r, true)
}

// DecodeExplain is Decode for an ExplainRequest: r charges nothing, and the answer
// is always explained.
func DecodeExplain(b []byte, bounds *api.Bounds, r *policy.Request) (explain bool, err error) {
	if len(b) > bounds.MessageBytes {
		return false, api.TooLong("message", len(b), bounds.MessageBytes)
	}
	d := newDecoder(bounds, r)
	if err := d.request(b); err != nil {
		return false, err
	}
	d.giveBack = false // a field of CheckRequest only
	return true, d.finish(true)
}

func decode(b []byte, bounds *api.Bounds, r *policy.Request, peek bool) (explain bool, err error) {
	if len(b) > bounds.MessageBytes {
		return false, api.TooLong("message", len(b), bounds.MessageBytes)
	}
	d := newDecoder(bounds, r)
	d.slots.last = fieldID
	if err := d.request(b); err != nil {
		return false, err
	}
	if err := d.finish(peek); err != nil {
		return false, err
	}
	return d.explain, d.name(peek)
}

// name takes what a CheckRequest has in the place of a holder's id: its request_id.
func (d *decoder) name(peek bool) error {
	id := d.slots.id
	switch {
	case len(id) > limiter.RequestBytesMax:
		return api.TooLong("request_id", len(id), limiter.RequestBytesMax)
	case len(id) > 0 && !peek:
		d.r.RequestID = id
	}
	return nil
}

// A decoder is the state of one CheckRequest as it is read, piece by piece.
type decoder struct {
	r        *policy.Request
	to       *policy.Descriptor
	bounds   *api.Bounds
	n        int // attributes so far
	giveBack bool
	explain  bool
	noCosts  bool // the message has no costs
	slots    slotFields
}

func newDecoder(bounds *api.Bounds, r *policy.Request) decoder {
	return decoder{r: r, to: r.AddDescriptor(), bounds: bounds}
}

// request reads b. A message that comes in several pieces is what they are
// together.
func (d *decoder) request(b []byte) error {
	w := wire.NewReader(b)
	for w.More() {
		var ok bool
		switch {
		case w.Is(tagAttribute):
			var v []byte
			if v, ok = w.Bytes(); ok {
				if err := d.attribute(v); err != nil {
					return err
				}
			}
		case w.Is(tagDomain):
			if d.r.Domain, ok = w.Bytes(); ok && !utf8.Valid(d.r.Domain) {
				return api.NotText("domain")
			}
		default:
			var err error
			if ok, err = d.rare(&w); err != nil {
				return err
			}
		}
		if !ok {
			return api.NotProto("message")
		}
	}
	return nil
}

// rare reads one field of any number, whatever its tag looks like.
func (d *decoder) rare(w *wire.Reader) (ok bool, err error) {
	num, typ, ok := w.Tag()
	var v uint64
	switch {
	case !ok:
	case num == 1 && typ == protowire.BytesType:
		if d.r.Domain, ok = w.Bytes(); ok && !utf8.Valid(d.r.Domain) {
			return false, api.NotText("domain")
		}
	case num == 2 && typ == protowire.BytesType:
		var b []byte
		if b, ok = w.Bytes(); ok {
			return true, d.attribute(b)
		}
	case num == 3 && typ == protowire.VarintType:
		d.to.Cost, ok = w.Varint()
	case num == 4 && typ == protowire.VarintType:
		v, ok = w.Varint()
		d.giveBack = v != 0
	case num == 5 && typ == protowire.VarintType:
		v, ok = w.Varint()
		d.explain = v != 0
	default:
		return d.rarer(num, typ, w)
	}
	return ok, nil
}

// rarer reads one field that few messages have.
func (d *decoder) rarer(num protowire.Number, typ protowire.Type, w *wire.Reader) (ok bool, err error) {
	if num != fieldCosts || typ != protowire.BytesType || d.noCosts {
		return d.slots.field(num, typ, w), nil
	}
	b, ok := w.Bytes()
	if !ok {
		return false, nil
	}
	return true, d.cost(b)
}

// attribute adds the next entry.
func (d *decoder) attribute(b []byte) error {
	var key, value []byte
	w := wire.NewReader(b)
	for w.More() {
		var ok bool
		switch {
		case w.Is(tagKey):
			if key, ok = w.Bytes(); ok && !utf8.Valid(key) {
				return api.NotText(path(d.n) + ".key")
			}
		case w.Is(tagValue):
			if value, ok = w.Bytes(); ok && !utf8.Valid(value) {
				return api.NotText(path(d.n) + ".value")
			}
		default:
			var num protowire.Number
			var typ protowire.Type
			num, typ, ok = w.Tag()
			switch {
			case !ok:
			case num <= 2 && typ == protowire.BytesType: // its tag is spelt in more bytes than it takes
				var v []byte
				if v, ok = w.Bytes(); ok && !utf8.Valid(v) {
					return api.NotText(path(d.n))
				}
				if num == 1 {
					key = v
				} else {
					value = v
				}
			default:
				ok = w.Skip(num, typ)
			}
		}
		if !ok {
			return api.NotProto(path(d.n))
		}
	}
	return d.add(key, value)
}

// add adds the entry of an attribute.
func (d *decoder) add(key, value []byte) error {
	switch {
	case len(key) == 0:
		return &api.Fault{Reason: api.Malformed, Field: path(d.n) + ".key", Bound: "must not be empty"}
	case len(key) > d.bounds.KeyBytes:
		return api.TooLong(path(d.n)+".key", len(key), d.bounds.KeyBytes)
	case len(value) > d.bounds.ValueBytes:
		return api.TooLong(path(d.n)+".value", len(value), d.bounds.ValueBytes)
	}
	d.n++
	if d.n > d.bounds.Entries || !d.r.AddEntry(key, value) {
		return api.TooMany("attributes", d.n, d.bounds.Entries)
	}
	return nil
}

// finish checks what only the whole request shows, and says what it does.
func (d *decoder) finish(peek bool) error {
	switch domain := d.r.Domain; {
	case len(domain) == 0:
		return &api.Fault{Reason: api.Malformed, Field: "domain", Bound: "must not be empty"}
	case len(domain) > d.bounds.KeyBytes:
		return api.TooLong("domain", len(domain), d.bounds.KeyBytes)
	case d.to.Cost > limiter.CostMax:
		return &api.Fault{
			Reason: api.OutOfBounds, Field: "cost",
			Value: strconv.FormatUint(d.to.Cost, 10), Bound: "at most " + strconv.FormatUint(limiter.CostMax, 10),
		}
	case peek && d.giveBack:
		return &api.Fault{Reason: api.Malformed, Field: "give_back", Value: "true", Bound: "Peek gives nothing back"}
	}
	switch {
	case peek || d.to.Cost == 0 && len(d.r.Costs()) == 0:
		d.to.Op = limiter.OpPeek // giving nothing back is a look, too
	case d.giveBack:
		d.to.Op = limiter.OpGiveBack
	}
	return nil
}

// path names attribute i.
func path(i int) string { return "attributes[" + strconv.Itoa(i) + "]" }
