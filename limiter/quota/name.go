package quota

import (
	"encoding/binary"

	"github.com/headgate/headgate/limiter"
)

// NameBytes is the length of a pool's name.
const NameBytes = 16 + 8 + 8 + 1

// AppendName appends the name of a pool to b: its key, start, end and rolling,
// NameBytes in all, big-endian, so that the windows of a key stand in order.
func AppendName(b []byte, k limiter.Key, w Window) []byte {
	b = binary.BigEndian.AppendUint64(appendKey(b, k), uint64(w.Start))
	return append(binary.BigEndian.AppendUint64(b, uint64(w.End)), w.Rolling)
}

// DecodeName reads a whole name. Errors wrap [ErrMalformed].
func DecodeName(b []byte) (k limiter.Key, w Window, err error) {
	r := reader{b: b}
	if len(b) != NameBytes {
		r.fail("name has %d bytes: must be %d", len(b), NameBytes)
		return limiter.Key{}, Window{}, r.err
	}
	k = r.key()
	w = Window{int64(binary.BigEndian.Uint64(b[16:])), int64(binary.BigEndian.Uint64(b[24:])), b[32]}
	if !w.valid() || w.Rolling > RollingMax {
		r.fail("window [%d, %d), rolling %d: must not be empty, end by %d, and roll by at most %d", w.Start, w.End, w.Rolling, TimeMax, RollingMax)
		return limiter.Key{}, Window{}, r.err
	}
	return k, w, nil
}
