package hpack

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	xhpack "golang.org/x/net/http2/hpack"
)

// A workload is the blocks of one connection: first once, then the rest again
// and again.
type workload struct {
	name   string
	first  [][]byte
	blocks [][]byte
}

// workloads are what the server sees. The rounds of a proxy begin with a table
// that is as full as in the middle of a long connection, and end with the same
// table: a size update empties it first.
func workloads() []workload {
	client := goBlocks(clientFields(), clientFields(), clientFields())
	round := func(goClient bool) [][]byte {
		blocks := envoyBlocks(1000, goClient)
		blocks[0] = append(AppendTableSize(AppendTableSize(nil, 0), tableSizeInitial), blocks[0]...)
		return blocks
	}
	return []workload{
		{"client=grpc-go", client[:2], client[2:]},
		{"client=envoy,encoder=nghttp2", nil, round(false)},
		{"client=envoy,encoder=x-net", nil, round(true)},
	}
}

// BenchmarkDecode decodes one block an operation, beside golang.org/x/net.
func BenchmarkDecode(b *testing.B) {
	for _, w := range workloads() {
		b.Run(w.name+"/decoder=ours", func(b *testing.B) {
			d := New(4096, 1<<14, nil)
			var fields []Field
			decode := func(block []byte) {
				var err error
				if fields, err = d.Decode(fields[:0], block); err != nil {
					b.Fatal(err)
				}
			}
			for _, block := range w.first {
				decode(block)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i++ {
				decode(w.blocks[i%len(w.blocks)])
			}
		})
		b.Run(w.name+"/decoder=x-net", func(b *testing.B) {
			n := 0
			d := xhpack.NewDecoder(4096, func(xhpack.HeaderField) { n++ })
			decode := func(block []byte) {
				for at := 0; at < len(block); {
					start := at
					if block[at]&0xe0 != 0x20 {
						at = len(block)
					} else if _, next, err := integer(block, at, 0x1f); err == nil {
						at = next // an update is a block of its own: see oracle.decode
					}
					if _, err := d.Write(block[start:at]); err != nil {
						b.Fatal(err)
					}
					if err := d.Close(); err != nil {
						b.Fatal(err)
					}
				}
			}
			for _, block := range w.first {
				decode(block)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i++ {
				decode(w.blocks[i%len(w.blocks)])
			}
		})
	}
}

// BenchmarkHostile decodes a block of 16 KiB an operation that makes as much
// work as is known.
func BenchmarkHostile(b *testing.B) {
	repeat := func(block, again []byte) []byte {
		return append(block, bytes.Repeat(again, (1<<14-len(block))/len(again))...)
	}
	rare := appendInteger([]byte{0x41}, 0x80, 0x7f, 600)
	rare = append(rare, xhpack.AppendHuffmanString(nil, strings.Repeat("\n", 160))...)
	for _, tc := range []struct {
		name  string
		block []byte
	}{
		{"references to one large entry", repeat(AppendLiteralIndexed(nil, "a", strings.Repeat("v", 4000)), []byte{0xbe})},
		{"entries with the name of one large entry", repeat(AppendLiteralIndexed(nil, strings.Repeat("n", 2015), "v"), []byte{0x7e, 1, 'v'})},
		{"the smallest entries", repeat(nil, []byte{0x40, 0, 0})},
		{"entries of rare octets", repeat(nil, rare)},
	} {
		b.Run(tc.name, func(b *testing.B) {
			d := New(4096, 1<<14, nil)
			fields := make([]Field, 0, 1<<9)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Decode(fields, tc.block); errors.Is(err, ErrCompression) {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkHuffman decodes one string an operation.
func BenchmarkHuffman(b *testing.B) {
	for _, s := range []string{
		"20m", "ratelimit", "application/grpc", "8b6f1e0c-52d3-4a7e-9c41-7d02b6a5e3f9",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", "\\\\\\\\\xff\xfe\x00\x01",
	} {
		src := xhpack.AppendHuffmanString(nil, s)
		b.Run(fmt.Sprintf("bytes=%d", len(s)), func(b *testing.B) {
			dst := make([]byte, 0, 200)
			for b.Loop() {
				if _, fault := appendHuffman(dst, src); fault != "" {
					b.Fatal(fault)
				}
			}
		})
	}
}
