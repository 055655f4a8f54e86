package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"

	rls "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

// message returns the message in a gRPC body.
func message(t interface{ Fatalf(string, ...any) }, body []byte) []byte {
	if len(body) < grpcPrefixLen || body[0] != 0 || int(binary.BigEndian.Uint32(body[1:])) != len(body)-grpcPrefixLen {
		t.Fatalf("not one gRPC message: %x", body)
	}
	return body[grpcPrefixLen:]
}

func TestABodyIsTheRequestOfItsKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Default()
		c.Keys = rapid.IntRange(1, 2_000_000).Draw(t, "keys")
		c.Hits = rapid.Uint32Range(1, 300).Draw(t, "hits")
		c.Domain = rapid.SampledFrom([]string{"d", "1", "0", strings.Repeat("1", 200)}).Draw(t, "domain")
		// Values that look like numbers must not be taken for the key's.
		c.Descriptors = rapid.SliceOfN(rapid.SampledFrom([]string{
			"k=%d", "a=0,b=%d", "a=%d%d", "a=1%d0,b=111,c=%d", "x=", "y=" + strings.Repeat("z", 300) + "%d",
		}), 1, 5).Draw(t, "descriptors")
		w, err := newWorkload(&c)
		if err != nil {
			t.Fatal(err)
		}
		keys := newKeyGenerator(&c, w.keys, 0)
		twin := newKeyGenerator(&c, w.keys, 0)
		for range 3 {
			var got rls.RateLimitRequest
			if err := proto.Unmarshal(message(t, w.appendBody(nil, keys)), &got); err != nil {
				t.Fatal(err)
			}
			var number string
			if w.keys > 1 {
				number = fmt.Sprintf("%0*d", len(fmt.Sprint(c.Keys-1)), twin.next())
			} else {
				number = strings.Repeat("0", len(fmt.Sprint(c.Keys-1)))
			}
			if got.Domain != c.Domain || max(1, got.HitsAddend) != c.Hits || len(got.Descriptors) != len(c.Descriptors) {
				t.Fatalf("got %v", &got)
			}
			for i, d := range got.Descriptors {
				var parts []string
				for _, e := range d.Entries {
					parts = append(parts, e.Key+"="+e.Value)
				}
				want := strings.ReplaceAll(c.Descriptors[i], "%d", number)
				if text := strings.Join(parts, ","); text != want {
					t.Fatalf("descriptor %d is %q, want %q", i, text, want)
				}
			}
		}
	})
}

// The workload that stands for Envoy's in docs/performance.md is as long as what
// was recorded, and differs from it in the key's digits only.
func TestTheBodyOfEnvoysWorkloadIsTheRecordedOne(t *testing.T) {
	recorded, err := os.ReadFile(recordedDir + "two-descriptors.bin")
	if err != nil {
		t.Fatal(err)
	}
	c := Default()
	c.Domain, c.Descriptors, c.Keys = "edge", EnvoyDescriptors(), 1_000_000
	w, err := newWorkload(&c)
	if err != nil {
		t.Fatal(err)
	}
	body := message(t, w.appendBody(nil, newKeyGenerator(&c, w.keys, 0)))
	if len(body) != len(recorded) {
		t.Fatalf("%d bytes, %d are recorded", len(body), len(recorded))
	}
	for _, text := range []string{"127.0.0.1", "abcdef"} { // where the numbers are
		at := bytes.Index(recorded, []byte(text))
		copy(body[at:], recorded[at:at+len(text)])
	}
	if !bytes.Equal(body, recorded) {
		t.Errorf("got\n%q, recorded is\n%q", body, recorded)
	}
}

func TestABatchHasAKeyPerCheck(t *testing.T) {
	c := Default()
	c.Protocol, c.Batch, c.Keys, c.Descriptors = Batch, 50, 1000, []string{"a=%d,b=x%d"}
	w, err := newWorkload(&c)
	if err != nil {
		t.Fatal(err)
	}
	var got headgatev1.CheckBatchRequest
	if err := proto.Unmarshal(message(t, w.appendBody([]byte("before"), newKeyGenerator(&c, w.keys, 0))[6:]), &got); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, check := range got.Checks {
		a := check.Attributes
		if check.Domain != "bench" || len(a) != 2 || a[1].Value != "x"+a[0].Value || len(a[0].Value) != 3 || check.Cost != nil {
			t.Fatalf("check %d is %v", i, check)
		}
		seen[a[0].Value] = true
	}
	if len(got.Checks) != 50 || len(seen) < 30 {
		t.Fatalf("%d checks with %d keys", len(got.Checks), len(seen))
	}
}

func TestWithoutAPlaceholderThereIsOneKey(t *testing.T) {
	c := Default()
	c.Descriptors = []string{"a=b"}
	w, err := newWorkload(&c)
	if err != nil || w.keys != 1 || len(w.digits) != 0 {
		t.Fatalf("%d keys, %d numbers, %v", w.keys, len(w.digits), err)
	}
	w.appendBody(nil, newKeyGenerator(&c, w.keys, 0)) // must not panic
}

func TestTextThatIsNotUTF8IsRefused(t *testing.T) {
	c := Default()
	c.Domain = "\xff"
	if _, err := newWorkload(&c); err == nil {
		t.Fatal("no error")
	}
}
