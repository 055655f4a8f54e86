package bench

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// codesMax is how many gRPC status codes there are, OK included; a code beyond
// counts as UNKNOWN, as gRPC says.
const codesMax = 17

const (
	codeUnknown     = 2
	codeUnavailable = 14
)

// An outcome is what one response decided, in checks.
type outcome struct {
	ok, over, unknown uint32
	failed            [codesMax]uint32 // items of a batch, by their own code
}

// Both protocols spell allowed 1 and denied 2.
func (o *outcome) count(verdict uint64) {
	switch int32(verdict) { // an enum is the low 32 bits
	case 1:
		o.ok++
	case 2:
		o.over++
	default:
		o.unknown++
	}
}

// decodeRLS reads a RateLimitResponse as far as its overall_code, and decodeCheck
// a CheckResponse as far as its verdict: field 1 of both. It returns false if b is
// not a message.
func decodeRLS(b []byte, o *outcome) bool {
	verdict, ok := enumField(b, 1, 0)
	if ok {
		o.count(verdict)
	}
	return ok
}

func decodeCheck(b []byte, o *outcome) bool { return decodeRLS(b, o) }

// decodeBatch reads a CheckBatchResponse.
func decodeBatch(b []byte, o *outcome) bool {
	for len(b) > 0 {
		num, typ, item, n := consumeField(b)
		if n < 0 || num == 1 && typ == protowire.BytesType && !decodeOutcome(item, 1, o) {
			return false
		}
		b = b[n:]
	}
	return true
}

// decodeOutcome reads an item of a batch, or an answer of a stream: of its
// response, whose field has the given number, and its error, which is the next,
// the one that comes last.
func decodeOutcome(b []byte, response protowire.Number, o *outcome) bool {
	var which protowire.Number
	var value uint64
	for len(b) > 0 {
		num, typ, v, n := consumeField(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		if typ != protowire.BytesType || num != response && num != response+1 {
			continue
		}
		if num != which {
			which, value = num, 0
		}
		var ok bool
		if value, ok = enumField(v, 1, value); !ok {
			return false
		}
	}
	if which == response+1 {
		code := statusCode(uint64(uint32(value)))
		if code == 0 {
			code = codeUnknown // an error that says OK
		}
		o.failed[code]++
		return true
	}
	o.count(value)
	return true
}

// enumField returns the last value of the varint field want in message b, and
// value if there is none.
func enumField(b []byte, want protowire.Number, value uint64) (uint64, bool) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, false
		}
		b = b[n:]
		if num == want && typ == protowire.VarintType {
			value, n = protowire.ConsumeVarint(b)
		} else {
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return 0, false
		}
		b = b[n:]
	}
	return value, true
}

// consumeField returns the first field of b, with its content if it is bytes,
// and how long it is. A negative length means that b is malformed.
func consumeField(b []byte) (protowire.Number, protowire.Type, []byte, int) {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return 0, 0, nil, n
	}
	if typ == protowire.BytesType {
		v, m := protowire.ConsumeBytes(b[n:])
		if m < 0 {
			return 0, 0, nil, m
		}
		return num, typ, v, n + m
	}
	m := protowire.ConsumeFieldValue(num, typ, b[n:])
	if m < 0 {
		return 0, 0, nil, m
	}
	return num, typ, nil, n + m
}

// statusCode maps a number to a gRPC status code.
func statusCode(n uint64) int {
	if n >= codesMax {
		return codeUnknown
	}
	return int(n)
}

// answered returns how many checks o is about.
func (o *outcome) answered() int {
	n := o.ok + o.over + o.unknown
	for _, f := range o.failed {
		n += f
	}
	return int(n)
}
