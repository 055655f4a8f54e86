package policy

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
)

func TestASlotIsHalfACacheLine(t *testing.T) {
	if n := unsafe.Sizeof(textSlot{}); n != 32 {
		t.Errorf("%d bytes", n)
	}
}

// What a slot can't say is in a record, and nobody can tell the difference.
func TestATableOfSlotsSaysWhatItsEntriesSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(rapid.StringMatching(`[ab]{0,9}`), rapid.StringMatching(`[ab]{60,70}`))
		ones := rapid.SliceOfNDistinct(word, 1, 12, rapid.ID[string]).Draw(t, "texts")
		var entries []textEntry
		for _, text := range ones {
			e := textEntry{text: text, rest: rapid.SampledFrom([]string{"", "*", "*/x"}).Draw(t, "rest"), outer: uint16(rapid.IntRange(0, 3).Draw(t, "outer"))}
			e.kind = rapid.SampledFrom([]recordKind{oneRule, manyRules, waymark}).Draw(t, "kind")
			number := rapid.OneOf(rapid.Just[uint32](0), rapid.Uint32())
			e.rule = compactRule{limit: number.Draw(t, "limit"), by: number.Draw(t, "by"), more: number.Draw(t, "more"), next: number.Draw(t, "next")}
			if e.rule.limit != 0 {
				e.rule.id = limiter.LimitID{1, byte(len(entries))}
			}
			entries = append(entries, e)
		}
		for i := range 12*len(ones) + crowded { // with these, the others are few
			entries = append(entries, textEntry{text: fmt.Sprintf("plain-%d", i), rule: compactRule{id: limiter.LimitID{2, byte(i)}, limit: uint32(i + 1), by: 3}})
		}
		table := newTextTable(rapid.Permutation(entries).Draw(t, "entries"), crowded)
		if len(entries) > 8*2*len(ones)+8 && table.slots == nil {
			t.Fatal("no slots")
		}
		for _, e := range entries {
			at := table.find([]byte(e.text))
			if at < 0 {
				t.Fatalf("%q is not found", e.text)
			}
			if r, kind := table.rule(at, new(compactRule)); *r != e.rule || kind != e.kind {
				t.Fatalf("%q: %+v, kind %d, want %+v", e.text, r, kind, e)
			}
			value := e.text + word.Draw(t, "after") + rapid.SampledFrom([]string{"", "/x"}).Draw(t, "end")
			outer, fits := table.around(at, []byte(value), len(e.text))
			want := e.kind != waymark && (e.rest == "" || glob(e.rest).matches([]byte(value[len(e.text):])))
			if outer != int(e.outer)-1 || fits != want {
				t.Fatalf("%q and %q: around %d, fits: %v; want %+v", e.text, value, outer, fits, e)
			}
		}
		if other := word.Draw(t, "another"); !slices.Contains(ones, other) && table.find([]byte(other)) >= 0 {
			t.Fatalf("%q is in the table", other)
		}
	})
}

// A group is asked for before the tags are read: most texts must be in the one where
// their search begins.
func TestMostTextsAreWhereTheirSearchBegins(t *testing.T) {
	const n = 100_000
	entries := make([]textEntry, n)
	for i := range entries {
		entries[i] = textEntry{text: fmt.Sprintf("/service-%06x/", i), rule: numbered(i + 1)}
	}
	table := newTextTable(entries, slotsFrom)
	elsewhere := 0
	for i := range entries {
		begin, _ := table.place([]byte(entries[i].text))
		if at := table.find([]byte(entries[i].text)); at < begin || at >= begin+slotGroup {
			elsewhere++
		}
	}
	if elsewhere > n/5 { // a seventh is expected
		t.Errorf("%d of %d texts are elsewhere", elsewhere, n)
	}
}

// The proof is about this sum.
func TestAHashIsTheTopOfTheSum(t *testing.T) {
	number := func(w wideWord) *big.Int {
		n := new(big.Int)
		for i := range w {
			n.Or(n, new(big.Int).Lsh(new(big.Int).SetUint64(w[i]), uint(64*i)))
		}
		return n
	}
	rapid.Check(t, func(t *rapid.T) {
		k := newTextKeys()
		if rapid.Bool().Draw(t, "carries") { // as many as there can be
			for i := range k.words {
				k.words[i] = wideWord{math.MaxUint64, math.MaxUint64, math.MaxUint64}
			}
		}
		b := rapid.OneOf(rapid.Byte(), rapid.Just[byte](math.MaxUint8))
		text := rapid.SliceOfN(b, 0, hashedMax).Draw(t, "text")
		words := []uint64{0} // the last comes first
		for i := 0; i < len(text)-8; i += 8 {
			words = append(words, binary.LittleEndian.Uint64(text[i:]))
		}
		switch n := len(text); {
		case n >= 8:
			words[0] = binary.LittleEndian.Uint64(text[n-8:])
		case n >= 4:
			words[0] = uint64(binary.LittleEndian.Uint32(text)) | uint64(binary.LittleEndian.Uint32(text[n-4:]))<<32
		case n > 0:
			words[0] = uint64(text[0]) | uint64(text[n/2])<<8 | uint64(text[n-1])<<16
		}
		sum := number(k.lengths[len(text)])
		for i, w := range words {
			sum.Add(sum, new(big.Int).Mul(number(k.words[i]), new(big.Int).SetUint64(w)))
		}
		sum.Mod(sum, new(big.Int).Lsh(big.NewInt(1), 192))
		high, low := k.hash(text)
		got := new(big.Int).SetUint64(high)
		if got.Or(got.Lsh(got, 32), big.NewInt(int64(low))); got.Cmp(sum.Rsh(sum, 96)) != 0 {
			t.Fatalf("%x, want %x", got, sum)
		}
	})
}

func TestTextsHaveDifferentHashes(t *testing.T) {
	type hash struct {
		high uint64
		low  uint32
	}
	k := newTextKeys()
	seen := map[hash]string{}
	low := map[uint32]bool{}
	add := func(text string) {
		h, l := k.hash([]byte(text))
		if other, known := seen[hash{h, l}]; known && other != text {
			t.Fatalf("%q and %q have one hash", other, text)
		}
		seen[hash{h, l}] = text
		low[l] = true
	}
	for n := range hashedMax + 1 {
		add(strings.Repeat("\x00", n))
		for i := range n { // every byte counts
			for _, c := range []string{"\x01", "\x80", "a"} {
				add(strings.Repeat("\x00", i) + c + strings.Repeat("\x00", n-i-1))
			}
		}
	}
	// By chance, 6,305 numbers of 32 bits have 0.005 pairs of equal ones.
	if len(low) < len(seen)-2 {
		t.Errorf("%d hashes have %d different ends", len(seen), len(low))
	}
	if h, l := newTextKeys().hash([]byte("a")); seen[hash{h, l}] != "" {
		t.Error("two keys make one hash")
	}
}
