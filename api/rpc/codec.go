package rpc

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that codec wraps
	"google.golang.org/grpc/mem"
)

// A codec passes bytes through where the handler works on bytes, and is the
// ordinary protobuf codec for everything else.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Unmarshal copies the bytes for an incoming into its exchange's In. The copy of some
// hundred bytes is what makes the exchange own them, however long a Decider
// keeps it. For an *inbox it copies them, too: they come in pieces.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch in := v.(type) {
	case *incoming:
		if in.x == nil { // a second message, which is an error, comes here too
			in.x = in.desk.Open()
		}
		in.x.In = gather(in.x.In[:0], data)
	case *inbox:
		in.buf = in.pool.Get(data.Len())
		gather((*in.buf)[:0], data)
	default:
		return c.CodecV2.Unmarshal(data, v)
	}
	return nil
}

func gather(dst []byte, data mem.BufferSlice) []byte {
	for _, b := range data {
		dst = append(dst, b.ReadOnlyData()...)
	}
	return dst
}

// Marshal sends an answer that is encoded already as it is.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.(mem.Buffer); ok {
		return mem.BufferSlice{b}, nil
	}
	return c.CodecV2.Marshal(v)
}
