package hpack

import (
	"encoding/hex"
	"strings"
	"testing"

	xhpack "golang.org/x/net/http2/hpack"
)

func TestEveryRepresentationIsWrittenAsTheRFCHasIt(t *testing.T) {
	for _, tc := range []struct {
		name string
		got  []byte
		want string
	}{
		{"C.2.1: a literal that enters the table", AppendLiteralIndexed(nil, "custom-key", "custom-header"), "400a637573746f6d2d6b65790d637573746f6d2d686561646572"},
		{"C.2.2: a literal whose name has an index", AppendLiteral(nil, ":path", "/sample/path"), "040c2f73616d706c652f70617468"},
		{"C.2.4: an indexed field", AppendIndexed(nil, 2), "82"},
		{"an index of two octets", AppendIndexed(nil, 127), "ff00"},
		{"the name's index has two octets", AppendLiteral(nil, "content-type", []byte("a")), "0f100161"},
		{"the name's index has one octet among six bits", AppendLiteralIndexed(nil, []byte("content-type"), "a"), "5f0161"},
		{"an empty name and value", AppendLiteral(nil, "", ""), "000000"},
		{"a size update to 0", AppendTableSize(nil, 0), "20"},
		{"a size update to 30", AppendTableSize(nil, 30), "3e"},
		{"a size update to 31", AppendTableSize(nil, 31), "3f00"},
		{"a size update to 158", AppendTableSize(nil, 158), "3f7f"},
		{"a size update to 159", AppendTableSize(nil, 159), "3f8001"},
		{"C.1.2: 1337 in five bits", AppendTableSize(nil, 1337), "3f9a0a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := hex.EncodeToString(tc.got); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	block := AppendTableSize(nil, 1000)
	want := ""
	for i := 1; i <= staticCount; i++ {
		block = AppendIndexed(block, i)
		name, value := string(staticFields[i].name), string(staticFields[i].value)
		want += name + ": " + value + "\n"
		block = AppendLiteral(block, name, "x")
		block = AppendLiteralIndexed(block, name, "y")
		block = AppendIndexed(block, staticCount+1)
		want += name + ": x\n" + name + ": y\n" + name + ": y\n"
	}
	long := strings.Repeat("z", 300)
	block = AppendLiteral(block, long, long)
	want += long + ": " + long + "\n"
	fields, err := New(4096, 1<<20, nil).Decode(nil, block)
	if err != nil || lines(fields) != want {
		t.Errorf("ours: %v", err)
	}
	theirs, err := xhpack.NewDecoder(4096, nil).DecodeFull(block)
	got := ""
	for _, f := range theirs {
		got += f.Name + ": " + f.Value + "\n"
	}
	if err != nil || got != want {
		t.Errorf("theirs: %v", err)
	}
}
