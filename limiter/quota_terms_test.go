package limiter

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func quotaSpec() Spec {
	return Spec{
		Kind: KindQuota, Amount: 10_000, Period: 31 * 24 * time.Hour, OnUnavailable: UnavailableDeny, Name: "n",
		Quota: &QuotaTerms{
			Schedule: Schedule{Unit: PerMonth, Zone: "Europe/Berlin", ResetAt: 9 * time.Hour, Day: 15},
			PostPaid: true, MaxDebt: 300, Notify: [NotifyMax]uint8{50, 80, 100},
		},
	}
}

func TestQuotaBounds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(s *Spec)
		want   []string // of the error, one for each problem
	}{
		{"a quota", func(*Spec) {}, nil},
		{"a ban", func(s *Spec) { s.Amount = 0 }, nil},
		{"no terms", func(s *Spec) { s.Quota = nil }, []string{"Quota=nil: must be set for a quota"}},
		{"another kind", func(s *Spec) { s.Kind = KindFixed }, []string{"Quota=set: must be nil"}},
		{"many problems", func(s *Spec) {
			s.Amount, s.Burst, s.OnUnavailable, s.CountDenied, s.Period = AmountMax+1, 1, UnavailableLocal, true, time.Hour
			s.Quota.MaxDebt, s.Quota.Notify, s.Quota.Day = AmountMax+1, [NotifyMax]uint8{80, 50}, 32
		}, []string{
			"Amount=36028797018963969: must be at most 36028797018963968", "Burst=1: must be 0", "OnUnavailable=2: must be 1",
			"CountDenied=true: must be false", "Day=32: must be in [1, 31]", "Period=1h0m0s: must be 744h0m0s",
			"MaxDebt=36028797018963969: must be at most", "Notify=[80 50 0 0 0 0 0 0]: must be ascending",
		}},
		{"a mark above the amount", func(s *Spec) { s.Quota.Notify = [NotifyMax]uint8{101} }, []string{"Notify="}},
		{"a mark after none", func(s *Spec) { s.Quota.Notify = [NotifyMax]uint8{0, 50} }, []string{"Notify="}},
		{"exact and post-paid", func(s *Spec) { s.Quota.Exact = true }, []string{"PostPaid=true: must be false where Exact is true"}},
		{"a mark twice", func(s *Spec) { s.Quota.Notify = [NotifyMax]uint8{50, 50} }, []string{"Notify="}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := quotaSpec()
			tc.change(&s)
			_, err := NewLimit(s)
			var lines []string
			if err != nil {
				lines = strings.Split(err.Error(), "\n")
			}
			if len(lines) != len(tc.want) {
				t.Fatalf("got %q, want %q", lines, tc.want)
			}
			for i, want := range tc.want {
				if !strings.Contains(lines[i], want) {
					t.Errorf("got %q, want %q", lines[i], want)
				}
			}
		})
	}
}

// TestAQuotaIsNotDecidedByACounter: its units are granted by a ledger.
func TestAQuotaIsNotDecidedByACounter(t *testing.T) {
	t.Parallel()
	l, err := NewLimit(quotaSpec())
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range []Op{OpCharge, OpPeek, OpGiveBack} {
		var c Counter
		if d := l.Apply(&c, 0, op, 1); d != (Decision{}) || c != (Counter{}) {
			t.Errorf("op %d: %+v, %+v", op, d, c)
		}
	}
	if got := l.Capacity(); got != 10_000 {
		t.Errorf("capacity %d", got)
	}
	if got := KindQuota.String(); got != "quota" {
		t.Errorf("named %q", got)
	}
}

// TestSpecEncodingOfAQuotaIsStable holds version 3: what only a quota has.
func TestSpecEncodingOfAQuotaIsStable(t *testing.T) {
	t.Parallel()
	s := quotaSpec()
	want := "\x03\x07\x00\x01" + strings.Repeat("\x00", 24) + "\x90\x4e" + "\x80\x80\xc4\xc4\xd9\xff\xe0\x04" + "\x00" +
		"\x02\x04\x00\x0f\x00\x00" + "\x32\x50\x64\x00\x00\x00\x00\x00" + "\x00" + "\x80\xc0\xf6\xb3\xfb\xae\x07" + "\xac\x02" +
		"\x0dEurope/Berlin" + "\x00" + "\x01n"
	if got := string(AppendSpec(nil, &s)); got != want {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
}

func TestQuotaRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s, q := quotaSpec(), QuotaTerms{}
		small := rapid.Uint8()
		q.Unit, q.WeekStart, q.Day, q.Month = CalendarUnit(small.Draw(t, "unit")), small.Draw(t, "week"), small.Draw(t, "day"), small.Draw(t, "month")
		q.Rolling, q.Exact, q.PostPaid = small.Draw(t, "rolling"), rapid.Bool().Draw(t, "exact"), rapid.Bool().Draw(t, "post paid")
		q.Every, q.ResetAt = time.Duration(rapid.Int64().Draw(t, "every")), time.Duration(rapid.Int64().Draw(t, "reset"))
		q.MaxDebt, q.Zone = rapid.Uint64().Draw(t, "debt"), rapid.StringN(-1, -1, TextMax).Draw(t, "zone")
		copy(q.Notify[:], rapid.SliceOfN(small, NotifyMax, NotifyMax).Draw(t, "notify"))
		s.Quota = &q
		tail := rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "tail")
		text := AppendSpec(nil, &s)
		got, rest, err := DecodeSpec(append(text, tail...))
		if err != nil || !reflect.DeepEqual(got, s) || !bytes.Equal(rest, tail) {
			t.Fatalf("got %+v, %x, %v", got, rest, err)
		}
		cut := rapid.IntRange(0, len(text)-1).Draw(t, "cut")
		if _, _, err := DecodeSpec(text[:cut]); !errors.Is(err, ErrSpecMalformed) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	})
}

func TestUnknownFlagsOfAQuotaAreMalformed(t *testing.T) {
	t.Parallel()
	s := quotaSpec()
	text := AppendSpec(nil, &s)
	text[bytes.Index(text, []byte("\x02\x04\x00\x0f"))] = 4
	if _, _, err := DecodeSpec(text); !errors.Is(err, ErrSpecMalformed) {
		t.Errorf("got %v", err)
	}
}
