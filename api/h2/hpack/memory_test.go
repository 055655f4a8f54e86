package hpack

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	xhpack "golang.org/x/net/http2/hpack"
)

// Each hostile block is decoded on a fresh connection, then three times more,
// then followed by one that is harmless.
func TestNoBlockPassesTheMemoryBound(t *testing.T) {
	const blockMax = 1 << 16
	repeat := func(first, again []byte) []byte {
		return append(bytes.Clone(first), bytes.Repeat(again, (blockMax-len(first))/len(again))...)
	}
	// Octets of 30 bits: the shortest string for its length in octets.
	rare := appendInteger([]byte{0x41}, 0x80, 0x7f, 2400)
	rare = append(rare, xhpack.AppendHuffmanString(nil, strings.Repeat("\n", 640))...)
	digits := appendInteger([]byte{0x41}, 0x80, 0x7f, 2500)
	digits = append(digits, make([]byte, 2500)...) // 4000 zeros
	blocks := map[string][]byte{
		"references to one large entry":                repeat(AppendLiteralIndexed(nil, "a", strings.Repeat("v", 4000)), []byte{0xbe}),
		"entries with the name of one large entry":     repeat(AppendLiteralIndexed(nil, strings.Repeat("n", 2000), "v"), []byte{0x7e, 1, 'v'}),
		"literals with the name of one large entry":    repeat(AppendLiteralIndexed(nil, strings.Repeat("n", 4000), "v"), []byte{0x0f, 0x2f, 1, 'v'}),
		"the smallest entries":                         repeat(nil, []byte{0x40, 0, 0}),
		"entries that fill the table":                  repeat(nil, AppendLiteralIndexed(nil, "a", strings.Repeat("v", 4063))),
		"entries of half a table":                      repeat(nil, AppendLiteralIndexed(nil, "a", strings.Repeat("v", 2016))),
		"entries larger than the table":                repeat(nil, AppendLiteralIndexed(nil, "a", strings.Repeat("v", 5000))),
		"entries of rare octets":                       repeat(nil, rare),
		"entries of digits":                            repeat(nil, digits),
		"literals of 500 bytes":                        repeat(nil, AppendLiteral(nil, "a", strings.Repeat("v", 500))),
		"one literal as long as the block":             AppendLiteral(nil, "a", strings.Repeat("v", blockMax)),
		"one entry as long as the block":               AppendLiteralIndexed(nil, "a", strings.Repeat("v", blockMax)),
		"one Huffman literal as long as the block":     append(appendInteger([]byte{0x04}, 0x80, 0x7f, 60000), make([]byte, 60000)...),
		"a Huffman name and value as long as the list": append(append([]byte{0x00}, digits[1:]...), digits[1:]...),
		"literals that a memo remembers":               repeat(nil, append(AppendLiteral(nil, ":path", strings.Repeat("p", 100)), AppendLiteral(nil, ":path", strings.Repeat("q", 100))...)),
		"static fields":                                repeat(nil, []byte{0x82}),
		"size updates and a large entry":               repeat([]byte{0x20, 0x3f, 0xe1, 0x1f}, AppendLiteralIndexed(nil, "a", strings.Repeat("v", 3000))),
	}
	for _, bounds := range []struct{ table, list int }{{4096, 1 << 14}, {0, 1 << 10}, {65536, 1 << 16}, {4096, 0}, {5000, 1 << 17}} {
		dst := make([]Field, 0, bounds.list/entryOverhead)
		for name, block := range blocks {
			d := New(uint32(bounds.table), bounds.list, nil)
			if bounds.table > tableSizeInitial && block[0]&0xe0 != 0x20 {
				block = append(AppendTableSize(nil, uint32(bounds.table)), block...)
			}
			total := heldMax(bounds.table, bounds.list)
			for round := range 4 {
				made := madeBy(func() {
					if _, err := d.Decode(dst, block); err != nil && !errors.Is(err, ErrListTooLong) {
						t.Fatalf("%s: %v", name, err)
					}
				})
				if h := held(d); h > total {
					t.Errorf("%s, table %d, list %d: %d bytes are held, at most %d", name, bounds.table, bounds.list, h, total)
				}
				if most := (total + blockGarbageMax(bounds.table, bounds.list)) * 5 / 4; made > most { // the heap rounds sizes up
					t.Errorf("%s, table %d, list %d, round %d: %d bytes were allocated, at most %d", name, bounds.table, bounds.list, round, made, most)
				}
			}
			if fields, err := d.Decode(dst, []byte{0x82}); (err != nil || lines(fields) != ":method: GET\n") && bounds.list > 100 {
				t.Errorf("%s: a harmless block gives %q, %v", name, lines(fields), err)
			}
		}
	}
}

// blockGarbageMax is what Decoder's comment says about one block.
func blockGarbageMax(tableSizeMax, listBytesMax int) int {
	return 5*max(tableSizeMax, tableSizeInitial) + 6*listBytesMax
}

// madeBy returns how many bytes f allocates.
func madeBy(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

func TestAConnectionThatHasSaidLittleHoldsLittle(t *testing.T) {
	for _, w := range workloads() {
		blocks := slices.Concat(w.first, w.blocks)
		d := New(4096, 1<<14, nil)
		for _, block := range blocks[:min(3, len(blocks))] {
			if _, err := d.Decode(nil, block); err != nil {
				t.Fatal(err)
			}
		}
		if h := held(d); h >= 2048 {
			t.Errorf("%s: %d bytes after 3 requests", w.name, h)
		}
	}
	if h := held(New(65536, 1<<20, nil)); h >= 1024 {
		t.Errorf("%d bytes before the first request", h)
	}
}

// TestALongConnectionHoldsATablesWorth says what most connections cost.
func TestALongConnectionHoldsATablesWorth(t *testing.T) {
	d := New(4096, 1<<14, nil)
	for _, block := range envoyBlocks(1000, false) {
		if _, err := d.Decode(nil, block); err != nil {
			t.Fatal(err)
		}
	}
	if h := held(d); h > 2*4096 {
		t.Errorf("%d bytes after 1000 requests", h)
	}
}
