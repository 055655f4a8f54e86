package limiter

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"github.com/dchest/siphash"
)

// A Key names one counter: a 128-bit keyed hash of a LimitID and the matched
// values. It says nothing about the amount. The zero Key is not a valid key.
type Key struct{ Hi, Lo uint64 }

// PartitionCount is how many slices the key space has. It is fixed for the
// life of a cluster.
const PartitionCount = 4096

// A Partition is one slice of the key space, in [0, PartitionCount).
type Partition uint16

// Partition returns the slice that k belongs to when its limit names no
// affinity of its own: the top 12 bits of Hi.
func (k Key) Partition() Partition { return Partition(k.Hi >> 52) }

// Fingerprint returns 16 hexadecimal digits that tell k apart in logs and
// answers without saying what was hashed.
func (k Key) Fingerprint() string {
	s := strconv.FormatUint(k.Lo, 16)
	return "0000000000000000"[len(s):] + s
}

// A LimitID is the identity of a limit: a hash of its domain, name (else its
// canonical selector), kind, period and `by`. Two definitions with the same
// LimitID share their counters; the amount is not part of it. It does not
// depend on the key secret, so it is the same on every node.
type LimitID [16]byte

// String returns id in hexadecimal.
func (id LimitID) String() string { return hex.EncodeToString(id[:]) }

// A DefHash is a hash of a whole definition, amount included.
type DefHash uint64

// A KeyHasher makes Keys. Without its secret nobody can tell which values
// share a counter, or find values that do.
type KeyHasher struct{ k0, k1 uint64 }

// NewKeyHasher returns the hasher for a 16-byte secret.
func NewKeyHasher(secret [16]byte) KeyHasher {
	return KeyHasher{
		binary.LittleEndian.Uint64(secret[:8]),
		binary.LittleEndian.Uint64(secret[8:]),
	}
}

// Key returns the key of b, the canonical bytes of a LimitID and its matched
// values (each appended with [AppendValue], so that no two lists of values have
// the same bytes). It is SipHash-2-4 with 128 bits of output. A Lo of 0 is mapped
// to 1: tables use 0 to mark an empty slot.
func (h KeyHasher) Key(b []byte) Key {
	lo, hi := siphash.Hash128(h.k0, h.k1, b)
	if lo == 0 {
		lo = 1
	}
	return Key{Hi: hi, Lo: lo}
}

// AppendValue appends a matched value to the bytes that [KeyHasher.Key] takes:
// its length as an unsigned varint, then v itself.
func AppendValue(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// Slot returns the key of the slot that a holder has of k: a keyed hash of both,
// so that nobody who does not know both can find another holder with this slot.
func (k Key) Slot(holder Key) Key {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], holder.Lo)
	binary.LittleEndian.PutUint64(b[8:], holder.Hi)
	return KeyHasher{k.Lo, k.Hi}.Key(b[:])
}
