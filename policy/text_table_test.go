package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

func TestARecordIsOneCacheLine(t *testing.T) {
	if n := unsafe.Sizeof(textRecord{}); n != 64 {
		t.Errorf("%d bytes", n)
	}
}

// numbered returns a rule that tests tell from others.
func numbered(i int) compactRule { return compactRule{limit: uint32(i)} }

func TestTheTextTableIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(rapid.StringMatching(`[ab]{0,6}`), rapid.StringMatching(`[ab]{20,40}`))
		if rapid.Bool().Draw(t, "all long") {
			word = rapid.StringMatching(`[ab]{18,68}`)
		}
		var entries []textEntry
		want := map[string]int{}
		for i, text := range rapid.SliceOfNDistinct(word, 0, 60, rapid.ID[string]).Draw(t, "texts") {
			entries = append(entries, textEntry{text: text, rest: word.Draw(t, "rest"), rule: numbered(i)})
			want[text] = i
		}
		table := newTextTable(entries, slotsFrom)
		for text, i := range want {
			at := table.find([]byte(text))
			if at < 0 {
				t.Fatalf("%q is not found", text)
			}
			if r, _ := table.rule(at, new(compactRule)); *r != numbered(i) {
				t.Fatalf("%q: %+v", text, r)
			}
		}
		other := word.Draw(t, "other")
		if _, known := want[other]; known != (table.find([]byte(other)) >= 0) {
			t.Fatalf("%q is in the table: %v", other, !known)
		}
	})
}

// The figures of docs/adr/0004-one-matcher.md on reads of far memory rest on
// this. The seed is random: a twentieth and a fifth are several times what is
// expected.
func TestTagsLeadToTheRightRecordNearlyAlways(t *testing.T) {
	const n = 100_000
	entries := make([]textEntry, n)
	for i := range entries {
		entries[i] = textEntry{text: fmt.Sprintf("/service-%06x/", i), rule: numbered(i)}
	}
	table := newTextTable(entries, slotsFrom)
	wrong, absent := 0, 0
	for i := range entries {
		if table.look([]byte(entries[i].text), byTags) != table.look([]byte(entries[i].text), sure) {
			wrong++
		}
		if table.look([]byte(entries[i].text+"x"), byTags) >= 0 {
			absent++
		}
	}
	if wrong > n/20 || absent > n/5 {
		t.Errorf("of %d texts %d lead to another record first, and %d to one that are not there", n, wrong, absent)
	}
}

func TestThePrefixTableFindsEveryPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[ab]{0,30}`)
		long := word.Draw(t, "value")
		begins := rapid.Custom(func(t *rapid.T) string { return long[:rapid.IntRange(0, len(long)).Draw(t, "length")] })
		texts := rapid.SliceOfNDistinct(rapid.OneOf(word, begins, rapid.StringMatching(`[ab]{0,5}`)), 0, 40, rapid.ID[string]).Draw(t, "keys")
		var keys []prefixKey
		for i, text := range texts {
			keys = append(keys, prefixKey{value: text, length: uint16(len(text)), rule: numbered(i)})
		}
		table := newPrefixTable(false, keys, slotsFrom)
		for _, value := range append(texts, long, word.Draw(t, "another value")) {
			var want []int
			for n := len(value); n >= 0; n-- {
				if i := slices.Index(texts, value[:n]); i >= 0 {
					want = append(want, i)
				}
			}
			if got := walked(&table, []byte(value)); !slices.Equal(got, want) {
				t.Fatalf("%q: %v, want %v", value, got, want)
			}
		}
	})
}

// walked returns the numbers of the rules that a walk visits.
func walked(table *prefixTable, value []byte) []int {
	var got []int
	walk := table.walk(value)
	for at := walk.next(); at >= 0; at = walk.next() {
		r, _ := table.table.rule(at, new(compactRule))
		got = append(got, int(r.limit))
	}
	return got
}

func TestThePrefixTableFindsEveryNetwork(t *testing.T) {
	for _, size := range []int{4, 16} {
		// Few different bytes, so that networks are inside others.
		address := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0x80, 0xff}), size, size), func(b []byte) netip.Addr {
			a, _ := netip.AddrFromSlice(b)
			return a
		})
		rapid.Check(t, func(t *rapid.T) {
			around := address.Draw(t, "address")
			var keys []prefixKey
			var networks []netip.Prefix
			for range rapid.IntRange(0, 40).Draw(t, "networks") {
				a := rapid.OneOf(address, rapid.Just(around)).Draw(t, "network")
				p := netip.PrefixFrom(a, rapid.IntRange(0, 8*size).Draw(t, "bits")).Masked()
				if slices.Contains(networks, p) {
					continue
				}
				keys = append(keys, prefixKey{value: string(p.Addr().AsSlice()), length: uint16(p.Bits()), rule: numbered(len(networks))})
				networks = append(networks, p)
			}
			table := newPrefixTable(true, keys, slotsFrom)
			for _, a := range []netip.Addr{around, address.Draw(t, "another address")} {
				var want []int
				for n := 8 * size; n >= 0; n-- {
					p, _ := a.Prefix(n)
					if i := slices.Index(networks, p); i >= 0 {
						want = append(want, i)
					}
				}
				if got := walked(&table, a.AsSlice()); !slices.Equal(got, want) {
					t.Fatalf("%v in %v: %v, want %v", a, networks, got, want)
				}
			}
		})
	}
}

func TestAPrefixSearchReadsOneRecordNearlyAlways(t *testing.T) {
	const n = 20_000
	keys := make([]prefixKey, n)
	for i := range keys {
		text := fmt.Sprintf("/service-%06x/", i) + fmt.Sprintf("%064d", i)[:i%40]
		keys[i] = prefixKey{value: text, length: uint16(len(text)), rule: numbered(i)}
	}
	table := newPrefixTable(false, slices.Clone(keys), slotsFrom)
	again := 0
	for i := range keys {
		value := []byte(keys[i].value + "items/17")
		if at, length := table.search(value, byTags); at < 0 || !table.table.has(at, value[:length]) {
			again++
		}
		if got := walked(&table, value); len(got) != 1 || got[0] != i {
			t.Fatalf("%s: %v", value, got)
		}
	}
	if again > n/4 {
		t.Errorf("%d of %d searches are done again", again, n)
	}
}
