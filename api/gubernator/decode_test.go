package gubernator

import (
	"bytes"
	"math"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// requestType is RateLimitReq.
func requestType() protoreflect.MessageDescriptor {
	return Schema().Messages().ByName("RateLimitReq")
}

// meaning is what protobuf's own decoder makes of b.
func meaning(kind protoreflect.MessageDescriptor, b []byte) (item, error) {
	m := dynamicpb.NewMessage(kind)
	if err := proto.Unmarshal(b, m); err != nil {
		return item{}, err
	}
	get := func(name protoreflect.Name) protoreflect.Value { return m.Get(kind.Fields().ByName(name)) }
	return item{
		name: []byte(get("name").String()), key: []byte(get("unique_key").String()),
		hits: get("hits").Int(), limit: get("limit").Int(), duration: get("duration").Int(), burst: get("burst").Int(),
		createdAt: get("created_at").Int(),
		algorithm: int32(get("algorithm").Enum()), behavior: int32(get("behavior").Enum()),
	}, nil
}

func (it *item) equal(other *item) bool {
	a, b := *it, *other
	same := bytes.Equal(a.name, b.name) && bytes.Equal(a.key, b.key)
	a.name, a.key, b.name, b.key = nil, nil, nil, nil
	return same && a.numbers() == b.numbers()
}

func (it *item) numbers() [7]int64 {
	return [7]int64{it.hits, it.limit, it.duration, it.burst, it.createdAt, int64(it.algorithm), int64(it.behavior)}
}

func checkDecode(t interface{ Fatalf(string, ...any) }, kind protoreflect.MessageDescriptor, b []byte) {
	before := bytes.Clone(b)
	var got item
	err := got.decode(b)
	if !bytes.Equal(b, before) {
		t.Fatalf("%x was written to", before)
	}
	want, refusal := meaning(kind, b)
	switch {
	case (err != nil) != (refusal != nil):
		t.Fatalf("%x: %v; protobuf says %v", b, err, refusal)
	case err == nil && !got.equal(&want):
		t.Fatalf("%x:\n got %+v\nwant %+v", b, got, want)
	}
}

// wireOf builds a message: wireOf(1, "text", 3, 7) has field 1 = "text" and field 3 = 7.
func wireOf(fields ...any) []byte {
	var b []byte
	for i := 0; i < len(fields); i += 2 {
		num := protowire.Number(fields[i].(int))
		switch v := fields[i+1].(type) {
		case int:
			b = protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), uint64(v))
		case string:
			b = protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), v)
		case []byte:
			b = protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
		case float64:
			b = protowire.AppendFixed64(protowire.AppendTag(b, num, protowire.Fixed64Type), math.Float64bits(v))
		}
	}
	return b
}

// oddRequests are worth a look, well-formed or not.
func oddRequests() map[string][]byte {
	whole := wireOf(1, "requests_per_sec", 2, "account:1", 3, 1, 4, 100, 5, 1000, 6, 1, 7, 38, 8, 7, 9, wireOf(1, "k", 2, "v"), 10, 1_795_392_000_000)
	return map[string][]byte{
		"nothing":                     nil,
		"every field":                 whole,
		"cut off":                     whole[:len(whole)-3],
		"numbers at their ends":       wireOf(3, -1, 4, math.MaxInt64, 5, math.MinInt64, 6, -1, 7, 1<<32|5, 10, 0),
		"texts twice":                 wireOf(1, "a", 2, "b", 1, "c", 2, ""),
		"not UTF-8":                   wireOf(1, "\xff"),
		"a key that is not UTF-8":     wireOf(2, "\xc0\x80"),
		"metadata that is not UTF-8":  wireOf(9, wireOf(1, "\xff")),
		"metadata that is no message": wireOf(9, "\x0a\x05"),
		"metadata with more fields":   wireOf(9, wireOf(1, 5, 2, "v", 3, "\xff", 1, "k")),
		"other wire types":            wireOf(1, 5, 2, 1.5, 3, "text", 4, 2.5, 9, 7, 10, "x"),
		"unknown fields":              wireOf(11, "x", 2000, 7, 12, 1.5, 1, "n"),
		"field 0":                     {0x00, 0x01},
		"a group":                     {0x0b, 0x08, 0x01, 0x0c},
		"a group without an end":      {0x0b, 0x08, 0x01},
	}
}

func TestDecodeMeansWhatProtobufDoes(t *testing.T) {
	kind := requestType()
	for name, b := range oddRequests() {
		t.Run(name, func(t *testing.T) { checkDecode(t, kind, b) })
	}
}

func FuzzDecode(f *testing.F) {
	for _, b := range oddRequests() {
		f.Add(b)
	}
	kind := requestType()
	f.Fuzz(func(t *testing.T, b []byte) { checkDecode(t, kind, b) })
}
