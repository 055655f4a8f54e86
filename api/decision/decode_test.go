package decision

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/batch"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// A plain request is what a CheckRequest means.
type plain struct {
	domain  string
	entries [][2]string
	op      limiter.Op
	cost    uint64
	explain bool
	id      string
	costs   []plainCost
}

// A plainCost is what a UnitCost means.
type plainCost struct {
	unit  string
	units uint64
}

func plainOf(r *policy.Request, explain bool) plain {
	d := r.Descriptors()[0]
	p := plain{domain: string(r.Domain), op: d.Op, cost: d.Cost, explain: explain, id: string(r.RequestID)}
	for _, e := range d.Entries {
		p.entries = append(p.entries, [2]string{string(e.Key), string(e.Value)})
	}
	for _, c := range r.Costs() {
		p.costs = append(p.costs, plainCost{string(c.Unit), c.Units})
	}
	return p
}

// meaning is the dumb model: what the generated message says, and why it is
// refused.
func meaning(m *headgatev1.CheckRequest, bounds *api.Bounds, peek bool) (plain, map[api.Reason]bool) {
	refused := map[api.Reason]bool{}
	p := plain{domain: m.GetDomain(), cost: 1, explain: m.GetExplain()}
	if m.GetDomain() == "" || peek && m.GetGiveBack() {
		refused[api.Malformed] = true
	}
	if m.Cost != nil {
		p.cost = m.GetCost()
	}
	if m.GetGiveBack() {
		p.op = limiter.OpGiveBack
	}
	if peek || p.cost == 0 && len(m.GetCosts()) == 0 {
		p.op = limiter.OpPeek
	}
	for i, c := range m.GetCosts() {
		if c.GetUnit() == "" || slices.ContainsFunc(m.GetCosts()[:i], func(d *headgatev1.UnitCost) bool { return d.GetUnit() == c.GetUnit() }) {
			refused[api.Malformed] = true
		}
		if len(c.GetUnit()) > policy.UnitBytesMax || c.GetUnits() > limiter.CostMax || i >= policy.CostsMax {
			refused[api.OutOfBounds] = true
		}
		p.costs = append(p.costs, plainCost{c.GetUnit(), c.GetUnits()})
	}
	if !peek {
		p.id = string(m.GetRequestId())
	}
	if len(m.GetRequestId()) > limiter.RequestBytesMax || len(m.GetDomain()) > bounds.KeyBytes || p.cost > limiter.CostMax || len(m.GetAttributes()) > bounds.Entries {
		refused[api.OutOfBounds] = true
	}
	for _, a := range m.GetAttributes() {
		if a.GetKey() == "" {
			refused[api.Malformed] = true
		}
		if len(a.GetKey()) > bounds.KeyBytes || len(a.GetValue()) > bounds.ValueBytes {
			refused[api.OutOfBounds] = true
		}
		p.entries = append(p.entries, [2]string{a.GetKey(), a.GetValue()})
	}
	return p, refused
}

// differs says where the meaning of m and what was decoded, or refused with err,
// differ; "" if they don't.
func differs(m *headgatev1.CheckRequest, bounds *api.Bounds, peek bool, r *policy.Request, explain bool, err error) string {
	var fault *api.Fault
	if err != nil && !errors.As(err, &fault) {
		return fmt.Sprintf("error %v is no Fault", err)
	}
	want, refused := meaning(m, bounds, peek)
	switch {
	case fault == nil && len(refused) > 0:
		return fmt.Sprintf("accepted %v, which is refused for %v", m, refused)
	case fault == nil:
		if got := plainOf(r, explain); !reflect.DeepEqual(got, want) {
			return fmt.Sprintf("\n got %+v\nwant %+v", got, want)
		}
	case !refused[fault.Reason]:
		return fmt.Sprintf("refused %v: %v (reason %d); expected one of %v", m, err, fault.Reason, refused)
	}
	return ""
}

// checkDecode holds Decode and DecodePeek against the generated decoder.
func checkDecode(t interface{ Fatalf(string, ...any) }, b []byte, bounds *api.Bounds) {
	for peek, decode := range map[bool]func([]byte, *api.Bounds, *policy.Request) (bool, error){false: Decode, true: DecodePeek} {
		var r policy.Request
		before := bytes.Clone(b)
		explain, err := decode(b, bounds, &r)
		if !bytes.Equal(b, before) {
			t.Fatalf("%x was written to", before)
		}
		m := new(headgatev1.CheckRequest)
		refusal := proto.Unmarshal(b, m)
		switch {
		case len(b) > bounds.MessageBytes || refusal != nil:
			if err == nil {
				t.Fatalf("accepted %x: %v", b, refusal)
			}
		default:
			if diff := differs(m, bounds, peek, &r, explain, err); diff != "" {
				t.Fatalf("peek %v: %x: %s", peek, b, diff)
			}
		}
	}
}

func tightBounds() *api.Bounds {
	return &api.Bounds{MessageBytes: 1 << 10, Descriptors: 1, Entries: 3, KeyBytes: 8, ValueBytes: 8, BatchChecks: 3}
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

// costs returns so many costs.
func costs(n int) (b []byte) {
	for i := range n {
		b = append(b, w(8, w(1, string(rune('a'+i)), 2, 1))...)
	}
	return b
}

type decodeCase struct {
	name    string
	message []byte
	fault   string // the error; "" if there is none
}

func decodeCases() []decodeCase {
	attribute := w(1, "key", 2, "value")
	with := func(fields ...any) []byte { return append(w(1, "shop", 2, attribute), w(fields...)...) }
	notProto := "message: must be a valid protobuf message"
	var many []byte
	for range policy.EntriesMax + 1 {
		many = append(many, w(2, attribute)...)
	}
	return []decodeCase{
		{"one attribute", with(), ""},
		{"no attributes", w(1, "shop"), ""},
		{"fields in any order", w(5, 1, 4, 1, 3, 7, 2, attribute, 1, "shop"), ""},
		{"the last of two domains counts", w(1, "other", 1, "shop"), ""},
		{"a domain that is not the last must be text, too", w(1, "\xff", 1, "shop"), "domain: must be valid UTF-8"},
		{"the last of two keys counts", w(1, "shop", 2, w(1, "a", 2, "v", 1, "b")), ""},
		{"a value that is empty", w(1, "shop", 2, w(1, "a")), ""},
		{"cost 0 looks", with(3, 0), ""},
		{"the last of two costs counts", with(3, 0, 3, 5), ""},
		{"the largest cost", with(3, limiter.CostMax), ""},
		{"a cost above the bound", with(3, limiter.CostMax+1), "cost: 36028797018963969: at most 36028797018963968"},
		{"a give-back", with(3, 5, 4, 1), ""},
		{"a give-back of nothing is a look", with(3, 0, 4, 1), ""},
		{"given back, then not", with(4, 1, 4, 0), ""},
		{"a bool above 1", with(4, 1<<40, 5, 2), ""},
		{"explain", with(5, 1), ""},
		{"costs", with(8, w(1, "tokens", 2, 700), 8, w(1, "cents"), 8, w(2, 1, 1, "x", 2, 5)), ""},
		{"costs and cost 0", with(3, 0, 8, w(1, "tokens", 2, 700)), ""},
		{"a cost in no unit", with(8, w(2, 700)), "costs[0].unit: must not be empty"},
		{"two costs in one unit", with(8, w(1, "a"), 8, w(1, "b"), 8, w(1, "a")), `costs[2].unit: "a": each unit once`},
		{"a cost that is too large", with(8, w(1, "a", 2, limiter.CostMax+1)), "costs[0].units: 36028797018963969: at most 36028797018963968"},
		{"a unit that is too long", with(8, w(1, strings.Repeat("u", 65))), "costs[0].unit: 65 bytes: at most 64 bytes"},
		{"a unit that is no text", with(8, w(1, "\xff")), "costs[0].unit: must be valid UTF-8"},
		{"a cost that is no message", with(8, "\x07"), "costs[0]: must be a valid protobuf message"},
		{"17 costs", append(with(), costs(17)...), "costs: 17: at most 16"},
		{"a request id", with(6, "id", 6, strings.Repeat("i", 256)), ""},
		{"an empty request id is none", with(6, ""), ""},
		{"a long request id", with(6, strings.Repeat("i", 257)), "request_id: 257 bytes: at most 256 bytes"},
		{"unknown fields", append(with(), w(7, 1, 19, "x", 1<<29-1, 7)...), ""},
		{"a known field with another type", append(with(), w(3, "x", 5, "y")...), ""},
		{"an unknown group", append(with(), 9<<3|3, 9<<3|4), ""},
		{"a group that does not end", append(with(), 9<<3|3), notProto},
		{"an end of no group", append(with(), 9<<3|4), notProto},
		{"field number 0", append(with(), 0, 0), notProto},
		{"wire type 6", append(with(), 9<<3|6, 0), notProto},
		{"overlong tags of all fields", append(append(
			[]byte{1<<3 | 2 | 0x80, 0, 1, 'd'},
			2<<3|2|0x80, 0, 8, 1<<3|2|0x80, 0, 1, 'k', 2<<3|2|0x80, 0, 1, 'v'), 3<<3|0x80, 0, 5), ""},
		{"an overlong tag of a key that is no text", []byte{1<<3 | 2, 1, 'd', 2<<3 | 2, 4, 1<<3 | 2 | 0x80, 0, 1, 0xff}, "attributes[0]: must be valid UTF-8"},
		{"a length beyond the end", append(with(), 1<<3|2, 5, 'x'), notProto},
		{"a huge length", append(with(), 1<<3|2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01), notProto},
		{"a key that is no text", w(1, "shop", 2, w(1, "\xc3")), "attributes[0].key: must be valid UTF-8"},
		{"a value that is no text", w(1, "shop", 2, attribute, 2, w(1, "k", 2, "\xed\xa0\x80")), "attributes[1].value: must be valid UTF-8"},
		{"an attribute that is no message", w(1, "shop", 2, "\x07"), "attributes[0]: must be a valid protobuf message"},
		{"nothing", nil, "domain: must not be empty"},
		{"no domain", w(2, attribute), "domain: must not be empty"},
		{"a long domain", w(1, strings.Repeat("d", 257)), "domain: 257 bytes: at most 256 bytes"},
		{"no key", w(1, "shop", 2, attribute, 2, w(2, "v")), "attributes[1].key: must not be empty"},
		{"a long key", w(1, "shop", 2, w(1, strings.Repeat("k", 257))), "attributes[0].key: 257 bytes: at most 256 bytes"},
		{"a long value", w(1, "shop", 2, w(1, "k", 2, strings.Repeat("v", 4097))), "attributes[0].value: 4097 bytes: at most 4096 bytes"},
		{"257 attributes", append(w(1, "shop"), many...), "attributes: 257: at most 256"},
		{"a long message", make([]byte, 1<<20+1), "message: 1048577 bytes: at most 1048576 bytes"},
	}
}

func TestDecode(t *testing.T) {
	bounds := api.DefaultBounds()
	for _, c := range decodeCases() {
		t.Run(c.name, func(t *testing.T) {
			checkDecode(t, c.message, &bounds)
			checkDecode(t, c.message, tightBounds())
			checkDecodeExplain(t, c.message, &bounds)
			var r policy.Request
			got := ""
			if _, err := Decode(c.message, &bounds, &r); err != nil {
				got = err.Error()
			}
			if got != c.fault {
				t.Fatalf("got error %q, want %q", got, c.fault)
			}
		})
	}
}

func TestAPeekGivesNothingBack(t *testing.T) {
	bounds := api.DefaultBounds()
	var r policy.Request
	_, err := DecodePeek(w(1, "shop", 4, 1), &bounds, &r)
	if want := "give_back: true: Peek gives nothing back"; err == nil || err.Error() != want {
		t.Fatalf("got %v, want %q", err, want)
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range decodeCases() {
		if len(c.message) < 1<<10 {
			f.Add(c.message)
		}
	}
	bounds := api.DefaultBounds()
	f.Fuzz(func(t *testing.T, b []byte) {
		checkDecode(t, b, &bounds)
		checkDecode(t, b, tightBounds())
		checkDecodeExplain(t, b, &bounds)
		checkDecodeExplain(t, b, tightBounds())
	})
}

// Random messages, field by field, with all the liberties of the wire format.
func TestDecodeMeansWhatTheGeneratedDecoderDoes(t *testing.T) {
	bounds := api.DefaultBounds()
	rapid.Check(t, func(t *rapid.T) {
		b := drawMessage(t, 2, []int{1, 2, 2, 3, 4, 5, 6, 8, 19000, 1<<29 - 1, 1 << 29, 0})
		if rapid.IntRange(0, 9).Draw(t, "cut") == 0 && len(b) > 0 {
			b = b[:rapid.IntRange(0, len(b)-1).Draw(t, "at")]
		}
		checkDecode(t, b, &bounds)
		checkDecode(t, b, tightBounds())
		checkDecodeExplain(t, b, &bounds)
		checkDecodeExplain(t, b, tightBounds())
	})
}

func drawMessage(t *rapid.T, depth int, numbers []int) []byte {
	var b []byte
	for range rapid.IntRange(0, 6).Draw(t, "fields") {
		num := rapid.SampledFrom(numbers).Draw(t, "number")
		tag := func(typ protowire.Type) {
			b = protowire.AppendVarint(b, uint64(num)<<3|uint64(typ))
			if rapid.IntRange(0, 9).Draw(t, "overlong") == 0 {
				b[len(b)-1] |= 0x80
				b = append(b, 0)
			}
		}
		switch rapid.IntRange(0, 9).Draw(t, "type") {
		case 0, 1:
			tag(protowire.VarintType)
			b = protowire.AppendVarint(b, rapid.SampledFrom([]uint64{0, 1, 2, 300, 1 << 32, 1 << 55, 1<<55 + 1, 1<<64 - 1}).Draw(t, "varint"))
		case 2:
			tag(protowire.Fixed32Type)
			b = append(b, 1, 2, 3, 4)
		case 3:
			tag(protowire.StartGroupType)
			tag(protowire.EndGroupType)
		case 4:
			tag(protowire.Type(rapid.IntRange(4, 7).Draw(t, "odd")))
		case 5, 6, 7:
			tag(protowire.BytesType)
			b = protowire.AppendBytes(b, []byte(rapid.SampledFrom([]string{"", "k", "shop", "longer than the tight bound", "\xff", "é"}).Draw(t, "text")))
		default:
			tag(protowire.BytesType)
			var v []byte
			if depth > 0 {
				v = drawMessage(t, depth-1, numbers)
			}
			b = protowire.AppendBytes(b, v)
		}
	}
	return b
}

// frameCases are messages of checks in field 1, whatever is around the checks.
func frameCases(t interface{ Helper() }) [][]byte {
	t.Helper()
	check := w(1, "shop", 2, w(1, "key", 2, "value"))
	return [][]byte{
		nil,
		w(1, check),
		w(1, check, 2, 7, 1, "", 1, check),
		w(1, check, 1, "\x07"),
		append(w(1, check), 1<<3|2|0x80, 0, 0),
		append(w(1, check), 9<<3|3, 9<<3|4),
		append(w(1, check), 9<<3|3),
		w(1, check, 1, check, 1, check, 1, check),
		w(1, w(1, 7, 2, check)),
		w(1, w(1, 7, 2, check, 3, 1), 1, w(2, check, 2, w(3, 0, 5, 1), 1, 1<<40)),
		w(1, w(1, 7, 2, "\x07", 1, 8)),
		w(1, "\x07"),
		append(w(1, w(1, 7)), 1<<3|2, 5),
	}
}

// checkBatchFrame holds the walk through a batch against the generated decoder.
func checkBatchFrame(t *testing.T, b []byte, bounds *api.Bounds) {
	t.Helper()
	var m headgatev1.CheckBatchRequest
	refusal := proto.Unmarshal(b, &m)
	_, err := batch.Count(b, checks, bounds.BatchChecks, nil)
	if err != nil {
		if refusal == nil && len(m.GetChecks()) <= bounds.BatchChecks {
			t.Fatalf("%x is refused: %v", b, err)
		}
		return
	}
	n, bad := 0, false
	walk(b, func(check []byte) {
		var r policy.Request
		explain, err := Decode(check, bounds, &r)
		bad = bad || err != nil
		if refusal == nil && len(check) <= bounds.MessageBytes {
			if diff := differs(m.GetChecks()[n], bounds, false, &r, explain, err); diff != "" {
				t.Fatalf("%x: check %d: %s", b, n, diff)
			}
		}
		n++
	})
	if refusal != nil && !bad {
		t.Fatalf("accepted %x, which protobuf refuses: %v", b, refusal)
	}
	if refusal == nil && n != len(m.GetChecks()) {
		t.Fatalf("%x: %d checks, want %d", b, n, len(m.GetChecks()))
	}
}

// checkStreamFrame does the same for a stream's message.
func checkStreamFrame(t *testing.T, b []byte, bounds *api.Bounds) {
	t.Helper()
	var m headgatev1.CheckStreamRequest
	refusal := proto.Unmarshal(b, &m)
	_, err := batch.Count(b, checks, bounds.BatchChecks, isStreamCheck)
	if err != nil {
		if refusal == nil && len(m.GetChecks()) <= bounds.BatchChecks {
			t.Fatalf("%x is refused: %v", b, err)
		}
		return
	}
	n, bad := 0, false
	walk(b, func(check []byte) {
		var x api.Exchange
		err := decodeStreamCheck(check, bounds, &x)
		bad = bad || err != nil
		if refusal == nil {
			want := m.GetChecks()[n]
			asked := want.GetCheck()
			if asked == nil { // as if it were empty
				asked = new(headgatev1.CheckRequest)
			}
			if diff := differs(asked, bounds, false, &x.Req, x.Errand.Flags&flagExplain != 0, err); diff != "" {
				t.Fatalf("%x: check %d: %s", b, n, diff)
			}
			if x.Errand.ID != want.GetId() || x.Errand.Flags&flagDetail != 0 != want.GetDetail() {
				t.Fatalf("%x: check %d: got %+v, want %v", b, n, x.Errand, want)
			}
		}
		n++
	})
	if refusal != nil && !bad {
		t.Fatalf("accepted %x, which protobuf refuses: %v", b, refusal)
	}
}

func walk(b []byte, check func([]byte)) {
	for r := wire.NewReader(b); ; {
		c, ok := batch.Next(&r)
		if !ok {
			return
		}
		check(c)
	}
}

func FuzzFrames(f *testing.F) {
	for _, b := range frameCases(f) {
		f.Add(b)
	}
	bounds := api.DefaultBounds()
	f.Fuzz(func(t *testing.T, b []byte) {
		checkBatchFrame(t, b, &bounds)
		checkBatchFrame(t, b, tightBounds())
		checkStreamFrame(t, b, &bounds)
		checkStreamFrame(t, b, tightBounds())
	})
}

func TestFramesMeanWhatTheGeneratedDecoderSays(t *testing.T) {
	bounds := api.DefaultBounds()
	for _, b := range frameCases(t) {
		checkBatchFrame(t, b, &bounds)
		checkBatchFrame(t, b, tightBounds())
		checkStreamFrame(t, b, &bounds)
		checkStreamFrame(t, b, tightBounds())
	}
	rapid.Check(t, func(r *rapid.T) {
		b := drawMessage(r, 4, []int{1, 1, 1, 2, 2, 3, 5, 9, 0})
		checkBatchFrame(t, b, &bounds)
		checkStreamFrame(t, b, &bounds)
		checkBatchFrame(t, b, tightBounds())
		checkStreamFrame(t, b, tightBounds())
	})
}
