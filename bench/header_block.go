package bench

import (
	"bytes"

	"golang.org/x/net/http2/hpack"
)

// A headerBlock encodes the one header list that all requests of a connection
// have. The first block puts the fields into the server's table, the second says
// their numbers there, and so does every later one: it is kept.
type headerBlock struct {
	fields []hpack.HeaderField
	buf    bytes.Buffer
	enc    *hpack.Encoder
	block  []byte // the last one encoded
	uses   int    // of the encoder, since the table's size changed
}

func newHeaderBlock(authority, path string) *headerBlock {
	h := &headerBlock{fields: []hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: "http"},
		{Name: ":path", Value: path},
		{Name: ":authority", Value: authority},
		{Name: "content-type", Value: "application/grpc"},
		{Name: "te", Value: "trailers"},
		{Name: "user-agent", Value: "headgate-bench"},
	}}
	h.enc = hpack.NewEncoder(&h.buf)
	return h
}

// next returns the block of the next request, valid until the next call.
func (h *headerBlock) next() []byte {
	if h.uses < 2 {
		h.uses++
		h.buf.Reset()
		for _, f := range h.fields {
			_ = h.enc.WriteField(f) // a bytes.Buffer takes everything
		}
		h.block = append(h.block[:0], h.buf.Bytes()...)
	}
	return h.block
}

// limitTable sets how large the server lets the table be, in HPACK's bytes.
func (h *headerBlock) limitTable(size uint32) {
	h.enc.SetMaxDynamicTableSizeLimit(size)
	h.uses = 0
}
