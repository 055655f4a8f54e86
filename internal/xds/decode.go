package xds

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/headgate/headgate/policy"
)

// nestingMax is how deep descriptors may be inside each other in a message. A
// policy's bound is lower: this one keeps a hostile message from the stack.
const nestingMax = 64

// Errors of Decode.
var (
	ErrWire  = errors.New("xds: not the wire format of a RateLimitConfig")
	ErrUTF8  = errors.New("xds: a text is not UTF-8")
	ErrDepth = fmt.Errorf("xds: descriptors are nested more than %d deep", nestingMax)
)

// A field is one field of a message.
type field struct {
	num    protowire.Number
	typ    protowire.Type
	varint uint64 // of protowire.VarintType
	bytes  []byte // of protowire.BytesType
}

// fields calls each for every field of a message, in order, and stops at its
// error.
func fields(b []byte, each func(field) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || num > protowire.MaxValidNumber { // which ConsumeTag lets through
			return ErrWire
		}
		b = b[n:]
		f := field{num: num, typ: typ}
		switch typ {
		case protowire.VarintType:
			f.varint, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return ErrWire
		}
		b = b[n:]
		if err := each(f); err != nil {
			return err
		}
	}
	return nil
}

// is reports whether f is field num with type typ: another type is an unknown
// field, which is skipped.
func (f *field) is(num protowire.Number, typ protowire.Type) bool {
	return f.num == num && f.typ == typ
}

func (f *field) text(to *string) error {
	if !utf8.Valid(f.bytes) {
		return ErrUTF8
	}
	*to = string(f.bytes)
	return nil
}

// Decode reads a ratelimit.config.ratelimit.v3.RateLimitConfig. It means what
// the generated code means by the same bytes: the last value of a field counts,
// messages are merged, unknown fields are skipped.
func Decode(b []byte) (policy.EnvoyConfig, error) {
	var c policy.EnvoyConfig
	err := fields(b, func(f field) error {
		switch {
		case f.is(1, protowire.BytesType):
			return f.text(&c.Name)
		case f.is(2, protowire.BytesType):
			return f.text(&c.Domain)
		case f.is(3, protowire.BytesType):
			c.Descriptors = append(c.Descriptors, policy.EnvoyDescriptor{})
			return decodeDescriptor(&c.Descriptors[len(c.Descriptors)-1], f.bytes, 1)
		}
		return nil
	})
	return c, err
}

func decodeDescriptor(d *policy.EnvoyDescriptor, b []byte, depth int) error {
	if depth > nestingMax {
		return ErrDepth
	}
	return fields(b, func(f field) error {
		switch {
		case f.is(1, protowire.BytesType):
			return f.text(&d.Key)
		case f.is(2, protowire.BytesType):
			return f.text(&d.Value)
		case f.is(3, protowire.BytesType):
			if d.Limit == nil {
				d.Limit = &policy.EnvoyLimit{Unit: unitName(0)}
			}
			return decodeLimit(d.Limit, f.bytes)
		case f.is(4, protowire.BytesType):
			d.Descriptors = append(d.Descriptors, policy.EnvoyDescriptor{})
			return decodeDescriptor(&d.Descriptors[len(d.Descriptors)-1], f.bytes, depth+1)
		case f.is(5, protowire.VarintType):
			d.ShadowMode = protowire.DecodeBool(f.varint)
		case f.is(6, protowire.VarintType):
			d.DetailedMetric = protowire.DecodeBool(f.varint)
		case f.is(7, protowire.VarintType):
			d.QuotaMode = protowire.DecodeBool(f.varint)
		case f.is(8, protowire.BytesType):
			d.Metadata = d.Metadata || len(f.bytes) > 0 // a Struct with a field
		}
		return nil
	})
}

func decodeLimit(l *policy.EnvoyLimit, b []byte) error {
	return fields(b, func(f field) error {
		switch {
		case f.is(1, protowire.VarintType):
			l.Unit = unitName(int32(f.varint))
		case f.is(2, protowire.VarintType):
			l.Amount = uint32(f.varint)
		case f.is(3, protowire.VarintType):
			l.Unlimited = protowire.DecodeBool(f.varint)
		case f.is(4, protowire.BytesType):
			return f.text(&l.Name)
		case f.is(5, protowire.BytesType):
			l.Replaces = append(l.Replaces, "")
			return fields(f.bytes, func(g field) error {
				if g.is(1, protowire.BytesType) {
					return g.text(&l.Replaces[len(l.Replaces)-1])
				}
				return nil
			})
		}
		return nil
	})
}

// unitName spells a RateLimitUnit. One that nobody knows is spelled as its
// number, which is no unit.
func unitName(u int32) string {
	names := [...]string{"UNKNOWN", "SECOND", "MINUTE", "HOUR", "DAY", "MONTH", "YEAR", "WEEK"}
	if u < 0 || int(u) >= len(names) {
		return strconv.Itoa(int(u))
	}
	return names[u]
}
