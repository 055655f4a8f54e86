package hpack

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	xhpack "golang.org/x/net/http2/hpack"
)

// The examples of RFC 7541 Appendix C.2 to C.6: what is decoded, and the
// table's size after each block.
func TestTheExamplesOfTheRFC(t *testing.T) {
	type block struct {
		dump string
		want string
		size uint32
	}
	requests := []string{
		":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n",
		":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache\n",
		":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value\n",
	}
	responses := []string{
		":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n",
		":status: 307\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n",
		":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\nlocation: https://www.example.com\ncontent-encoding: gzip\n" +
			"set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n",
	}
	for _, tc := range []struct {
		name   string
		max    uint32
		blocks []block
	}{
		{"C.2.1: a literal that enters the table", 4096, []block{
			{"400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", "custom-key: custom-header\n", 55},
		}},
		{"C.2.2: a literal that does not", 4096, []block{{"040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path\n", 0}}},
		{"C.2.3: a literal that never does", 4096, []block{{"1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret\n", 0}}},
		{"C.2.4: an indexed field", 4096, []block{{"82", ":method: GET\n", 0}}},
		{"C.3: requests without Huffman code", 4096, []block{
			{"8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", requests[0], 57},
			{"8286 84be 5808 6e6f 2d63 6163 6865", requests[1], 110},
			{"8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", requests[2], 164},
		}},
		{"C.4: requests with Huffman code", 4096, []block{
			{"8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", requests[0], 57},
			{"8286 84be 5886 a8eb 1064 9cbf", requests[1], 110},
			{"8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", requests[2], 164},
		}},
		{"C.5: responses without Huffman code, and evictions", 256, []block{
			{`4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133
			  2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d`, responses[0], 222},
			{"4803 3330 37c1 c0bf", responses[1], 222},
			{`88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970
			  7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61
			  6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31`, responses[2], 215},
		}},
		{"C.6: responses with Huffman code, and evictions", 256, []block{
			{`4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad
			  1718 63c7 8f0b 97c8 e9ae 82ae 43d3`, responses[0], 222},
			{"4883 640e ffc1 c0bf", responses[1], 222},
			{`88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2
			  e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07`, responses[2], 215},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := New(4096, 1<<16, tagOf)
			d.table.max = tc.max
			for i, b := range tc.blocks {
				fields, err := d.Decode(nil, octets(t, b.dump))
				if err != nil {
					t.Fatalf("block %d: %v", i, err)
				}
				if got := lines(fields); got != b.want {
					t.Errorf("block %d:\n%swant\n%s", i, got, b.want)
				}
				if d.table.size != b.size {
					t.Errorf("block %d: table of %d bytes, want %d", i, d.table.size, b.size)
				}
				checkTags(t, fields)
			}
		})
	}
}

func checkTags(t *testing.T, fields []Field) {
	t.Helper()
	for _, f := range fields {
		if want := tagOf(f.Name, f.Value); f.Tag != want {
			t.Errorf("%s: %s has tag %x, want %x", f.Name, f.Value, f.Tag, want)
		}
	}
}

func TestEveryErrorSaysWhatAndWhere(t *testing.T) {
	entry := "40 01 61 01 62 " // enters "a: b", 34 bytes
	for _, tc := range []struct {
		name   string
		blocks []string
		want   string
	}{
		{"index 0", []string{"82 80"}, "octet 1: index 0: the tables have 1 to 61"},
		{"an index past both tables", []string{"be"}, "octet 0: index 62: the tables have 1 to 61"},
		{"an index past the second table's only entry", []string{entry + "be bf"}, "octet 6: index 63: the tables have 1 to 62"},
		{"an index of two octets past both tables", []string{"ff 01"}, "octet 0: index 128: the tables have 1 to 61"},
		{"a name's index past both tables", []string{"7e 01 61"}, "octet 0: index 62: the tables have 1 to 61"},
		{"a name's index past both tables without indexing", []string{"0f 2f 01 61"}, "octet 0: index 62: the tables have 1 to 61"},
		{"an index of an evicted entry", []string{entry, "20 be"}, "octet 1: index 62: the tables have 1 to 61"},
		{"an index that ends early", []string{"ff"}, "octet 1: the block ends within an integer"},
		{"an index that ends early after an octet", []string{"ff ff"}, "octet 2: the block ends within an integer"},
		{"an index of six octets", []string{"ff ff ff ff ff 00"}, "octet 1: an integer goes on after 4 octets: at most 28 bits beside its prefix"},
		{"a name that is missing", []string{"40"}, "octet 1: the block ends where a string is due"},
		{"a value that is missing", []string{"40 01 61"}, "octet 3: the block ends where a string is due"},
		{"a name that ends early", []string{"40 02 61"}, "octet 2: a string of 2 octets, and the block has 1 left"},
		{"a value that ends early", []string{"00 01 61 05 62"}, "octet 4: a string of 5 octets, and the block has 1 left"},
		{"a length that ends early", []string{"00 7f"}, "octet 2: the block ends within an integer"},
		{"a length of six octets", []string{"00 7f 80 80 80 80 01"}, "octet 2: an integer goes on after 4 octets: at most 28 bits beside its prefix"},
		{"a length of 256 MiB", []string{"00 7f ff ff ff 7f"}, "octet 6: a string of 268435582 octets, and the block has 0 left"},
		{"the end of a string inside it", []string{"04 84 ff ff ff ff"}, "octet 2: Huffman code: " + faultEOS},
		{"the end of a string inside a long one", []string{"04 8c 00 00 ff ff ff ff ff ff ff ff ff ff"}, "octet 2: Huffman code: " + faultEOS},
		{"the end of a string as its last 30 bits", []string{"04 85 00 3f ff ff ff"}, "octet 2: Huffman code: " + faultEOS},
		{"29 bits of padding", []string{"04 85 02 9f ff ff ff"}, "octet 2: Huffman code: " + faultPadding},
		{"8 bits of padding", []string{"04 82 f8 ff"}, "octet 2: Huffman code: " + faultPadding},
		{"a string that is 8 bits of padding", []string{"04 81 ff"}, "octet 2: Huffman code: " + faultPadding},
		{"padding of zeros", []string{"04 81 18"}, "octet 2: Huffman code: " + faultZero},
		{"padding that is not all ones", []string{"04 81 1d"}, "octet 2: Huffman code: " + faultZero},
		{"a long code that ends early", []string{"04 82 ff fe"}, "octet 2: Huffman code: " + faultPadding},
		{"a bad name", []string{"40 81 ff 01 61"}, "octet 2: Huffman code: " + faultPadding},
		{"a bad value that enters the table", []string{"41 82 f8 ff"}, "octet 2: Huffman code: " + faultPadding},
		{"a size update past the bound", []string{"3f e2 1f"}, "octet 0: a size update to 4097 bytes: at most 4096"},
		{"a size update after a field", []string{"82 20"}, "octet 1: a size update after the first field"},
		{"three size updates", []string{"20 21 22 82"}, "octet 2: more than 2 size updates"},
		{"a size update that ends early", []string{"3f"}, "octet 1: the block ends within an integer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := New(4096, 1<<16, nil)
			for i, dump := range tc.blocks {
				fields, err := d.Decode(nil, octets(t, dump))
				if i < len(tc.blocks)-1 {
					if err != nil {
						t.Fatal(err)
					}
					continue
				}
				if !errors.Is(err, ErrCompression) || err.Error() != ErrCompression.Error()+": "+tc.want {
					t.Errorf("got  %v\nwant %s", err, tc.want)
				}
				if len(fields) != 0 {
					t.Errorf("%d fields beside an error", len(fields))
				}
				if _, again := d.Decode(nil, []byte{0x82}); !errors.Is(again, err) {
					t.Errorf("the next block gives %v, want the same error", again)
				}
			}
		})
	}
}

func TestSettingsBoundTheTable(t *testing.T) {
	for _, tc := range []struct {
		name         string
		tableSizeMax uint32
		acknowledged bool
		dump         string
		want         string // "": no error
	}{
		{"a smaller table is the peer's to choose until it has acknowledged", 100, false, "82", ""},
		{"up to 4096 bytes may be asked for until then", 100, false, "3f e1 1f 82", ""},
		{"afterwards the table must shrink", 100, true, "82", "no size update to at most 100 bytes"},
		{"and does so by an update", 100, true, "3f 45 82", ""},
		{"even to 0", 0, true, "20 82", ""},
		{"not by one past the bound", 100, true, "3f 46 82", "a size update to 101 bytes: at most 100"},
		{"of two updates the last one counts", 100, true, "20 3f 45 82", ""},
		{"nothing must shrink if the bound is what it was", 4096, true, "82", ""},
		{"a larger table must be asked for", 8192, true, "3f e1 3f 82", ""},
		{"but not past the bound", 8192, true, "3f e2 3f 82", "a size update to 8193 bytes: at most 8192"},
		{"the largest bound is 65536", 1 << 20, true, "3f e2 ff 03 82", "a size update to 65537 bytes: at most 65536"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := New(tc.tableSizeMax, 1000, nil)
			if tc.acknowledged {
				d.Acknowledged()
			}
			fields, err := d.Decode(nil, octets(t, tc.dump))
			if tc.want == "" {
				if err != nil || lines(fields) != ":method: GET\n" {
					t.Errorf("got %q, %v", lines(fields), err)
				}
				return
			}
			if !errors.Is(err, ErrCompression) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestAListThatIsTooLongIsDecodedToItsEnd(t *testing.T) {
	long := strings.Repeat("v", 300)
	for _, tc := range []struct {
		name   string
		fields []xhpack.HeaderField
		want   string // delivered of the first block
	}{
		{"the last field does not fit", pairs("a", "1", "b", "2", "c", long), "a: 1\nb: 2\n"},
		{"nothing is delivered after a field that does not fit", pairs("a", "1", "c", long, "b", "2"), "a: 1\n"},
		{"a secret does not fit", []xhpack.HeaderField{{Name: "c", Value: long, Sensitive: true}, {Name: "d", Value: "3"}}, ""},
		{"a name does not fit", pairs("a", "1", long, "2", "b", "2"), "a: 1\n"},
		{"a static field does not fit", pairs("a", strings.Repeat("w", 190), ":method", "GET", "b", "2"), "a: " + strings.Repeat("w", 190) + "\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			blocks := goBlocks(tc.fields, pairs("b", "2", "d", "4"))
			d := New(4096, 250, tagOf)
			fields, err := d.Decode(nil, blocks[0])
			if !errors.Is(err, ErrListTooLong) || err.Error() != "hpack: header list too long: more than 250 bytes, each field counted with 32" {
				t.Errorf("got %v", err)
			}
			if got := lines(fields); got != tc.want {
				t.Errorf("delivered\n%swant\n%s", got, tc.want)
			}
			fields, err = d.Decode(nil, blocks[1])
			if err != nil || lines(fields) != "b: 2\nd: 4\n" {
				t.Errorf("the next block gives %q, %v", lines(fields), err)
			}
			checkTags(t, fields)
		})
	}
}

func TestAStringThatIsNotKeptIsCheckedAllTheSame(t *testing.T) {
	d := New(4096, 100, nil)
	block := append([]byte{0x04, 0xff, 0x80 + 73, 0x01}, bytes.Repeat([]byte{0xff}, 200)...) // 328 octets are announced
	block = append(block, make([]byte, 128)...)
	if _, err := d.Decode(nil, block); !errors.Is(err, ErrCompression) || !strings.Contains(err.Error(), faultEOS) {
		t.Errorf("got %v, want %s", err, faultEOS)
	}
}

func TestAnEntryLargerThanTheTableEmptiesIt(t *testing.T) {
	d := New(4096, 1<<16, tagOf)
	big := strings.Repeat("v", 5000)
	block := AppendLiteralIndexed(nil, "name", "a")
	block = append(block, 0x7e) // the name of index 62
	block = appendString(block, big)
	fields, err := d.Decode(nil, block)
	if err != nil || lines(fields) != "name: a\nname: "+big+"\n" {
		t.Errorf("got %.100q, %v", lines(fields), err)
	}
	if d.table.count != 0 || d.table.size != 0 {
		t.Errorf("the table has %d entries, %d bytes", d.table.count, d.table.size)
	}
	checkTags(t, fields)
}

func TestEntriesThatFillTheTableExactlyStay(t *testing.T) {
	d := New(4096, 1<<16, tagOf)
	block := AppendTableSize(nil, 100)
	block = AppendLiteralIndexed(block, "a", strings.Repeat("v", 17)) // 50 bytes
	block = AppendLiteralIndexed(block, "b", strings.Repeat("w", 17))
	block = AppendIndexed(AppendIndexed(block, 62), 63)
	if _, err := d.Decode(nil, block); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Decode(nil, AppendIndexed(AppendTableSize(nil, 100), 63)); err != nil {
		t.Error(err)
	}
	if _, err := d.Decode(nil, AppendIndexed(AppendTableSize(nil, 99), 63)); !errors.Is(err, ErrCompression) {
		t.Errorf("an entry is left where it has no room: %v", err)
	}
}

func TestOnlyALiteralThatIsNeverIndexedIsSensitive(t *testing.T) {
	value := strings.Repeat("v", 30)
	used := []Field{{Sensitive: true}, {Sensitive: true}, {Sensitive: true}, {Sensitive: true}, {Sensitive: true}}
	block := append(appendString([]byte{0x14}, value), 0x82) // :path, never indexed
	block = AppendLiteralIndexed(block, ":authority", value)
	block = AppendLiteral(block, ":path", value)
	block = AppendLiteral(block, ":path", value) // from the memo
	for round := range 2 {
		d := New(4096, 1<<16, tagOf)
		fields, err := d.Decode(used[:0], block)
		if !bytes.Equal(d.memo.wire, AppendLiteral(nil, ":path", value)) {
			t.Errorf("the memo has %q", d.memo.wire)
		}
		if err != nil || len(fields) != 5 {
			t.Fatalf("%d fields, %v", len(fields), err)
		}
		for i, f := range fields {
			if f.Sensitive != (i == 0) {
				t.Errorf("round %d: field %d: sensitive %t", round, i, f.Sensitive)
			}
			fields[i].Sensitive = true
		}
	}
}

// TestALiteralThatComesAgainIsTheSame has literals that don't enter the table,
// long enough for the memo, before and after what they may refer to changes.
func TestALiteralThatComesAgainIsTheSame(t *testing.T) {
	long := func(c string) string { return strings.Repeat(c, 40) }
	path := func(c string) []byte { return AppendLiteral(nil, ":path", long(c)) }
	other := AppendLiteral(nil, "other", long("o"))
	byIndex := appendString([]byte{0x0f, 0x2f}, long("i")) // the name of index 62
	d := New(4096, 1<<16, tagOf)
	for i, b := range []struct {
		block [][]byte
		want  string
		memo  []byte
	}{
		{[][]byte{path("a"), path("b")}, ":path: " + long("a") + "\n:path: " + long("b") + "\n", path("a")},
		{[][]byte{path("a"), path("b"), path("a")}, ":path: " + long("a") + "\n:path: " + long("b") + "\n:path: " + long("a") + "\n", path("a")},
		{[][]byte{path("b"), path("b"), path("c")}, ":path: " + long("b") + "\n:path: " + long("b") + "\n:path: " + long("c") + "\n", path("b")},
		{[][]byte{other, AppendLiteralIndexed(nil, "x", "1"), byIndex}, "other: " + long("o") + "\nx: 1\nx: " + long("i") + "\n", path("b")},
		{[][]byte{other, AppendLiteralIndexed(nil, "y", "1"), byIndex}, "other: " + long("o") + "\ny: 1\ny: " + long("i") + "\n", path("b")},
		{[][]byte{path("c")}, ":path: " + long("c") + "\n", path("c")},
	} {
		fields, err := d.Decode(nil, bytes.Join(b.block, nil))
		if err != nil || lines(fields) != b.want {
			t.Errorf("block %d: %v,\n%swant\n%s", i, err, lines(fields), b.want)
		}
		if !bytes.Equal(d.memo.wire, b.memo) {
			t.Errorf("block %d: the memo has %q, want %q", i, d.memo.wire, b.memo)
		}
		checkTags(t, fields)
	}
}

// TestAReferenceStaysWhenItsEntryGoes refers to an entry and then evicts it, in
// a block whose entries need far more room than its length lets expect.
func TestAReferenceStaysWhenItsEntryGoes(t *testing.T) {
	d := New(4096, 1<<16, tagOf)
	name := strings.Repeat("n", 1000)
	for round := range 500 {
		value := strings.Repeat(string(rune('a'+round%26)), 60+round%50)
		filler := strings.Repeat("f", round*97%1500)
		setup := AppendLiteralIndexed(AppendLiteralIndexed(AppendLiteralIndexed(nil, "f", filler), "a", value), name, "v")
		if _, err := d.Decode(nil, setup); err != nil {
			t.Fatal(err)
		}
		block := AppendIndexed(nil, 63)
		want := "a: " + value + "\n"
		for i := range 1 + round%12 {
			block = append(block, 0x7e, 1, byte('0'+i))
			want += name + ": " + string(rune('0'+i)) + "\n"
		}
		fields, err := d.Decode(nil, block)
		if err != nil || lines(fields) != want {
			t.Fatalf("round %d: %d fields, %v", round, len(fields), err)
		}
		checkTags(t, fields)
	}
}

func TestANameMayComeFromTheEntryThatItEvicts(t *testing.T) {
	d := New(4096, 1<<20, tagOf)
	name := strings.Repeat("n", 2000)
	block := AppendLiteralIndexed(nil, name, "first")
	var want strings.Builder
	want.WriteString(name + ": first\n")
	for range 50 {
		value := strings.Repeat("v", 1500)
		block = appendString(append(block, 0x7e), value)
		want.WriteString(name + ": " + value + "\n")
	}
	fields, err := d.Decode(nil, block)
	if err != nil || lines(fields) != want.String() {
		t.Errorf("%d fields, %v", len(fields), err)
	}
}

// TestViewsStayDuringABlock reads the first fields of a block after its last
// ones have thrown their entries out of the table many times over.
func TestViewsStayDuringABlock(t *testing.T) {
	for _, list := range []int{1000, 5000, 1 << 16} {
		d := New(4096, list, tagOf)
		var e proxyEncoder
		for round := range 20 {
			var fields []xhpack.HeaderField
			for i := range 300 {
				fields = append(fields, pairs("name-"+strings.Repeat("n", i%40), strings.Repeat(string(rune('a'+i%26)), (i*37+round)%200), ":path", "/"+strings.Repeat("p", 20+i%3))...)
			}
			got, err := d.Decode(nil, e.block(fields))
			if err != nil && !errors.Is(err, ErrListTooLong) {
				t.Fatal(err)
			}
			size := 0
			for i, f := range fields {
				size += len(f.Name) + len(f.Value) + 32
				if size > list {
					if len(got) != i {
						t.Fatalf("list %d, round %d: %d fields, want %d", list, round, len(got), i)
					}
					break
				}
				if string(got[i].Name) != f.Name || string(got[i].Value) != f.Value {
					t.Fatalf("list %d, round %d: field %d is %s: %s, want %s: %s", list, round, i, got[i].Name, got[i].Value, f.Name, f.Value)
				}
			}
			checkTags(t, got)
		}
	}
}
