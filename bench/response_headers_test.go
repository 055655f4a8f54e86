package bench

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/net/http2/hpack"
	"pgregory.net/rapid"
)

func newResponseHeaders() *responseHeaders {
	r := &responseHeaders{}
	r.dec = hpack.NewDecoder(4096, r.field)
	return r
}

// Remembering what blocks meant makes no difference: a reader that does agrees
// with one that forgets at once, whatever a server does to the table.
func TestRememberedBlocksMeanWhatTheyMeant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b bytes.Buffer
		enc := hpack.NewEncoder(&b)
		remembers, forgets := newResponseHeaders(), newResponseHeaders()
		var sent [][]byte
		for range rapid.IntRange(1, 100).Draw(t, "blocks") {
			b.Reset()
			if rapid.IntRange(0, 19).Draw(t, "resize") == 0 {
				enc.SetMaxDynamicTableSize(rapid.SampledFrom([]uint32{0, 50, 100, 4096}).Draw(t, "size"))
			}
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0: // the same bytes again, which now may mean something else
				if len(sent) == 0 {
					continue
				}
				b.Write(rapid.SampledFrom(sent).Draw(t, "again"))
			case 1: // literals that no table sees
				fmt.Fprintf(&b, "\x00\x0bgrpc-status\x01%d", rapid.IntRange(0, 9).Draw(t, "code"))
			default:
				for range rapid.IntRange(0, 3).Draw(t, "fields") {
					_ = enc.WriteField(hpack.HeaderField{ // a Buffer takes everything
						Name:      rapid.SampledFrom([]string{"grpc-status", ":status", "x"}).Draw(t, "name"),
						Value:     rapid.SampledFrom([]string{"0", "1", "2", "200", "99", "y"}).Draw(t, "value"),
						Sensitive: rapid.Bool().Draw(t, "sensitive"),
					})
				}
			}
			block := bytes.Clone(b.Bytes())
			sent = append(sent, block)
			remembers.status, forgets.status = statusNone, statusNone
			got := remembers.block(block)
			want := forgets.block(block)
			forgets.forget()
			if (got == nil) != (want == nil) {
				t.Fatalf("block %x: error %v, want %v", block, got, want)
			}
			if got != nil {
				return // the connection would end here
			}
			if remembers.status != forgets.status {
				t.Fatalf("block %x: status %d, want %d", block, remembers.status, forgets.status)
			}
		}
	})
}

func TestWhatChangesTheTableIsSeen(t *testing.T) {
	for _, tc := range []struct {
		name  string
		block []byte
		want  bool
	}{
		{"nothing", nil, false},
		{"entries of the table", []byte{0x88, 0xff, 0x80, 0x01, 0xbe}, false},
		{"a literal with a name of the table", []byte{0x0f, 0x2f, 0x01, 'x'}, false},
		{"a literal with a name of its own", []byte{0x00, 0x01, 'n', 0x01, 'v'}, false},
		{"a literal never to be indexed", []byte{0x10, 0x01, 'n', 0x81, 0x07}, false},
		{"a new entry", []byte{0x88, 0x40, 0x01, 'n', 0x01, 'v'}, true},
		{"a new entry with a name of the table", []byte{0x48, 0x01, 'v'}, true},
		{"a size", []byte{0x20, 0x88}, true},
		{"half a number", []byte{0xff}, true},
		{"an endless number", []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, true},
		{"half a text", []byte{0x00, 0x03, 'n'}, true},
		{"no text", []byte{0x00, 0x01, 'n'}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := changesTable(tc.block); got != tc.want {
				t.Errorf("%x: %v", tc.block, got)
			}
		})
	}
}
