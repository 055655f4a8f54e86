package limiter

import (
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/dchest/siphash"
)

// TestKeyIsSipHash128 uses the vectors of the SipHash authors: secret 00…0f,
// message 00, 01, … of the given length. Their 16 bytes are two little-endian
// words; the first is Lo.
func TestKeyIsSipHash128(t *testing.T) {
	vectors := map[int]string{
		0:  "a3817f04ba25a8e66df67214c7550293",
		1:  "da87c1d86b99af44347659119b22fc45",
		2:  "8177228da4a45dc7fca38bdef60affe4",
		7:  "a1f1ebbed8dbc153c0b84aa61ff08239",
		8:  "3b62a9ba6258f5610f83e264f31497b4",
		9:  "264499060ad9baabc47f8b02bb6d71ed",
		15: "5493e99933b0a8117e08ec0f97cfc3d9",
		16: "6ee2a4ca67b054bbfd3315bf85230577",
		17: "473d06e8738db89854c066c47ae47740",
		31: "2939b0183223fafc1723de4f52c43d35",
		32: "7c3956ca5eeafc3e363e9d556546eb68",
		63: "5150d1772f50834a503e069a973fbd7c",
	}
	var secret [16]byte
	message := make([]byte, 64)
	for i := range message {
		message[i] = byte(i)
	}
	copy(secret[:], message)
	h := NewKeyHasher(secret)
	for n, v := range vectors {
		got := h.Key(message[:n])
		b := binary.LittleEndian.AppendUint64(nil, got.Lo)
		b = binary.LittleEndian.AppendUint64(b, got.Hi)
		if hex.EncodeToString(b) != v {
			t.Errorf("length %d: got %x, want %s", n, b, v)
		}
		// The streaming implementation is another body of code.
		stream := siphash.New128(secret[:])
		stream.Write(message[:n])
		if sum := stream.Sum(nil); hex.EncodeToString(sum) != v {
			t.Errorf("length %d: streamed %x, want %s", n, sum, v)
		}
	}
}

func TestKeyDependsOnTheSecret(t *testing.T) {
	a, b := NewKeyHasher([16]byte{1}), NewKeyHasher([16]byte{2})
	if a.Key([]byte("x")) == b.Key([]byte("x")) {
		t.Error("two secrets give the same key")
	}
}

func TestAppendValueKeepsListsApart(t *testing.T) {
	lists := [][]string{
		{}, {""}, {"", ""}, {"a"}, {"a", ""}, {"", "a"}, {"a", "b"}, {"ab"}, {"\x01a"}, {"a\x01b"},
	}
	seen := map[string]int{}
	for i, list := range lists {
		var b []byte
		for _, v := range list {
			b = AppendValue(b, []byte(v))
		}
		if j, ok := seen[string(b)]; ok {
			t.Errorf("%q and %q have the same bytes", lists[j], list)
		}
		seen[string(b)] = i
	}
}

func TestPartitionIsTheTopOfHi(t *testing.T) {
	tests := []struct {
		key  Key
		want Partition
	}{
		{Key{}, 0},
		{Key{Hi: 1<<52 - 1, Lo: 1<<64 - 1}, 0},
		{Key{Hi: 1 << 52}, 1},
		{Key{Hi: 1<<64 - 1}, PartitionCount - 1},
	}
	for _, tt := range tests {
		if got := tt.key.Partition(); got != tt.want {
			t.Errorf("%x is in partition %d, want %d", tt.key, got, tt.want)
		}
	}
}

func TestFingerprintHas16Digits(t *testing.T) {
	for key, want := range map[Key]string{
		{}:                       "0000000000000000",
		{Hi: 9, Lo: 0xabc}:       "0000000000000abc",
		{Hi: 0, Lo: 1<<64 - 1}:   "ffffffffffffffff",
		{Lo: 0x8000000000000000}: "8000000000000000",
	} {
		if got := key.Fingerprint(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
