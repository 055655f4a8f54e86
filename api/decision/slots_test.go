package decision

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"github.com/headgate/headgate/api"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// A slotMessage is what the messages of Acquire, Renew and Release have in common.
type slotMessage interface {
	proto.Message
	GetDomain() string
	GetAttributes() []*headgatev1.Attribute
	GetId() []byte
}

// checkDecodeSlots holds the decoders of slots and reservations against the generated ones.
func checkDecodeSlots(t interface{ Fatalf(string, ...any) }, b []byte, bounds *api.Bounds) {
	for i, decode := range []func([]byte, *api.Bounds, *policy.Request) (bool, error){DecodeAcquire, DecodeRenew, DecodeRelease, decodeReserve} {
		m := []slotMessage{new(headgatev1.AcquireRequest), new(headgatev1.RenewRequest), new(headgatev1.ReleaseRequest), new(headgatev1.ReserveRequest)}[i]
		var r policy.Request
		explain, err := decode(b, bounds, &r)
		if refusal := proto.Unmarshal(b, m); refusal != nil || len(b) > bounds.MessageBytes {
			if err == nil {
				t.Fatalf("%T: accepted %x: %v", m, b, refusal)
			}
			continue
		}
		if diff := slotsDiffer(m, bounds, &r, explain, err); diff != "" {
			t.Fatalf("%T: %x: %s", m, b, diff)
		}
	}
}

// slotsDiffer says where the meaning of m and what was decoded differ.
func slotsDiffer(m slotMessage, bounds *api.Bounds, r *policy.Request, explain bool, err error) string {
	as := &headgatev1.CheckRequest{Domain: m.GetDomain(), Attributes: m.GetAttributes()}
	op := limiter.OpRelease
	var lifetime *durationpb.Duration
	switch m := m.(type) {
	case *headgatev1.AcquireRequest:
		as.Cost, as.Explain, as.Costs = m.Cost, m.GetExplain(), m.GetCosts()
		lifetime, op = m.GetLifetime(), limiter.OpCharge
	case *headgatev1.ReserveRequest:
		as.Cost, as.Explain, as.Costs = m.Cost, m.GetExplain(), m.GetCosts()
		lifetime, op = m.GetLifetime(), limiter.OpCharge
	case *headgatev1.RenewRequest:
		lifetime, op = m.GetLifetime(), limiter.OpRenew
	}
	want, refused := meaning(as, bounds, false)
	if op != limiter.OpCharge {
		want.op = op
	}
	if len(m.GetId()) == 0 {
		refused[api.Malformed] = true
	}
	if len(m.GetId()) > limiter.HolderBytesMax {
		refused[api.OutOfBounds] = true
	}
	if lifetime != nil {
		if lifetime.GetSeconds() < 0 || lifetime.GetNanos() < 0 || lifetime.GetNanos() >= 1e9 || lifetime.AsDuration() == 0 {
			refused[api.Malformed] = true
		}
		if lifetime.GetSeconds() > 86400 || lifetime.AsDuration() > limiter.LifetimeMax {
			refused[api.OutOfBounds] = true
		}
	}
	var fault *api.Fault
	switch {
	case err == nil && len(refused) > 0:
		return fmt.Sprintf("accepted %v, which is refused for %v", m, refused)
	case err == nil:
		if got := plainOf(r, explain); !reflect.DeepEqual(got, want) {
			return fmt.Sprintf("\n got %+v\nwant %+v", got, want)
		}
		if string(r.Holder) != string(m.GetId()) || r.Lifetime != lifetime.AsDuration() {
			return fmt.Sprintf("holder %q for %v, want %q for %v", r.Holder, r.Lifetime, m.GetId(), lifetime.AsDuration())
		}
	case !errors.As(err, &fault) || !refused[fault.Reason]:
		return fmt.Sprintf("refused %v: %v; expected one of %v", m, err, refused)
	}
	return ""
}

func slotCases() []decodeCase {
	base := w(1, "shop", 2, w(1, "k", 2, "v"))
	with := func(fields ...any) []byte { return append(append([]byte(nil), base...), w(fields...)...) }
	long := make([]byte, limiter.HolderBytesMax+1)
	return []decodeCase{
		{"an id", with(6, "call 1"), ""},
		{"no id", base, "id: must not be empty"},
		{"the longest id", with(6, long[1:]), ""},
		{"an id too long", with(6, long), "id: 257 bytes: at most 256 bytes"},
		{"an id that is no text", with(6, []byte{0xff, 0}), ""},
		{"a lifetime", with(6, "x", 7, w(1, 30, 2, 500_000_000)), ""},
		{"the longest lifetime", with(6, "x", 7, w(1, 86400)), ""},
		{"a lifetime in pieces", with(6, "x", 7, w(1, 30), 7, w(2, 1)), ""},
		{"a lifetime too long", with(6, "x", 7, w(1, 86400, 2, 1)), "lifetime: 24h0m0.000000001s: at most 24h0m0s"},
		{"a lifetime far too long", with(6, "x", 7, w(1, 1<<40)), "lifetime: 2562047h47m16.854775807s: at most 24h0m0s"},
		{"no lifetime at all", with(6, "x", 7, ""), "lifetime: must be a duration above 0"},
		{"a lifetime below 0", with(6, "x", 7, w(1, -1)), "lifetime: must be a duration above 0"},
		{"too many nanoseconds", with(6, "x", 7, w(2, 1_000_000_000)), "lifetime: must be a duration above 0"},
		{"a lifetime that is none", with(6, "x", 7, []byte{0xff}), "message: must be a valid protobuf message"},
		{"what only a check has", with(4, 1, 6, "x"), ""},
		{"costs", with(6, "x", 8, w(1, "tokens", 2, 5)), ""},
	}
}

func TestDecodeAcquire(t *testing.T) {
	bounds := api.DefaultBounds()
	for _, c := range slotCases() {
		var r policy.Request
		_, err := DecodeAcquire(c.message, &bounds, &r)
		if got := fmt.Sprint(err); c.fault != "" && got != c.fault || c.fault == "" && err != nil {
			t.Errorf("%s: %v, want %q", c.name, err, c.fault)
		}
		checkDecodeSlots(t, c.message, &bounds)
	}
}

func TestDecodeSlotsMeansWhatTheGeneratedDecoderDoes(t *testing.T) {
	bounds := api.DefaultBounds()
	rapid.Check(t, func(t *rapid.T) {
		b := drawMessage(t, 2, []int{1, 1, 2, 2, 3, 4, 5, 6, 6, 7, 7, 8, 19000, 0})
		if rapid.Bool().Draw(t, "likely") {
			b = append(b, w(1, "shop", 2, w(1, "k"), 6, "id", 7, w(1, int(time.Hour/time.Second)))...)
		}
		checkDecodeSlots(t, b, &bounds)
		checkDecodeSlots(t, b, tightBounds())
	})
}

func FuzzDecodeSlots(f *testing.F) {
	for _, c := range slotCases() {
		f.Add(c.message)
	}
	bounds := api.DefaultBounds()
	f.Fuzz(func(t *testing.T, b []byte) {
		checkDecodeSlots(t, b, &bounds)
		checkDecodeSlots(t, b, tightBounds())
	})
}
