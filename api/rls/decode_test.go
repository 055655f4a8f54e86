package rls

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"pgregory.net/rapid"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/internal/apitest"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// A plain request is what a RateLimitRequest means.
type plain struct {
	domain      string
	descriptors []plainDescriptor
}

type plainDescriptor struct {
	entries  [][2]string
	op       limiter.Op
	cost     uint64
	override *policy.Override
}

func plainOf(r *policy.Request) plain {
	p := plain{domain: string(r.Domain)}
	for _, d := range r.Descriptors() {
		pd := plainDescriptor{op: d.Op, cost: d.Cost, override: d.Override}
		for _, e := range d.Entries {
			pd.entries = append(pd.entries, [2]string{string(e.Key), string(e.Value)})
		}
		p.descriptors = append(p.descriptors, pd)
	}
	return p
}

// meaning is the dumb model: what the generated message says, and why it is
// refused (0: it isn't).
func meaning(m *rlsv3.RateLimitRequest, size int, bounds *api.Bounds) (plain, map[api.Reason]bool) {
	refused := map[api.Reason]bool{}
	p := plain{domain: m.GetDomain()}
	if m.GetDomain() == "" || len(m.GetDescriptors()) == 0 {
		refused[api.Malformed] = true
	}
	entries := 0
	for _, d := range m.GetDescriptors() {
		pd := plainDescriptor{cost: uint64(max(m.GetHitsAddend(), 1))}
		if d.GetHitsAddend() != nil {
			pd.cost = d.GetHitsAddend().GetValue()
		}
		if d.GetIsNegativeHits() {
			pd.op = limiter.OpGiveBack
		}
		if pd.cost == 0 {
			pd.op = limiter.OpPeek
		}
		if pd.cost > limiter.CostMax {
			refused[api.OutOfBounds] = true
		}
		for _, e := range d.GetEntries() {
			if len(e.GetKey()) > bounds.KeyBytes || len(e.GetValue()) > bounds.ValueBytes {
				refused[api.OutOfBounds] = true
			}
			pd.entries = append(pd.entries, [2]string{e.GetKey(), e.GetValue()})
			entries++
		}
		if o := d.GetLimit(); o != nil {
			units := map[typev3.RateLimitUnit]policy.Unit{
				typev3.RateLimitUnit_SECOND: policy.UnitSecond, typev3.RateLimitUnit_MINUTE: policy.UnitMinute,
				typev3.RateLimitUnit_HOUR: policy.UnitHour, typev3.RateLimitUnit_DAY: policy.UnitDay,
				typev3.RateLimitUnit_MONTH: policy.UnitMonth, typev3.RateLimitUnit_YEAR: policy.UnitYear,
			}
			unit, known := units[o.GetUnit()]
			multiplier := uint32(1)
			if o.GetUnitMultiplier() != nil {
				multiplier = o.GetUnitMultiplier().GetValue()
			}
			if !known {
				refused[api.Malformed] = true
			} else if multiplier == 0 || float64(multiplier)*unit.Duration().Seconds() > limiter.PeriodMax.Seconds() {
				refused[api.OutOfBounds] = true
			}
			pd.override = &policy.Override{Amount: uint64(o.GetRequestsPerUnit()), Unit: unit, Multiplier: multiplier}
		}
		p.descriptors = append(p.descriptors, pd)
	}
	if size > bounds.MessageBytes || len(p.descriptors) > bounds.Descriptors || entries > bounds.Entries || len(p.domain) > bounds.KeyBytes {
		refused[api.OutOfBounds] = true
	}
	return p, refused
}

// decodeDiffers says where Decode differs from the generated decoder; "" if it
// doesn't.
func decodeDiffers(b []byte, bounds *api.Bounds) string {
	var r policy.Request
	before := bytes.Clone(b)
	err := Decode(b, bounds, &r)
	if !bytes.Equal(b, before) {
		return "Decode wrote to the message"
	}
	var fault *api.Fault
	if err != nil && !errors.As(err, &fault) {
		return fmt.Sprintf("error %v is no Fault", err)
	}
	var m rlsv3.RateLimitRequest
	if refusal := proto.Unmarshal(b, &m); refusal != nil {
		if err == nil {
			return fmt.Sprintf("accepted %x, which protobuf refuses: %v", b, refusal)
		}
		return ""
	}
	want, refused := meaning(&m, len(b), bounds)
	switch {
	case fault == nil && len(refused) > 0:
		return fmt.Sprintf("accepted %v, which is refused for %v", &m, refused)
	case fault == nil:
		if got := plainOf(&r); !reflect.DeepEqual(got, want) {
			return fmt.Sprintf("%x\n got %+v\nwant %+v", b, got, want)
		}
	case !refused[fault.Reason]:
		return fmt.Sprintf("refused %v: %v (reason %d); expected one of %v", &m, err, fault.Reason, refused)
	}
	return ""
}

// checkDecode holds Decode against the generated decoder.
func checkDecode(t interface{ Fatal(...any) }, b []byte, bounds *api.Bounds) {
	if diff := decodeDiffers(b, bounds); diff != "" {
		t.Fatal(diff)
	}
}

func tightBounds() *api.Bounds {
	return &api.Bounds{MessageBytes: 1 << 10, Descriptors: 2, Entries: 3, KeyBytes: 8, ValueBytes: 8, BatchChecks: 1}
}

func FuzzDecode(f *testing.F) {
	for _, b := range apitest.Recorded(f) {
		f.Add(b)
	}
	for _, c := range decodeCases() {
		if len(c.message) < 1<<10 { // mutating a large one teaches nothing and takes long
			f.Add(c.message)
		}
	}
	bounds := api.DefaultBounds()
	f.Fuzz(func(t *testing.T, b []byte) {
		checkDecode(t, b, &bounds)
		checkDecode(t, b, tightBounds())
	})
}

// Random messages, field by field, with all the liberties of the wire format.
func TestDecodeMeansWhatTheGeneratedDecoderDoes(t *testing.T) {
	bounds := api.DefaultBounds()
	rapid.Check(t, func(t *rapid.T) {
		b := drawMessage(t, 3)
		if rapid.IntRange(0, 9).Draw(t, "cut") == 0 && len(b) > 0 {
			b = b[:rapid.IntRange(0, len(b)-1).Draw(t, "at")]
		}
		checkDecode(t, b, &bounds)
		checkDecode(t, b, tightBounds())
	})
}

func drawMessage(t *rapid.T, depth int) []byte {
	var b []byte
	for range rapid.IntRange(0, 6).Draw(t, "fields") {
		num := protowire.Number(rapid.SampledFrom([]int{1, 2, 3, 1, 2, 3, 4, 5, 19000, 1<<29 - 1, 1 << 29, 0}).Draw(t, "number"))
		tag := func(typ protowire.Type) {
			v := uint64(num)<<3 | uint64(typ)
			b = protowire.AppendVarint(b, v)
			if rapid.IntRange(0, 19).Draw(t, "overlong") == 0 {
				b[len(b)-1] |= 0x80
				b = append(b, 0)
			}
		}
		switch rapid.IntRange(0, 9).Draw(t, "type") {
		case 0, 1:
			tag(protowire.VarintType)
			b = protowire.AppendVarint(b, rapid.SampledFrom([]uint64{0, 1, 2, 6, 7, 300, 1 << 32, 1<<32 + 5, 1 << 55, 1<<55 + 1, 1<<64 - 1}).Draw(t, "varint"))
		case 2:
			tag(protowire.Fixed32Type)
			b = append(b, 1, 2, 3, 4)
		case 3:
			tag(protowire.Fixed64Type)
			b = append(b, 1, 2, 3, 4, 5, 6, 7, 8)
		case 4:
			tag(protowire.StartGroupType)
			if depth > 0 {
				b = append(b, drawMessage(t, depth-1)...)
			}
			tag(protowire.EndGroupType)
		case 5:
			tag(protowire.Type(rapid.IntRange(4, 7).Draw(t, "odd")))
		case 6:
			tag(protowire.BytesType)
			b = protowire.AppendBytes(b, []byte(rapid.SampledFrom([]string{"", "k", "shop", "longer than the tight bound", "\xff", "é"}).Draw(t, "text")))
		default:
			tag(protowire.BytesType)
			var v []byte
			if depth > 0 {
				v = drawMessage(t, depth-1)
			}
			b = protowire.AppendBytes(b, v)
		}
	}
	return b
}

type decodeCase struct {
	name    string
	message []byte
	fault   string // part of the error; "" if there is none
}

// w builds a message: w(1, "text", 3, 7) has field 1 = "text" and field 3 = 7.
func w(fields ...any) []byte {
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
		}
	}
	return b
}

func decodeCases() []decodeCase {
	entry := w(1, "key", 2, "value")
	// with returns a request whose only descriptor has an entry and fields.
	with := func(fields ...any) []byte { return w(1, "shop", 2, append(w(1, entry), w(fields...)...)) }
	nested := func(n int) []byte {
		return append(with(), append(bytes.Repeat([]byte{9<<3 | 3}, n), bytes.Repeat([]byte{9<<3 | 4}, n)...)...)
	}
	var many, manyEntries []byte
	for range policy.DescriptorsMax + 1 {
		many = append(many, w(2, w(1, entry))...)
	}
	for range policy.EntriesMax + 1 {
		manyEntries = append(manyEntries, w(1, entry)...)
	}
	return []decodeCase{
		{"one descriptor", with(), ""},
		{"a descriptor without entries", w(1, "shop", 2, ""), ""},
		{"an entry without key and value", w(1, "shop", 2, w(1, "")), ""},
		{"fields in any order", w(3, 7, 2, w(1, entry), 1, "shop"), ""},
		{"the last of two domains counts", w(1, "other", 2, w(1, entry), 1, "shop"), ""},
		{"a domain that is not the last must be text, too", w(1, "\xff", 2, w(1, entry), 1, "shop"), "domain: must be valid UTF-8"},
		{"the last of two keys counts", w(1, "shop", 2, w(1, w(1, "a", 2, "v", 1, "b"))), ""},
		{"the request's addend for descriptors without one", w(1, "shop", 2, w(1, entry), 2, w(1, entry, 3, w(1, 9)), 3, 7), ""},
		{"the request's addend of 0 is 1", w(1, "shop", 2, w(1, entry), 3, 0), ""},
		{"the request's addend is the low 32 bits", w(1, "shop", 2, w(1, entry), 3, 1<<32+3), ""},
		{"a peek: addend present and 0", with(3, w(1, 0)), ""},
		{"a peek: addend present and empty", with(3, ""), ""},
		{"a give-back", with(3, w(1, 5), 4, 1), ""},
		{"a give-back of the request's addend", append(with(4, 1), w(3, 6)...), ""},
		{"a give-back of nothing is a peek", with(3, "", 4, 1), ""},
		{"negative, then not", with(3, w(1, 5), 4, 1, 4, 0), ""},
		{"an addend given twice is merged", with(3, w(1, 5), 3, ""), ""},
		{"the largest addend", with(3, w(1, limiter.CostMax)), ""},
		{"an addend above the bound", with(3, w(1, limiter.CostMax+1)), "descriptors[0].hits_addend: 36028797018963969: at most 36028797018963968"},
		{"a limit of its own", with(2, w(1, 42, 2, 2)), ""},
		{"a limit of its own that bans", with(2, w(2, 1)), ""},
		{"a limit given twice is merged", with(2, w(1, 42, 3, w(1, 2)), 2, w(2, 3)), ""},
		{"a multiplier", with(2, w(1, 42, 2, 1, 3, w(1, 90))), ""},
		{"a multiplier of 0", with(2, w(1, 42, 2, 1, 3, "")), "limit.unit_multiplier: 0: must be in [1, 31622400]"},
		{"a period above the bound", with(2, w(1, 42, 2, 6, 3, w(1, 2))), "descriptors[0].limit.unit_multiplier: 2: must be in [1, 1]"},
		{"a limit without a unit", with(2, w(1, 42)), "descriptors[0].limit.unit: 0: must be SECOND"},
		{"a limit with an unknown unit", with(2, w(1, 42, 2, 7)), "descriptors[0].limit.unit: 7"},
		{"a unit whose low bits are a known one", with(2, w(1, 42, 2, 9)), "descriptors[0].limit.unit: 9"},
		{"a unit above 32 bits is its low 32 bits", with(2, w(1, 42, 2, 1<<32+1)), ""},
		{"a negative unit", with(2, w(1, 42, 2, -1)), "descriptors[0].limit.unit: -1"},
		{"a multiplier above 32 bits is its low 32 bits", with(2, w(1, 42, 2, 1, 3, w(1, 1<<32+2))), ""},
		{"an empty limit", with(2, ""), "descriptors[0].limit.unit: 0"},
		{"unknown fields", append(with(), w(4, 1, 19, "x", 1<<29-1, 7)...), ""},
		{"a known field with another type", append(with(), w(3, "x")...), ""},
		{"an unknown group", append(with(), 9<<3|3, 9<<3|4), ""},
		{"deeply nested unknown groups", nested(9_000), ""},
		{"unknown groups nested too deeply", nested(11_000), "message: must be a valid protobuf message"},
		{"a group of a known number", append(with(), 2<<3|3, 2<<3|4), ""},
		{"a group that does not end", append(with(), 9<<3|3), "message: must be a valid protobuf message"},
		{"a group that ends another", append(with(), 9<<3|3, 8<<3|4), "message: must be a valid protobuf message"},
		{"an end of no group", append(with(), 9<<3|4), "message: must be a valid protobuf message"},
		{"field number 0", append(with(), 0, 0), "message: must be a valid protobuf message"},
		{"a field number above 2²⁹ − 1", append(with(), 0x80, 0x80, 0x80, 0x80, 0x10, 0), "message: must be a valid protobuf message"},
		{"wire type 6", append(with(), 9<<3|6, 0), "message: must be a valid protobuf message"},
		{"an overlong tag", append(with(), 0x98, 0x80, 0x00, 5), ""},
		{"an overlong varint of 10 bytes", append(with(), 3<<3, 0x85, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00), ""},
		{"a varint of 65 bits", append(with(), 3<<3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02), "message: must be a valid protobuf message"},
		{"a varint of 11 bytes", append(with(), 3<<3, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00), "message: must be a valid protobuf message"},
		{"a length beyond the end", append(with(), 9<<3|2, 5, 'x'), "message: must be a valid protobuf message"},
		{"a huge length", append(with(), 1<<3|2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01), "message: must be a valid protobuf message"},
		{"a key that is no text", w(1, "shop", 2, w(1, w(1, "\xc3"))), "descriptors[0].entries: must be valid UTF-8"},
		{"a value that is no text", w(1, "shop", 2, w(1, w(2, "\xed\xa0\x80"))), "descriptors[0].entries: must be valid UTF-8"},
		{"an entry that is no message", w(1, "shop", 2, w(1, "\x07")), "descriptors[0].entries: must be a valid protobuf message"},
		{"a limit that is no message", with(2, "\x07"), "descriptors[0]: must be a valid protobuf message"},
		{"an addend that is no message", with(3, "\x07"), "descriptors[0]: must be a valid protobuf message"},
		{"nothing", nil, "domain: must not be empty"},
		{"no domain", w(2, w(1, entry)), "domain: must not be empty"},
		{"an empty domain", w(1, "", 2, w(1, entry)), "domain: must not be empty"},
		{"no descriptors", w(1, "shop"), "descriptors: must not be empty"},
		{"a long domain", w(1, strings.Repeat("d", 257), 2, w(1, entry)), "domain: 257 bytes: at most 256 bytes"},
		{"a long key", w(1, "shop", 2, w(1, w(1, strings.Repeat("k", 257)))), "descriptors[0].entries.key: 257 bytes: at most 256 bytes"},
		{"a long value", w(1, "shop", 2, w(1, w(2, strings.Repeat("v", 4097)))), "descriptors[0].entries.value: 4097 bytes: at most 4096 bytes"},
		{"33 descriptors", append(w(1, "shop"), many...), "descriptors: 33: at most 32"},
		{"257 entries", w(1, "shop", 2, manyEntries), "descriptors.entries: 257: at most 256"},
		{"a long message", make([]byte, 1<<20+1), "message: 1048577 bytes: at most 1048576 bytes"},
	}
}

func TestDecode(t *testing.T) {
	bounds := api.DefaultBounds()
	for _, c := range decodeCases() {
		t.Run(c.name, func(t *testing.T) {
			checkDecode(t, c.message, &bounds)
			var r policy.Request
			err := Decode(c.message, &bounds, &r)
			switch {
			case c.fault == "" && err != nil:
				t.Fatalf("refused: %v", err)
			case c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)):
				t.Fatalf("got error %v, want %q", err, c.fault)
			}
		})
	}
}

func TestDecodeRecorded(t *testing.T) {
	bounds := api.DefaultBounds()
	for name, b := range apitest.Recorded(t) {
		t.Run(name, func(t *testing.T) {
			var r policy.Request
			if err := Decode(b, &bounds, &r); err != nil {
				t.Fatal(err)
			}
			checkDecode(t, b, &bounds)
		})
	}
}

// What the generated encoder writes is read back.
func TestDecodeOfAGeneratedMessage(t *testing.T) {
	m := &rlsv3.RateLimitRequest{
		Domain: "shop", HitsAddend: 3,
		Descriptors: []*ratelimitv3.RateLimitDescriptor{
			{Entries: []*ratelimitv3.RateLimitDescriptor_Entry{{Key: "path", Value: "/"}, {Key: "user", Value: "ü"}}},
			{
				Entries:        []*ratelimitv3.RateLimitDescriptor_Entry{{Key: "k"}},
				Limit:          &ratelimitv3.RateLimitDescriptor_RateLimitOverride{RequestsPerUnit: 9, Unit: typev3.RateLimitUnit_HOUR, UnitMultiplier: wrapperspb.UInt32(2)},
				HitsAddend:     wrapperspb.UInt64(1 << 40),
				IsNegativeHits: true,
			},
		},
	}
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	bounds := api.DefaultBounds()
	var r policy.Request
	if err := Decode(b, &bounds, &r); err != nil {
		t.Fatal(err)
	}
	want := plain{domain: "shop", descriptors: []plainDescriptor{
		{entries: [][2]string{{"path", "/"}, {"user", "ü"}}, cost: 3},
		{
			entries: [][2]string{{"k", ""}}, op: limiter.OpGiveBack, cost: 1 << 40,
			override: &policy.Override{Amount: 9, Unit: policy.UnitHour, Multiplier: 2},
		},
	}}
	if got := plainOf(&r); !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}
