package hpack

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"unsafe"

	xhpack "golang.org/x/net/http2/hpack"
)

// A plainField is a Field that stays.
type plainField struct {
	name, value string
	sensitive   bool
}

func plain(fields []Field) []plainField {
	var out []plainField
	for _, f := range fields {
		out = append(out, plainField{string(f.Name), string(f.Value), f.Sensitive})
	}
	return out
}

// lines returns fields as "name: value" lines.
func lines(fields []Field) string {
	var b strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
	}
	return b.String()
}

// octets returns what a hexadecimal dump with spaces and newlines says.
func octets(t *testing.T, dump string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(dump), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tagOf is a classify whose tag depends on every byte.
func tagOf(name, value []byte) uint32 {
	h := uint32(2166136261)
	for _, s := range [][]byte{name, {0}, value} {
		for _, c := range s {
			h = (h ^ uint32(c)) * 16777619
		}
	}
	return h
}

// held returns how many bytes d holds.
func held(d *Decoder) int {
	return int(unsafe.Sizeof(*d)) + cap(d.table.text) + cap(d.scratch) + cap(d.table.ring)*int(unsafe.Sizeof(entry{})) + cap(d.memo.wire) + cap(d.memo.value)
}

// heldMax is the bound that Decoder's comment states.
func heldMax(tableSizeMax, listBytesMax int) int {
	return 3*max(tableSizeMax, tableSizeInitial) + listBytesMax + 2048
}

// goBlocks encodes blocks as Go's clients do: everything enters the table.
func goBlocks(blocks ...[]xhpack.HeaderField) [][]byte {
	var b bytes.Buffer
	e := xhpack.NewEncoder(&b)
	var out [][]byte
	for _, fields := range blocks {
		b.Reset()
		for _, f := range fields {
			if err := e.WriteField(f); err != nil {
				panic(err)
			}
		}
		out = append(out, bytes.Clone(b.Bytes()))
	}
	return out
}

// A proxyEncoder encodes as C proxies do: all strings Huffman-coded where that
// is shorter, and :path, which is thought to differ always, never in the table.
type proxyEncoder struct {
	table []xhpack.HeaderField // youngest last
	size  uint32
}

func (e *proxyEncoder) block(fields []xhpack.HeaderField) []byte {
	var b []byte
	for _, f := range fields {
		b = e.field(b, f)
	}
	return b
}

func (e *proxyEncoder) field(b []byte, f xhpack.HeaderField) []byte {
	nameIndex := 0
	for i := 1; i <= staticCount; i++ {
		if string(staticFields[i].name) != f.Name {
			continue
		}
		if nameIndex == 0 {
			nameIndex = i
		}
		if string(staticFields[i].value) == f.Value {
			return AppendIndexed(b, i)
		}
	}
	for i := len(e.table) - 1; i >= 0; i-- {
		if e.table[i].Name != f.Name {
			continue
		}
		index := staticCount + len(e.table) - i
		if e.table[i].Value == f.Value {
			return AppendIndexed(b, index)
		}
		if nameIndex == 0 {
			nameIndex = index
		}
	}
	if f.Name == ":path" {
		b = appendInteger(b, 0, 0x0f, uint64(nameIndex))
	} else {
		b = appendInteger(b, bitsIndexing, 0x3f, uint64(nameIndex))
		e.table = append(e.table, f)
		for e.size += f.Size(); e.size > tableSizeInitial; e.table = e.table[1:] {
			e.size -= e.table[0].Size()
		}
	}
	if nameIndex == 0 {
		b = appendCoded(b, f.Name)
	}
	return appendCoded(b, f.Value)
}

func appendCoded(b []byte, s string) []byte {
	if n := xhpack.HuffmanEncodeLength(s); n < uint64(len(s)) {
		return xhpack.AppendHuffmanString(appendInteger(b, 0x80, 0x7f, n), s)
	}
	return appendString(b, s)
}

func pairs(kv ...string) []xhpack.HeaderField {
	var out []xhpack.HeaderField
	for i := 0; i < len(kv); i += 2 {
		out = append(out, xhpack.HeaderField{Name: kv[i], Value: kv[i+1]})
	}
	return out
}

// envoyFields is a proxy's request: two values are fresh in each.
func envoyFields(request uint64) []xhpack.HeaderField {
	a, b := request*0x9e3779b97f4a7c15+0x1234567, request*0xbf58476d1ce4e5b9+0x89abcdef
	return pairs(":method", "POST", ":scheme", "http",
		":path", "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", ":authority", "ratelimit",
		"te", "trailers", "grpc-timeout", "20m", "content-type", "application/grpc",
		"x-request-id", fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", uint32(a), uint16(a>>32), a>>52, b>>52, b&(1<<48-1)),
		"traceparent", fmt.Sprintf("00-%016x%016x-%016x-01", a, b, a^b),
		"x-envoy-internal", "true", "x-forwarded-for", "10.0.0.1")
}

func clientFields() []xhpack.HeaderField {
	return pairs(":method", "POST", ":scheme", "http",
		":path", "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", ":authority", "127.0.0.1:8081",
		"content-type", "application/grpc", "user-agent", "grpc-go/1.85.0", "te", "trailers", "grpc-timeout", "20m")
}

// envoyBlocks are n requests of one connection; goClient says who encodes.
func envoyBlocks(n int, goClient bool) [][]byte {
	var fields [][]xhpack.HeaderField
	for i := range n {
		fields = append(fields, envoyFields(uint64(i)))
	}
	if goClient {
		return goBlocks(fields...)
	}
	var e proxyEncoder
	var out [][]byte
	for _, f := range fields {
		out = append(out, e.block(f))
	}
	return out
}
