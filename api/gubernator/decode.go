package gubernator

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/wire"
)

// An item is a RateLimitReq. Times are in milliseconds. The slices are the
// message's own.
type item struct {
	name, key                    []byte
	hits, limit, duration, burst int64
	createdAt                    int64 // since the Unix epoch; 0: now
	algorithm, behavior          int32
}

// Fields of RateLimitReq.
const (
	fieldName = iota + 1
	fieldKey
	fieldHits
	fieldLimit
	fieldDuration
	fieldAlgorithm
	fieldBehavior
	fieldBurst
	fieldMetadata
	fieldCreatedAt
)

// decode reads the RateLimitReq b as proto.Unmarshal does: unknown fields are
// skipped, of a scalar the last value counts, strings are valid UTF-8. Metadata is
// checked, and not kept.
func (it *item) decode(b []byte) error {
	w := wire.NewReader(b)
	for w.More() {
		num, typ, ok := w.Tag()
		switch {
		case !ok:
		case typ == protowire.VarintType:
			var v uint64
			if v, ok = w.Varint(); ok {
				it.number(num, v)
			}
		case typ == protowire.BytesType && (num <= fieldKey || num == fieldMetadata):
			var v []byte
			if v, ok = w.Bytes(); !ok {
				break
			}
			switch num {
			case fieldMetadata:
				if err := checkMetadata(v); err != nil {
					return err
				}
				continue
			case fieldName:
				it.name = v
			default:
				it.key = v
			}
			if !utf8.Valid(v) {
				return api.NotText(textField(num))
			}
		default:
			ok = w.Skip(num, typ)
		}
		if !ok {
			return api.NotProto("request")
		}
	}
	return nil
}

func textField(num protowire.Number) string {
	if num == fieldName {
		return "name"
	}
	return "unique_key"
}

// number takes the value of a varint field; others are unknown.
func (it *item) number(num protowire.Number, v uint64) {
	switch num { //nolint:exhaustive // the constants of protowire are bounds
	case fieldHits:
		it.hits = int64(v)
	case fieldLimit:
		it.limit = int64(v)
	case fieldDuration:
		it.duration = int64(v)
	case fieldAlgorithm:
		it.algorithm = int32(v) // as the generated decoder does
	case fieldBehavior:
		it.behavior = int32(v)
	case fieldBurst:
		it.burst = int64(v)
	case fieldCreatedAt:
		it.createdAt = int64(v)
	}
}

// checkMetadata refuses what is not an entry of a map of texts.
func checkMetadata(b []byte) error {
	w := wire.NewReader(b)
	for w.More() {
		num, typ, ok := w.Tag()
		switch {
		case !ok:
		case typ == protowire.BytesType && num <= 2:
			var v []byte
			if v, ok = w.Bytes(); ok && !utf8.Valid(v) {
				return api.NotText("metadata")
			}
		default:
			ok = w.Skip(num, typ)
		}
		if !ok {
			return api.NotProto("metadata")
		}
	}
	return nil
}
