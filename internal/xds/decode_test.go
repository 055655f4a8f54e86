package xds

import (
	"errors"
	"reflect"
	"testing"

	rlsconfv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/headgate/headgate/internal/xds/xdstest"
	"github.com/headgate/headgate/policy"
)

func encode(tb testing.TB, c *policy.EnvoyConfig) []byte {
	tb.Helper()
	b, err := proto.Marshal(xdstest.Message(c))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestDecodeReadsWhatAControlPlaneWrites(t *testing.T) {
	everything := policy.EnvoyConfig{Name: "n", Domain: "d", Descriptors: []policy.EnvoyDescriptor{{
		Key: "k", Value: "v", ShadowMode: true, QuotaMode: true, DetailedMetric: true, Metadata: true,
		Limit: &policy.EnvoyLimit{Unit: "WEEK", Amount: 1<<32 - 1, Unlimited: true, Name: "x", Replaces: []string{"y", "z"}},
	}}}
	all := append([]policy.EnvoyConfig{{}, everything}, xdstest.EnvoyGateway()...)
	for _, want := range append(all, xdstest.EnvoyAIGateway()...) {
		got, err := Decode(encode(t, &want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, want)
		}
	}
}

func TestDecodeRefusesWhatIsNoMessage(t *testing.T) {
	deep := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "k")
	for range nestingMax {
		deep = protowire.AppendBytes(protowire.AppendTag(nil, 4, protowire.BytesType), deep)
	}
	for name, test := range map[string]struct {
		b    []byte
		want error
	}{
		"cut short":         {[]byte{0x0a, 5, 'a'}, ErrWire},
		"no tag":            {[]byte{0xff}, ErrWire},
		"field 0":           {[]byte{0x02, 0}, ErrWire},
		"a name not UTF-8":  {[]byte{0x0a, 1, 0xff}, ErrUTF8},
		"a key not UTF-8":   {[]byte{0x1a, 3, 0x0a, 1, 0xff}, ErrUTF8},
		"deeper than bound": {protowire.AppendBytes([]byte{0x1a}, deep), ErrDepth},
	} {
		if _, err := Decode(test.b); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzDecode compares with the generated decoder, except for the inside of
// metadata, which is only looked for, and checks that what was read is imported
// without a panic.
func FuzzDecode(f *testing.F) {
	for _, c := range append(xdstest.EnvoyGateway(), xdstest.EnvoyAIGateway()...) {
		f.Add(encode(f, &c))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Decode(b)
		var want rlsconfv3.RateLimitConfig
		wantErr := proto.Unmarshal(b, &want)
		if err == nil && wantErr == nil && !opaque(b) {
			sameConfig(t, &got, &want)
		} else if (err == nil) != (wantErr == nil) && !errors.Is(err, ErrDepth) && !opaque(b) {
			t.Fatalf("Decode: %v, generated: %v", err, wantErr)
		}
		if err == nil {
			policy.ImportEnvoyConfigs([]policy.EnvoyConfig{got}, policy.EnvoyOptions{Lossy: true}) //nolint:errcheck // it may well be refused
		}
	})
}

// opaque reports whether b may hold metadata, at any depth.
func opaque(b []byte) bool {
	for i := range b {
		if b[i] == 8<<3|byte(protowire.BytesType) {
			return true
		}
	}
	return false
}

func sameConfig(t *testing.T, got *policy.EnvoyConfig, want *rlsconfv3.RateLimitConfig) {
	t.Helper()
	if got.Name != want.GetName() || got.Domain != want.GetDomain() {
		t.Fatalf("got %+v, want %v", got, want)
	}
	sameDescriptors(t, got.Descriptors, want.GetDescriptors())
}

func sameDescriptors(t *testing.T, got []policy.EnvoyDescriptor, want []*rlsconfv3.RateLimitDescriptor) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d descriptors, want %d", len(got), len(want))
	}
	for i := range got {
		g, w := &got[i], want[i]
		if g.Key != w.GetKey() || g.Value != w.GetValue() || g.ShadowMode != w.GetShadowMode() || g.DetailedMetric != w.GetDetailedMetric() ||
			g.QuotaMode != w.GetQuotaMode() || g.Metadata != (len(w.GetMetadata().GetFields()) > 0) {
			t.Fatalf("got %+v, want %v", g, w)
		}
		if l, m := g.Limit, w.GetRateLimit(); (l == nil) != (m == nil) {
			t.Fatalf("got %+v, want %v", g, w)
		} else if l != nil {
			if l.Amount != m.GetRequestsPerUnit() || l.Unlimited != m.GetUnlimited() || l.Name != m.GetName() || len(l.Replaces) != len(m.GetReplaces()) {
				t.Fatalf("got %+v, want %v", l, m)
			}
			if u := m.GetUnit().String(); l.Unit != u {
				t.Fatalf("unit %s, want %s", l.Unit, u)
			}
			for j, name := range l.Replaces {
				if name != m.GetReplaces()[j].GetName() {
					t.Fatalf("got %+v, want %v", l, m)
				}
			}
		}
		sameDescriptors(t, g.Descriptors, w.GetDescriptors())
	}
}
