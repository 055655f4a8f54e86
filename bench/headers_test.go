package bench

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
	"pgregory.net/rapid"
)

// recordedDir has what a real Envoy has sent.
const recordedDir = "../api/rls/testdata/envoy-recorded/"

// A queue is a source of the numbers that it was given.
type queue []uint64

func (q *queue) Uint64() uint64 {
	v := (*q)[0]
	*q = (*q)[1:]
	return v
}

// values adds what the fresh values of the recorded headers were made of.
func (q *queue) values(t *testing.T, fields []hpack.HeaderField) {
	t.Helper()
	for _, f := range fields {
		digits := strings.ReplaceAll(f.Value, "-", "")
		switch f.Name {
		case "x-request-id":
		case "traceparent":
			digits = digits[2 : len(digits)-2]
		default:
			continue
		}
		b, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		for ; len(b) > 0; b = b[8:] {
			*q = append(*q, binary.BigEndian.Uint64(b))
		}
	}
}

// What Envoy put on the wire for 60 requests in a row comes out bit by bit, given
// the same fresh values.
func TestHeadersAreEncodedAsEnvoyDoes(t *testing.T) {
	text, err := os.ReadFile(recordedDir + "two-descriptors.blocks")
	if err != nil {
		t.Fatal(err)
	}
	dec := hpack.NewDecoder(4096, nil)
	var q queue
	h := newHeaderBlock(newHeaders(EnvoyHeaders, "http", "recorder", rlsPath), &fresh{r: &q, code: newHexCode()})
	lines := strings.Fields(string(text))
	if len(lines) < 50 {
		t.Fatalf("only %d blocks: the table never fills", len(lines))
	}
	for i, line := range lines {
		want, err := hex.DecodeString(line)
		if err != nil {
			t.Fatal(err)
		}
		fields, err := dec.DecodeFull(want)
		if err != nil {
			t.Fatal(err)
		}
		q.values(t, fields)
		if got := h.next(); !bytes.Equal(got, want) {
			t.Fatalf("block %d is\n%x, recorded is\n%x", i, got, want)
		}
		if len(q) != 0 {
			t.Fatalf("block %d left %d numbers", i, len(q))
		}
	}
}

// Whatever sizes the server gives its table, it reads what was meant.
func TestHeadersAreReadAsTheyWereMeant(t *testing.T) {
	freshValue := map[string]*regexp.Regexp{
		"x-request-id": regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-9[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`),
		"traceparent":  regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-01$`),
	}
	code := newHexCode()
	rapid.Check(t, func(t *rapid.T) {
		style := rapid.SampledFrom([]HeaderStyle{MinimalHeaders, EnvoyHeaders}).Draw(t, "style")
		authority := strings.Repeat("a", rapid.IntRange(0, 5000).Draw(t, "length"))
		h := newHeaderBlock(newHeaders(style, "http", authority, rlsPath), newFresh(rapid.Uint64().Draw(t, "seed"), 3, code))
		dec := hpack.NewDecoder(4096, nil)
		seen := map[string]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "requests") {
			if rapid.IntRange(0, 9).Draw(t, "resize") == 0 {
				for range rapid.IntRange(1, 3).Draw(t, "sizes") {
					size := rapid.SampledFrom([]uint32{0, 31, 100, 178, 500, 4095, 4096, 1 << 20}).Draw(t, "size")
					dec.SetAllowedMaxDynamicTableSize(max(4096, size))
					h.limitTable(size)
				}
			}
			got, err := dec.DecodeFull(h.next())
			if err != nil {
				t.Fatal(err)
			}
			have := map[string]string{}
			for _, f := range got {
				if re := freshValue[f.Name]; re != nil {
					if !re.MatchString(f.Value) || seen[f.Value] {
						t.Fatalf("%s is %q", f.Name, f.Value)
					}
					seen[f.Value] = true
				}
				have[f.Name] = f.Value
			}
			for name, want := range map[string]string{
				":method": "POST", ":scheme": "http", ":path": rlsPath, ":authority": authority,
				"te": "trailers", "content-type": "application/grpc",
			} {
				if have[name] != want {
					t.Fatalf("%s is %q, want %q", name, have[name], want)
				}
			}
			if n := map[HeaderStyle]int{MinimalHeaders: 7, EnvoyHeaders: 13}[style]; len(got) != n {
				t.Fatalf("%d fields, want %d: %v", len(got), n, got)
			}
		}
	})
}

func TestATableWhoseSizeChangesIsEmptied(t *testing.T) {
	h := newHeaderBlock(newHeaders(MinimalHeaders, "http", "host:1", rlsPath), nil)
	first := bytes.Clone(h.next())
	h.limitTable(4096)
	if b := h.next(); len(b) != 7 {
		t.Errorf("the same size again: block %x", b)
	}
	h.limitTable(0)
	h.limitTable(4096)
	if b := h.next(); !bytes.Equal(b, append([]byte{0x20, 0x3f, 0xe1, 0x1f}, first...)) {
		t.Errorf("block %x does not say sizes 0 and 4096 and then all fields anew", b)
	}
}

func TestFreshHeadersAllocateNothing(t *testing.T) {
	h := newHeaderBlock(newHeaders(EnvoyHeaders, "http", "host:1", rlsPath), newFresh(1, 2, newHexCode()))
	for range 100 {
		h.next()
	}
	if n := testing.AllocsPerRun(1000, func() { h.next() }); n != 0 {
		t.Errorf("%v allocations a block", n)
	}
}

func BenchmarkHeaders(b *testing.B) {
	for _, style := range []HeaderStyle{MinimalHeaders, EnvoyHeaders} {
		b.Run(string(style), func(b *testing.B) {
			h := newHeaderBlock(newHeaders(style, "http", "host:1", rlsPath), newFresh(1, 2, newHexCode()))
			b.ReportAllocs()
			for b.Loop() {
				h.next()
			}
		})
	}
}
