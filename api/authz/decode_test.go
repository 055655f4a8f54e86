package authz

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/internal/apitest"
	"github.com/headgate/headgate/limiter"
)

func newService(tb testing.TB, bounds api.Bounds, domain string) *Service {
	tb.Helper()
	s, err := New(Config{Bounds: bounds, Domain: domain})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// A plain request is what a CheckRequest means. Its attributes have no order: maps
// have none.
type plain struct {
	domain     string
	attributes map[string][]string
	op         limiter.Op
	cost       uint64
	deny       uint32
}

func plainOf(x *api.Exchange) plain {
	d := x.Req.Descriptors()[0]
	p := plain{string(x.Req.Domain), map[string][]string{}, d.Op, d.Cost, x.Errand.Flags}
	for _, e := range d.Entries {
		p.attributes[string(e.Key)] = append(p.attributes[string(e.Key)], string(e.Value))
	}
	return p
}

// meaning is the dumb model: what the generated message says; refused says that there
// is something to refuse.
func meaning(m *authv3.CheckRequest, s *Service) (p plain, refused bool) {
	a := m.GetAttributes()
	p = plain{domain: s.Domain, attributes: map[string][]string{}, cost: 1, deny: 429}
	add := func(key, value string) {
		if value == "" {
			return
		}
		if key == "" || len(key) > s.Bounds.KeyBytes || len(value) > s.Bounds.ValueBytes {
			refused = true
		}
		p.attributes[key] = append(p.attributes[key], value)
	}
	if len(a.GetContextExtensions()) > ExtensionsMax {
		refused = true
	}
	taken := map[string]bool{}
	fields := [][2]string{}
	for key, value := range a.GetContextExtensions() {
		n := uint64(0)
		_, err := fmt.Sscan(value, &n)
		digits := strings.Trim(value, "0123456789") == "" && value != "" && len(value) < 20 && err == nil
		switch key {
		case "domain":
			if value != "" {
				p.domain = value
			}
		case "cost":
			if p.cost = n; !digits || n > limiter.CostMax {
				refused = true
			}
		case "deny_status":
			if p.deny = uint32(n); !digits || n < 400 || n > 599 {
				refused = true
			}
		case "headers":
			if value == "" {
				continue
			}
			for item := range strings.SplitSeq(value, ",") {
				attribute, field, ok := strings.Cut(strings.TrimSpace(item), "=")
				if !ok {
					field = attribute
				}
				if attribute == "" || field == "" {
					refused = true
				}
				taken[attribute] = true
				fields = append(fields, [2]string{attribute, a.GetRequest().GetHttp().GetHeaders()[field]})
			}
			if len(fields) > HeadersMax {
				refused = true
			}
			continue
		default:
			add(key, value)
		}
		taken[key] = true
	}
	for _, f := range fields {
		add(f[0], f[1])
	}
	http := a.GetRequest().GetHttp()
	target := http.GetPath()
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	for _, known := range [][2]string{
		{"remote_address", a.GetSource().GetAddress().GetSocketAddress().GetAddress()},
		{"method", http.GetMethod()},
		{"scheme", http.GetScheme()},
		{"host", http.GetHost()},
		{"path", target},
		{"principal", a.GetSource().GetPrincipal()},
	} {
		if !taken[known[0]] {
			add(known[0], known[1])
		}
	}
	entries := 0
	for _, values := range p.attributes {
		entries += len(values)
	}
	if p.cost == 0 {
		p.op = limiter.OpPeek
	}
	if entries > s.Bounds.Entries || p.domain == "" || len(p.domain) > s.Bounds.KeyBytes {
		refused = true
	}
	return p, refused
}

// decodeDiffers says where Decode differs from the generated decoder; "" if it
// doesn't. What that refuses, Decode may take.
func decodeDiffers(b []byte, s *Service) string {
	before := string(b)
	x := new(api.Exchange)
	err := s.Decode(b, x)
	if string(b) != before {
		return "Decode wrote to the message"
	}
	var fault *api.Fault
	if err != nil && !errors.As(err, &fault) {
		return fmt.Sprintf("error %v is no Fault", err)
	}
	var m authv3.CheckRequest
	if proto.Unmarshal(b, &m) != nil {
		return ""
	}
	want, refused := meaning(&m, s)
	refused = refused || len(b) > s.Bounds.MessageBytes
	switch {
	case refused != (err != nil):
		return fmt.Sprintf("%v\nrefused: %v, want %v", &m, err, refused)
	case err == nil:
		if got := plainOf(x); !reflect.DeepEqual(got, want) {
			return fmt.Sprintf("%v\n got %+v\nwant %+v", &m, got, want)
		}
	}
	return ""
}

func tightBounds() api.Bounds {
	return api.Bounds{MessageBytes: 1 << 10, Descriptors: 2, Entries: 3, KeyBytes: 8, ValueBytes: 8, BatchChecks: 1}
}

func services(tb testing.TB) []*Service {
	tb.Helper()
	return []*Service{newService(tb, api.DefaultBounds(), "shop"), newService(tb, api.DefaultBounds(), ""), newService(tb, tightBounds(), "edge")}
}

func FuzzDecode(f *testing.F) {
	for _, b := range apitest.Recorded(f) {
		f.Add(b)
	}
	f.Add(full(f, map[string]string{"domain": "edge", "headers": "api_key=x-api-key, x-user", "cost": "3", "deny_status": "403", "plan": "free"}))
	f.Add(full(f, map[string]string{"path": "/x", "deny_status": "99"}))
	all := services(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, s := range all {
			if diff := decodeDiffers(b, s); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

// Random messages: the paths to what is read, with repetitions, unknown fields, other
// wire types and cuts.
func TestDecodeMeansWhatTheGeneratedDecoderDoes(t *testing.T) {
	all := services(t)
	rapid.Check(t, func(t *rapid.T) {
		b := drawMessage(t)
		if rapid.IntRange(0, 9).Draw(t, "cut") == 0 && len(b) > 0 {
			b = b[:rapid.IntRange(0, len(b)-1).Draw(t, "at")]
		}
		for _, s := range all {
			if diff := decodeDiffers(b, s); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func drawMessage(t *rapid.T) []byte {
	field := func(b []byte, num protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
	}
	text := func() []byte {
		return []byte(rapid.SampledFrom([]string{
			"", "domain", "cost", "deny_status", "headers", "path", "plan", "x-a", "p=x-a,x-b", "a=x-a", "x-a, method=x-b", "/a?b", "7", "0",
			"403", "99", "longer than the tight bound", "é", "\xff", ",", "36028797018963968", "36028797018963969",
		}).Draw(t, "text"))
	}
	several := func(f func(b []byte) []byte) (b []byte) {
		for range rapid.IntRange(0, 4).Draw(t, "n") {
			b = f(b)
			if rapid.IntRange(0, 9).Draw(t, "odd") == 0 {
				num := protowire.Number(rapid.IntRange(1, 14).Draw(t, "number"))
				b = protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), 3)
			}
		}
		return b
	}
	entry := func() []byte {
		return several(func(b []byte) []byte {
			return field(b, protowire.Number(rapid.IntRange(1, 3).Draw(t, "key or value")), text())
		})
	}
	address := func() []byte {
		return several(func(b []byte) []byte {
			if rapid.IntRange(0, 3).Draw(t, "pipe") == 0 {
				return field(b, 2, nil)
			}
			return field(b, 1, several(func(b []byte) []byte { return field(b, 2, text()) }))
		})
	}
	http := func() []byte {
		return several(func(b []byte) []byte {
			num := protowire.Number(rapid.IntRange(2, 7).Draw(t, "http"))
			if num == 3 {
				return field(b, num, entry())
			}
			return field(b, num, text())
		})
	}
	context := func() []byte {
		return several(func(b []byte) []byte {
			switch rapid.IntRange(0, 4).Draw(t, "context") {
			case 0:
				return field(b, 1, several(func(b []byte) []byte {
					if rapid.Bool().Draw(t, "principal") {
						return field(b, 4, text())
					}
					return field(b, 1, address())
				}))
			case 1, 2:
				return field(b, 10, entry())
			default:
				return field(b, 4, several(func(b []byte) []byte { return field(b, 2, http()) }))
			}
		})
	}
	return several(func(b []byte) []byte { return field(b, 1, context()) })
}

// full is a request as Envoy sends them.
func full(tb testing.TB, extensions map[string]string) []byte {
	tb.Helper()
	peer := func(address string, port uint32, principal string) *authv3.AttributeContext_Peer {
		return &authv3.AttributeContext_Peer{Principal: principal, Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port}},
		}}}
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: peer("192.0.2.7", 4242, "spiffe://shop/web"), Destination: peer("192.0.2.1", 443, "spiffe://shop/edge"),
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "1", Method: "GET", Path: "/orders?page=2", Host: "shop.example", Scheme: "https", Protocol: "HTTP/2",
			Headers: map[string]string{"x-api-key": "0123", "x-user": "alice", ":path": "/orders?page=2"},
		}},
		ContextExtensions: extensions,
	}})
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestDecode(t *testing.T) {
	many := map[string]string{}
	for i := range ExtensionsMax + 1 {
		many[fmt.Sprint("k", i)] = "v"
	}
	for _, tc := range []struct {
		name       string
		extensions map[string]string
		want       string // domain op cost deny, then attributes in order
		fault      string
	}{
		{
			"what Envoy knows",
			map[string]string{"domain": "edge"},
			"edge charge 1 429 remote_address=192.0.2.7 method=GET scheme=https host=shop.example path=/orders principal=spiffe://shop/web", "",
		},
		{
			"the default domain, and attributes of the route",
			map[string]string{"plan": "free"},
			"shop charge 1 429 remote_address=192.0.2.7 method=GET scheme=https host=shop.example path=/orders principal=spiffe://shop/web plan=free", "",
		},
		{
			"the route's word is the last",
			map[string]string{"path": "orders", "principal": "", "cost": "5", "deny_status": "403"},
			"shop charge 5 403 remote_address=192.0.2.7 method=GET scheme=https host=shop.example path=orders", "",
		},
		{
			"header fields by the names that the route gives, if they are there",
			map[string]string{"headers": "api_key=x-api-key, x-user,x-none", "principal": "p"},
			"shop charge 1 429 remote_address=192.0.2.7 method=GET scheme=https host=shop.example path=/orders principal=p api_key=0123 x-user=alice", "",
		},
		{"a cost of 0 looks", map[string]string{"cost": "0", "remote_address": "", "method": "", "scheme": "", "host": "", "principal": ""}, "shop peek 0 429 path=/orders", ""},
		{"no number", map[string]string{"cost": "lots"}, "", `context_extensions.cost: "lots": must be 0 to 36028797018963968`},
		{"a status that denies nothing", map[string]string{"deny_status": "200"}, "", `context_extensions.deny_status: "200": must be 400 to 599`},
		{"no header field", map[string]string{"headers": "a,,b"}, "", `context_extensions.headers: "": must be a header field, or attribute=field`},
		{"too many header fields", map[string]string{"headers": strings.Repeat("a,", HeadersMax) + "a"}, "", "context_extensions.headers: 17: at most 16"},
		{"too many extensions", many, "", "context_extensions: 33: at most 32"},
		{"a long value", map[string]string{"plan": strings.Repeat("x", 5000)}, "", "attributes.plan: 5000 bytes: at most 4096 bytes"},
		{"a long domain", map[string]string{"domain": strings.Repeat("x", 257)}, "", "context_extensions.domain: 257 bytes: at most 256 bytes"},
		{"a key that is empty", map[string]string{"": "x"}, "", "context_extensions: a key is empty"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := full(t, tc.extensions)
			for _, s := range services(t) {
				if diff := decodeDiffers(b, s); diff != "" {
					t.Error(diff)
				}
			}
			x := new(api.Exchange)
			err := newService(t, api.DefaultBounds(), "shop").Decode(b, x)
			if tc.fault != "" {
				if err == nil || err.Error() != tc.fault {
					t.Errorf("got %v, want %s", err, tc.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			d := x.Req.Descriptors()[0]
			op := map[limiter.Op]string{limiter.OpCharge: "charge", limiter.OpPeek: "peek"}[d.Op]
			got := fmt.Sprintf("%s %s %d %d", x.Req.Domain, op, d.Cost, x.Errand.Flags)
			for _, e := range d.Entries {
				got += fmt.Sprintf(" %s=%s", e.Key, e.Value)
			}
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestDecodeWithoutADomain(t *testing.T) {
	err := newService(t, api.DefaultBounds(), "").Decode(nil, new(api.Exchange))
	if err == nil || !strings.HasPrefix(err.Error(), "context_extensions.domain: must not be empty") {
		t.Error(err)
	}
}

func TestSettingsHaveBounds(t *testing.T) {
	if _, err := New(Config{Bounds: tightBounds(), Domain: "longer than 8"}); err == nil {
		t.Error("accepted")
	}
}

func TestRecordedRequestsHaveWhatTheGuidePromises(t *testing.T) {
	for name, b := range apitest.Recorded(t) {
		x := new(api.Exchange)
		if err := newService(t, api.DefaultBounds(), "").Decode(b, x); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := plainOf(x)
		for key, want := range map[string]string{
			"remote_address": "127.0.0.20", "method": "POST", "scheme": "http", "host": "shop.example", "path": "/orders", "api_key": "0123",
		} {
			if values := got.attributes[key]; len(values) != 1 || values[0] != want {
				t.Errorf("%s: %s is %q, want %q", name, key, values, want)
			}
		}
		if got.domain != "edge" || got.deny != 429 || got.cost != 1 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
