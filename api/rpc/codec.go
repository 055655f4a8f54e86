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
// keeps it.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	in, ok := v.(*incoming)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	if in.x == nil { // a second message, which is an error, comes here too
		in.x = in.desk.Open()
	}
	x := in.x
	x.In = x.In[:0]
	for _, b := range data {
		x.In = append(x.In, b.ReadOnlyData()...)
	}
	return nil
}

// Marshal sends an answer that is encoded already as it is.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.(mem.SliceBuffer); ok {
		return mem.BufferSlice{b}, nil
	}
	return c.CodecV2.Marshal(v)
}
