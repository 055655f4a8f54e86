package limiter

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func fullSpec() Spec {
	return Spec{
		ID: LimitID{1, 2, 15: 3}, Def: 0x1122334455667788, Domain: "shop", Name: "per-client",
		Kind: KindRate, Amount: 100, Period: time.Second, Burst: 200,
		Shadow: true, AnyOf: true, CountDenied: true, PeekUsed: true, OnUnavailable: UnavailableLocal,
	}
}

// TestSpecEncodingIsStable holds version 1: saved tables have it.
func TestSpecEncodingIsStable(t *testing.T) {
	s := fullSpec()
	want := "\x01\x01\x0f\x02" + "\x01\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03" +
		"\x88\x77\x66\x55\x44\x33\x22\x11" + "\x64" + "\x80\x94\xeb\xdc\x03" + "\xc8\x01" +
		"\x04shop" + "\x0aper-client"
	if got := string(AppendSpec(nil, &s)); got != want {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
}

// TestSpecEncodingOfAWaitIsStable holds version 2: what only a pace has.
func TestSpecEncodingOfAWaitIsStable(t *testing.T) {
	s := Spec{Kind: KindPace, Amount: 10, Period: time.Second, MaxWait: 2 * time.Second, Name: "n"}
	want := "\x02\x06\x00\x00" + strings.Repeat("\x00", 24) + "\x0a" + "\x80\x94\xeb\xdc\x03" + "\x00" +
		"\x80\xa8\xd6\xb9\x07" + "\x00" + "\x01n"
	if got := string(AppendSpec(nil, &s)); got != want {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
}

func TestSpecRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]Kind{KindRate, KindFixed, KindSliding, KindUnlimited, KindPace}).Draw(t, "kind")
		s := Spec{Kind: KindUnlimited}
		if kind != KindUnlimited {
			s = drawSpec(t, kind)
		}
		copy(s.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		s.Def = DefHash(rapid.Uint64().Draw(t, "def"))
		s.Domain = rapid.String().Draw(t, "domain")
		s.Name = strings.Repeat("n", rapid.IntRange(0, TextMax).Draw(t, "name"))
		s.Shadow, s.AnyOf = rapid.Bool().Draw(t, "shadow"), rapid.Bool().Draw(t, "any of")
		s.Carried = rapid.Bool().Draw(t, "carried")
		s.OnUnavailable = OnUnavailable(rapid.IntRange(0, int(UnavailableLocal)).Draw(t, "on unavailable"))

		tail := rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "tail")
		got, rest, err := DecodeSpec(append(AppendSpec([]byte(nil), &s), tail...))
		if err != nil || got != s || !bytes.Equal(rest, tail) {
			t.Fatalf("got %+v, %x, %v", got, rest, err)
		}
	})
}

func TestDecodeSpecRefuses(t *testing.T) {
	s := fullSpec()
	whole := AppendSpec(nil, &s)
	with := func(i int, b byte) []byte {
		c := bytes.Clone(whole)
		c[i] = b
		return c
	}
	long := fullSpec()
	long.Domain = strings.Repeat("x", TextMax+1)
	tests := []struct {
		name string
		b    []byte
		want error
		text string
	}{
		{"a newer version", with(0, 4), ErrSpecVersion, "limiter: unknown version of a definition: 4, newest known is 3"},
		{"a max wait of 0", append(append([]byte{2}, whole[1:36]...), append([]byte{0}, whole[36:]...)...), ErrSpecMalformed, "limiter: malformed definition: max wait is 0 in version 2"},
		{"version 0", make([]byte, 64), ErrSpecVersion, "limiter: unknown version of a definition: 0, newest known is 3"},
		{"nothing", nil, ErrSpecMalformed, "limiter: malformed definition: 0 bytes, want at least 28"},
		{"unknown flags", with(2, 0x40), ErrSpecMalformed, "limiter: malformed definition: unknown flags 0x40"},
		{"a padded varint", append(bytes.Clone(whole[:28]), 0xe4, 0x00), ErrSpecMalformed, "limiter: malformed definition: amount is not a varint"},
		{"a varint above 64 bits", append(bytes.Clone(whole[:28]), bytes.Repeat([]byte{0xff}, 12)...), ErrSpecMalformed, "limiter: malformed definition: amount is not a varint"},
		{"a text above its bound", AppendSpec(nil, &long), ErrSpecMalformed, "limiter: malformed definition: domain has 4097 bytes, at most 4096"},
		{"a text cut off", whole[:len(whole)-1], ErrSpecMalformed, "limiter: malformed definition: name has 10 bytes, only 9 follow"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := DecodeSpec(tt.b)
			if !errors.Is(err, tt.want) || err.Error() != tt.text {
				t.Errorf("got %v, want %s", err, tt.text)
			}
		})
	}
	for n := range whole {
		if _, _, err := DecodeSpec(whole[:n]); err == nil {
			t.Errorf("the first %d of %d bytes were accepted", n, len(whole))
		}
	}
}

func FuzzSpec(f *testing.F) {
	s := fullSpec()
	f.Add(AppendSpec(nil, &s))
	f.Add(AppendSpec(nil, &Spec{Kind: KindUnlimited}))
	f.Add(AppendSpec(nil, &Spec{Kind: KindPace, Amount: 10, Period: time.Second, MaxWait: 2 * time.Second}))
	quota := quotaSpec()
	f.Add(AppendSpec(nil, &quota))
	f.Add([]byte{specVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, rest, err := DecodeSpec(b)
		if err != nil {
			if !errors.Is(err, ErrSpecMalformed) && !errors.Is(err, ErrSpecVersion) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		if len(s.Domain) > TextMax || len(s.Name) > TextMax {
			t.Fatalf("texts of %d and %d bytes", len(s.Domain), len(s.Name))
		}
		if again := append(AppendSpec(nil, &s), rest...); !bytes.Equal(again, b) {
			t.Fatalf("%x is read as %+v and written as %x", b, s, again)
		}
		// Whatever a file says, NewLimit makes it safe to decide with.
		if l, err := NewLimit(s); err == nil {
			l.Apply(&Counter{}, noon, OpCharge, 1)
		}
	})
}
