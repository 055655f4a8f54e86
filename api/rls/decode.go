package rls

import (
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// Decode reads the RateLimitRequest b into r, which is empty. r keeps slices of
// b. It means what proto.Unmarshal and the service's documentation make of the
// same bytes: unknown fields are skipped, of a scalar the last value counts, a
// message that comes twice is merged, strings are valid UTF-8. The error, a
// *api.Fault, allocates; nothing else does.
func Decode(b []byte, bounds *api.Bounds, r *policy.Request) error {
	if len(b) > bounds.MessageBytes {
		return api.TooLong("message", len(b), bounds.MessageBytes)
	}
	d := decoder{r: r, bounds: bounds}
	if err := d.request(b); err != nil {
		return err
	}
	return d.finish()
}

// A decoder is the state of one Decode.
type decoder struct {
	r       *policy.Request
	bounds  *api.Bounds
	entries int    // so far
	addend  uint32 // the request's
	own     uint32 // bit i: descriptor i has an addend of its own
}

func (d *decoder) request(b []byte) error {
	w := wire.NewReader(b)
	for n := 0; w.More(); {
		num, typ, ok := w.Tag()
		switch {
		case !ok:
		case num == 1 && typ == protowire.BytesType:
			if d.r.Domain, ok = w.Bytes(); ok && !utf8.Valid(d.r.Domain) {
				return api.NotText("domain")
			}
		case num == 2 && typ == protowire.BytesType:
			var v []byte
			if v, ok = w.Bytes(); ok {
				if err := d.descriptor(v, n); err != nil {
					return err
				}
				n++
			}
		case num == 3 && typ == protowire.VarintType:
			var v uint64
			v, ok = w.Varint()
			d.addend = uint32(v)
		default:
			ok = w.Skip(num, typ)
		}
		if !ok {
			return api.NotProto("message")
		}
	}
	return nil
}

// finish checks what only the whole request shows, and gives the descriptors
// without an addend of their own the request's.
func (d *decoder) finish() error {
	ds := d.r.Descriptors()
	switch domain := d.r.Domain; {
	case len(domain) == 0:
		return &api.Fault{Reason: api.Malformed, Field: "domain", Bound: "must not be empty"}
	case len(domain) > d.bounds.KeyBytes:
		return api.TooLong("domain", len(domain), d.bounds.KeyBytes)
	case len(ds) == 0:
		return &api.Fault{Reason: api.Malformed, Field: "descriptors", Bound: "must not be empty"}
	}
	for i := range ds {
		if d.own&(1<<i) == 0 {
			ds[i].Cost = uint64(max(d.addend, 1))
		}
		if ds[i].Cost == 0 {
			ds[i].Op = limiter.OpPeek // giving nothing back is a look, too
		}
	}
	return nil
}

// A descriptor is a RateLimitDescriptor as it is read, piece by piece; its
// entries are in the request already.
type descriptor struct {
	override    override
	overrideSet bool
	addend      uint64
	addendSet   bool
	negative    bool
}

// descriptor adds descriptor i, the next one.
func (d *decoder) descriptor(b []byte, i int) error {
	if i >= d.bounds.Descriptors {
		return api.TooMany("descriptors", i+1, d.bounds.Descriptors)
	}
	to := d.r.AddDescriptor()
	if to == nil { // only if the bound was never validated
		return api.TooMany("descriptors", i+1, policy.DescriptorsMax)
	}
	var from descriptor
	w := wire.NewReader(b)
	for w.More() {
		num, typ, ok := w.Tag()
		switch {
		case !ok:
		case num == 1 && typ == protowire.BytesType:
			var v []byte
			if v, ok = w.Bytes(); ok {
				if err := d.entry(v, i); err != nil {
					return err
				}
			}
		default:
			ok = from.field(&w, num, typ)
		}
		if !ok {
			return api.NotProto(path(i))
		}
	}
	return d.apply(&from, to, i)
}

// field reads one field that is not an entry.
func (f *descriptor) field(w *wire.Reader, num protowire.Number, typ protowire.Type) bool {
	switch {
	case num == 2 && typ == protowire.BytesType:
		v, ok := w.Bytes()
		f.overrideSet = true
		return ok && f.override.merge(v)
	case num == 3 && typ == protowire.BytesType:
		v, ok := w.Bytes()
		f.addendSet = true
		return ok && mergeWrapper(v, &f.addend)
	case num == 4 && typ == protowire.VarintType:
		v, ok := w.Varint()
		f.negative = v != 0
		return ok
	default:
		return w.Skip(num, typ)
	}
}

// apply gives descriptor i of the request, to, what was read.
func (d *decoder) apply(from *descriptor, to *policy.Descriptor, i int) error {
	if from.addend > limiter.CostMax {
		return &api.Fault{
			Reason: api.OutOfBounds, Field: path(i) + ".hits_addend",
			Value: strconv.FormatUint(from.addend, 10), Bound: "at most " + strconv.FormatUint(limiter.CostMax, 10),
		}
	}
	if from.addendSet {
		to.Cost = from.addend
		d.own |= 1 << i
	}
	if from.negative {
		to.Op = limiter.OpGiveBack
	}
	if from.overrideSet {
		return from.override.add(d.r, i)
	}
	return nil
}

// entry adds an entry to descriptor i, the last one.
func (d *decoder) entry(b []byte, i int) error {
	var key, value []byte
	w := wire.NewReader(b)
	for w.More() {
		num, typ, ok := w.Tag()
		switch {
		case !ok:
		case num > 2 || typ != protowire.BytesType:
			ok = w.Skip(num, typ)
		default:
			var v []byte
			if v, ok = w.Bytes(); ok && !utf8.Valid(v) {
				return api.NotText(path(i) + ".entries")
			}
			if num == 1 {
				key = v
			} else {
				value = v
			}
		}
		if !ok {
			return api.NotProto(path(i) + ".entries")
		}
	}
	switch {
	case len(key) > d.bounds.KeyBytes:
		return api.TooLong(path(i)+".entries.key", len(key), d.bounds.KeyBytes)
	case len(value) > d.bounds.ValueBytes:
		return api.TooLong(path(i)+".entries.value", len(value), d.bounds.ValueBytes)
	}
	d.entries++
	if d.entries > d.bounds.Entries || !d.r.AddEntry(key, value) {
		return api.TooMany("descriptors.entries", d.entries, d.bounds.Entries)
	}
	return nil
}

// mergeWrapper reads a UInt64Value or UInt32Value into v, which keeps its value
// if b doesn't have one.
func mergeWrapper(b []byte, v *uint64) bool {
	w := wire.NewReader(b)
	for w.More() {
		num, typ, ok := w.Tag()
		switch {
		case !ok:
		case num == 1 && typ == protowire.VarintType:
			*v, ok = w.Varint()
		default:
			ok = w.Skip(num, typ)
		}
		if !ok {
			return false
		}
	}
	return true
}

// path names descriptor i.
func path(i int) string { return "descriptors[" + strconv.Itoa(i) + "]" }
