package hpack

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	xhpack "golang.org/x/net/http2/hpack"
)

// FuzzDecode gives a sequence of blocks to a Decoder and to the one of
// golang.org/x/net and wants the same fields, or an error from both. Where they
// may differ is what oracle.decode and allowed say.
//
// The input: the table's bound in units of 64 bytes, the list's in units of 16,
// then blocks, each after its length in two octets.
func FuzzDecode(f *testing.F) {
	for _, blocks := range [][][]byte{
		envoyBlocks(40, true), envoyBlocks(40, false), goBlocks(clientFields(), clientFields()),
		{{0x20, 0x82}, {0x3f, 0xe1, 0x1f, 0x82}, {0x20, 0x3f, 0xe1, 0x1f}},
		{{0x40, 1, 'a', 1, 'b', 0xbe}, {0xbe, 0x0f, 0x2f, 1, 'c', 0x7e, 0x82, 0xf8, 0xff}},
		{{0x04, 0x84, 0xff, 0xff, 0xff, 0xff}},
		{{0x82, 0x20}},
		{{0x20, 0x21, 0x22}},
		{{0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0}},
	} {
		for _, bounds := range [][2]byte{{64, 255}, {1, 20}, {0, 0}, {255, 4}} {
			f.Add(sequence(bounds, blocks))
		}
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) < 2 {
			return
		}
		tableSizeMax, listMax := int(input[0])*64, int(input[1])*16
		d := New(uint32(tableSizeMax), listMax, tagOf)
		o := newOracle(max(tableSizeMax, tableSizeInitial))
		for n, block := range split(input[2:]) {
			got, err := d.Decode(nil, block)
			want, refused := o.decode(block)
			if h := held(d); h > heldMax(tableSizeMax, listMax) {
				t.Fatalf("block %d: %d bytes are held, at most %d are allowed", n, h, heldMax(tableSizeMax, listMax))
			}
			if errors.Is(err, ErrCompression) || refused != nil {
				if !errors.Is(err, ErrCompression) || refused == nil && !allowed(err) {
					t.Fatalf("block %d: got %v, want %v", n, err, refused)
				}
				return
			}
			want, long := within(want, listMax)
			if errors.Is(err, ErrListTooLong) != long {
				t.Fatalf("block %d: got %v, too long: %t", n, err, long)
			}
			if got := plain(got); !slices.Equal(got, want) {
				t.Fatalf("block %d:\ngot  %+v\nwant %+v", n, got, want)
			}
			checkTags(t, got)
			checkTable(t, n, d, o)
		}
	})
}

// checkTable compares the dynamic tables, entry by entry.
func checkTable(t *testing.T, n int, d *Decoder, o *oracle) {
	t.Helper()
	size := uint32(0)
	for i := range d.table.count {
		all, err := o.dec.DecodeFull(AppendIndexed(nil, staticCount+1+int(i)))
		if err != nil {
			t.Fatalf("block %d: the table has %d entries, the other's %d", n, d.table.count, i)
		}
		name, value := d.table.field(d.table.at(i))
		if string(name) != all[0].Name || string(value) != all[0].Value {
			t.Fatalf("block %d: entry %d is %q: %q, the other's %q: %q", n, i, name, value, all[0].Name, all[0].Value)
		}
		size += all[0].Size()
	}
	if _, err := o.dec.DecodeFull(AppendIndexed(nil, staticCount+1+int(d.table.count))); err == nil {
		t.Fatalf("block %d: the table has %d entries, the other's more", n, d.table.count)
	}
	if err := o.dec.Close(); err != nil { // after an error, a new block
		t.Fatal(err)
	}
	if d.table.size != size || size > d.table.max {
		t.Fatalf("block %d: the table counts %d bytes of %d, its entries have %d", n, d.table.size, d.table.max, size)
	}
}

// allowed reports whether the other decoder may accept what err refuses: it
// takes longer integers and, with an empty table, size updates anywhere and in
// any number.
func allowed(err error) bool {
	return strings.Contains(err.Error(), "an integer goes on") || strings.Contains(err.Error(), "a size update after the first field") ||
		strings.Contains(err.Error(), "more than 2 size updates")
}

// within returns the fields that a list of at most listMax bytes has.
func within(fields []plainField, listMax int) (fit []plainField, long bool) {
	size := 0
	for i, f := range fields {
		if size += len(f.name) + len(f.value) + entryOverhead; size > listMax {
			return fields[:i:i], true
		}
	}
	return fields, false
}

// An oracle is the decoder of golang.org/x/net.
type oracle struct {
	dec *xhpack.Decoder
}

func newOracle(tableSizeMax int) *oracle {
	o := &oracle{dec: xhpack.NewDecoder(tableSizeInitial, nil)}
	o.dec.SetAllowedMaxDynamicTableSize(uint32(tableSizeMax))
	return o
}

// decode gives each size update at the block's start as a block of its own: the
// other decoder accepts only one per block while its table has entries, RFC
// 7541 §4.2 wants two.
func (o *oracle) decode(block []byte) (fields []plainField, err error) {
	for range updatesMax {
		if len(block) == 0 || block[0]&0xe0 != 0x20 {
			break
		}
		n := 1
		if block[0]&0x1f == 0x1f {
			for n < len(block) && block[n] >= 0x80 {
				n++
			}
			n = min(n+1, len(block))
		}
		if _, err := o.dec.DecodeFull(block[:n]); err != nil {
			return nil, err
		}
		block = block[n:]
	}
	all, err := o.dec.DecodeFull(block)
	for _, f := range all {
		fields = append(fields, plainField{f.Name, f.Value, f.Sensitive})
	}
	return fields, err
}

// sequence is FuzzDecode's input.
func sequence(bounds [2]byte, blocks [][]byte) []byte {
	b := bounds[:]
	for _, block := range blocks {
		b = append(b, byte(len(block)>>8), byte(len(block)))
		b = append(b, block...)
	}
	return bytes.Clone(b)
}

func split(b []byte) (blocks [][]byte) {
	for len(b) >= 2 {
		n := min(int(b[0])<<8|int(b[1]), len(b)-2)
		blocks = append(blocks, b[2:2+n])
		b = b[2+n:]
	}
	return blocks
}
