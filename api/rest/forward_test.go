package rest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/headgate/headgate/api/rest"
)

func TestForwardAuthLimitsTheOriginalRequest(t *testing.T) {
	for _, tc := range []struct {
		name, method, target string
		header               []string
	}{
		{"Caddy, Traefik", "GET", "/v1/forward-auth/shop?its=own", []string{"X-Forwarded-Uri", "/limited/a?x=1", "X-Forwarded-For", "198.51.100.7"}},
		{"nginx", "GET", "/v1/forward-auth/shop", []string{"X-Original-URI", "/limited/a", "X-Forwarded-For", "198.51.100.7"}},
		{"ingress-nginx", "GET", "/v1/forward-auth/shop", []string{"X-Original-URL", "https://shop.example/limited/a?x", "X-Forwarded-For", "198.51.100.7"}},
		{"Envoy's ext_authz", "POST", "/v1/forward-auth/shop/limited//a?x=1", []string{"X-Forwarded-For", "198.51.100.7"}},
		{"a domain in a header", "GET", "/v1/forward-auth", []string{"X-RateLimit-Domain", "shop", "X-Forwarded-Uri", "/limited", "X-Real-IP", "198.51.100.7"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := handler(t)
			var got []int
			for range 3 {
				got = append(got, ask(h, tc.method, tc.target, "", tc.header...).status)
			}
			if fmt.Sprint(got) != "[200 200 429]" {
				t.Errorf("%v", got)
			}
			other := append([]string{}, tc.header...)
			other[len(other)-1] = "198.51.100.8"
			if a := ask(h, tc.method, tc.target, "", other...); a.status != 200 || a.body != "" {
				t.Errorf("another client: %d %q", a.status, a.body)
			}
		})
	}
}

func TestADenialTellsTheClientAll(t *testing.T) {
	h := handler(t)
	header := []string{"X-Forwarded-Uri", "/limited", "X-RateLimit-Cost", "3"}
	a := ask(h, "GET", "/v1/forward-auth/shop", "", header...)
	for name, want := range map[string]string{
		"RateLimit": `"per-client";r=2;t=0`, "Cache-Control": "no-store", "Content-Type": "application/problem+json", "Retry-After": "",
	} {
		if a.header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, a.header.Get(name), want)
		}
	}
	if a.status != 429 || !strings.Contains(a.body, `"violated-policies":["per-client"]`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := ask(h, "GET", "/v1/forward-auth/shop", "", append(header, "X-RateLimit-Deny-Status", "403")...); a.status != 403 {
		t.Errorf("403 was asked for: %d", a.status)
	}
	h = handler(t, func(c *rest.Config) { c.DenyStatus = 403 })
	if a := ask(h, "GET", "/v1/forward-auth/shop", "", header...); a.status != 403 {
		t.Errorf("403 is set: %d", a.status)
	}
}

func TestAProxyAddsAttributesAndDescriptors(t *testing.T) {
	h := handler(t)
	header := []string{"X-Forwarded-Method", "POST", "X-RateLimit-Attributes", "plan=free,api_key=a%2Cb"}
	for i, want := range []int{200, 429} {
		if a := ask(h, "GET", "/v1/forward-auth/shop", "", header...); a.status != want {
			t.Errorf("attributes, call %d: %d", i, a.status)
		}
	}
	header = []string{"X-RateLimit-Descriptor", "path=/login, user=carol"}
	for i, want := range []int{200, 200, 429} {
		if a := ask(h, "GET", "/v1/forward-auth/shop", "", header...); a.status != want {
			t.Errorf("a descriptor, call %d: %d", i, a.status)
		}
	}
	for i := range 3 { // cost 0 looks only
		if a := ask(h, "GET", "/v1/forward-auth/quiet", "", "X-RateLimit-Attributes", "user=dave", "X-RateLimit-Cost", "0"); a.status != 200 {
			t.Errorf("peek %d: %d", i, a.status)
		}
	}
}

func TestWhatAProxySendsWrongIsNamed(t *testing.T) {
	h := handler(t)
	for _, tc := range []struct{ name, field, value, want string }{
		{"a pair without =", "X-RateLimit-Descriptor", "user", "key=value"},
		{"bad percent-encoding", "X-RateLimit-Attributes", "user=%zz", "key=value"},
		{"an empty key", "X-RateLimit-Attributes", "=a", "a key is empty"},
		{"a cost that is none", "X-RateLimit-Cost", "-1", "0 to 2^55"},
		{"a status that denies nothing", "X-RateLimit-Deny-Status", "200", "400 to 599"},
		{"a key that is too long", "X-RateLimit-Attributes", strings.Repeat("k", 300) + "=v", "at most 256 bytes"},
		{"a value that is too long", "X-RateLimit-Attributes", "k=" + strings.Repeat("v", 5000), "at most 4096 bytes"},
		{"too many attributes", "X-RateLimit-Attributes", strings.TrimSuffix(strings.Repeat("k=v,", 256), ","), "at most 256"},
		{"a domain that is too long", "X-RateLimit-Domain", strings.Repeat("d", 300), "at most 256 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := ask(h, "GET", "/v1/forward-auth/shop", "", tc.field, tc.value)
			if a.status != 400 || !strings.Contains(a.body, tc.want) {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	var many []string
	for range 32 {
		many = append(many, "X-RateLimit-Descriptor", "a=b")
	}
	if a := ask(h, "GET", "/v1/forward-auth/shop", "", many...); a.status != 400 || !strings.Contains(a.body, "at most 32") {
		t.Errorf("33 descriptors: %d %s", a.status, a.body)
	}
}

// TestWhoIsNoProxyCanNotPretend is the spoofing test: everything by which a client
// could get another counter, or none, is tried.
func TestWhoIsNoProxyCanNotPretend(t *testing.T) {
	h := handler(t)
	const stranger = "203.0.113.9:5000"
	for i, spoof := range [][]string{
		{},
		{"X-Forwarded-For", "198.51.100.1"},
		{"X-Real-IP", "198.51.100.2"},
		{"X-Forwarded-Uri", "/free"},
		{"X-Original-URI", "/free"},
		{"X-RateLimit-Domain", "quiet"},
		{"X-RateLimit-Cost", "0"},
		{"X-RateLimit-Deny-Status", "404"},
	} {
		want := 200
		if i >= 2 {
			want = 429
		}
		if a := ask(h, "GET", "/v1/forward-auth/shop/limited", "", append([]string{"from", stranger}, spoof...)...); a.status != want {
			t.Errorf("with %v: %d, want %d", spoof, a.status, want)
		}
	}
}

func TestTheClientIsTheRightMostUntrustedAddress(t *testing.T) {
	for _, tc := range []struct {
		name string
		hops int
		from string
		xff  []string
		want string
	}{
		{"no header", 0, "127.0.0.1:1", nil, "127.0.0.1"},
		{"one address", 0, "127.0.0.1:1", []string{"198.51.100.7"}, "198.51.100.7"},
		{"what the client wrote stands left", 0, "127.0.0.1:1", []string{"1.1.1.1, 198.51.100.7"}, "198.51.100.7"},
		{"trusted proxies are skipped", 0, "127.0.0.1:1", []string{"1.1.1.1, 198.51.100.7, 10.0.0.2"}, "198.51.100.7"},
		{"several fields are one list", 0, "127.0.0.1:1", []string{"1.1.1.1", "198.51.100.7", "10.0.0.2"}, "198.51.100.7"},
		{"all are trusted", 0, "127.0.0.1:1", []string{"10.0.0.1, 10.0.0.2"}, "10.0.0.1"},
		{"one hop more", 1, "127.0.0.1:1", []string{"1.1.1.1, 198.51.100.7, 192.0.2.1"}, "198.51.100.7"},
		{"more hops than addresses", 9, "127.0.0.1:1", []string{"1.1.1.1, 198.51.100.7"}, "1.1.1.1"},
		{"no address ends the walk", 0, "127.0.0.1:1", []string{"1.1.1.1, unknown, 10.0.0.2"}, "10.0.0.2"},
		{"ports and brackets", 0, "127.0.0.1:1", []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		{"IPv4 in IPv6", 0, "127.0.0.1:1", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		{"a stranger is not believed", 0, "203.0.113.9:5000", []string{"198.51.100.7"}, "203.0.113.9"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := handler(t, func(c *rest.Config) { c.Hops = tc.hops })
			header := []string{"from", tc.from}
			for _, x := range tc.xff {
				header = append(header, "X-Forwarded-For", x)
			}
			// Two calls use the counter of who it should be up.
			for range 2 {
				ask(h, "GET", "/v1/forward-auth/shop/limited", "", "X-Real-IP", tc.want, "X-Forwarded-Uri", "/limited")
			}
			if a := ask(h, "GET", "/v1/forward-auth/shop/limited", "", header...); a.status != 429 {
				t.Errorf("was somebody else: %d", a.status)
			}
		})
	}
}
