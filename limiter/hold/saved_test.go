package hold

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
)

// limits are one of each kind that matters here, by id.
func limits() (list [4]*limiter.Limit) {
	for i, kind := range [...]limiter.Kind{limiter.KindRate, limiter.KindFixed, limiter.KindConcurrency, limiter.KindQuota} {
		list[i] = &limiter.Limit{Spec: limiter.Spec{
			ID: limiter.LimitID{byte(i + 1)}, Def: limiter.DefHash(i + 1), Kind: kind, Amount: 60, Period: time.Minute,
		}}
	}
	return list
}

// present are terms under which everything is as it was.
func present(list [4]*limiter.Limit) *Terms {
	return &Terms{Counters: true, Tenure: 8, Limit: func(id limiter.LimitID, _ limiter.DefHash) *limiter.Limit {
		if i := int(id[0]) - 1; i >= 0 && i < len(list) {
			return list[i]
		}
		return nil
	}}
}

// full returns a Book with one reservation of each state but deciding and ending, named 1
// to 3, at noon; and 4 and 5, which are those.
func full() *Book {
	b, list := New(Bounds{Max: 10, Share: 10}), limits()
	at := noon.Add(-2 * time.Minute)
	for n := uint64(1); n <= 5; n++ {
		b.Begin(at, &Ask{ID: key(n), Content: key(10 + n), Domain: "llm", Lifetime: time.Hour})
	}
	for n := uint64(1); n <= 4; n++ {
		deadline := noon.Add(time.Hour)
		if n == 2 {
			deadline = noon.Add(-time.Minute)
		}
		b.Keep(key(n), deadline, []Leg{
			{Key: key(101), Limit: list[0], Units: 40, Partition: 7, Was: noon.Add(30 * time.Second)},
			{Key: key(102), Limit: list[1], Units: 5, Was: noon.Add(50 * time.Second)},
			{Key: key(103), Limit: list[2], Units: 1},
			{Key: key(104), Limit: list[3], Units: 9, Was: 1000, Holder: Holder{Tenure: 7, Life: 3}},
			{Key: key(105), Limit: list[3], Units: 8, Was: -1000, Request: key(77)},
		}, []byte("made"))
	}
	b.Sweep(noon, 10) // 2 has expired
	b.End(noon, key(3), key(33))
	b.Ended(noon, key(3), false, []byte("settled"))
	b.End(noon, key(4), key(34))
	return b
}

// saved returns what is saved of b at a moment, as it is read.
func saved(tb interface{ Fatal(...any) }, b *Book, at limiter.Instant) (list []Saved) {
	for one := range b.Save() {
		s, err := DecodeSaved(bytes.Clone(one), at)
		if err != nil {
			tb.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

// restored returns a Book with what was saved at noon.
func restored(list []Saved, now limiter.Instant, t *Terms) (*Book, Restored) {
	b := New(Bounds{Max: 10, Share: 10})
	return b, b.Restore(now, noon, list, t)
}

func TestWhatIsOpenOrRememberedIsRestored(t *testing.T) {
	b, got := restored(saved(t, full(), noon), noon, present(limits()))
	if want := (Restored{Open: 1, Remembered: 2}); got != want {
		t.Errorf("restored %+v, want %+v", got, want)
	}
	if c := b.Stats().Domains["llm"]; c.Records != 3 || c.Open != 1 {
		t.Errorf("counted as %+v", c)
	}
	for n, want := range map[uint64]Outcome{1: Again, 2: Again, 3: Again, 4: Done, 5: Done} {
		if answer, o := b.Begin(noon, &Ask{ID: key(n), Content: key(10 + n)}); o != want || o == Again && string(answer) != "made" {
			t.Errorf("reserved again, %d: %q, %v", n, answer, o)
		}
	}
	if e, o := b.End(noon, key(3), key(33)); o != Again || string(e.Answer) != "settled" {
		t.Errorf("settled again: %q, %v", e.Answer, o)
	}
	e, o := b.End(noon, key(1), key(31))
	if o != Done || e.Late || len(e.Legs) != 5 {
		t.Fatalf("settled: %+v, %v", e, o)
	}
	list := limits()
	want := []Leg{
		{Key: key(101), Limit: list[0], Units: 40, Partition: 7, Was: noon.Add(30 * time.Second)},
		{Key: key(102), Limit: list[1], Units: 5, Was: noon.Add(50 * time.Second)},
		{Key: key(103), Limit: list[2], Units: 1},
		{Key: key(104), Limit: list[3], Units: 9, Was: 1000, Holder: Holder{Tenure: 7, Life: 3}, Former: true},
		{Key: key(105), Limit: list[3], Units: 8, Was: -1000, Request: key(77)},
	}
	if !reflect.DeepEqual(e.Legs, want) {
		t.Errorf("legs\n%+v, want\n%+v", e.Legs, want)
	}
	if e, o := b.End(noon, key(2), key(32)); o != Done || !e.Late {
		t.Errorf("settled late: %+v, %v", e, o)
	}
}

func TestTimeHasPassedByWhatTheWallClockSays(t *testing.T) {
	file := saved(t, full(), noon)
	for _, tt := range []struct {
		name  string
		now   limiter.Instant
		want  Restored
		rate  uint64 // of 40, 30 s before the last has come back by itself
		ended Outcome
	}{
		{"at once", noon, Restored{Open: 1, Remembered: 2}, 30, Done},
		{"20 s later", noon.Add(20 * time.Second), Restored{Open: 1, Remembered: 2}, 10, Done},
		{"9.5 minutes later", noon.Add(570 * time.Second), Restored{Open: 1, Remembered: 1, Forgotten: 1}, 0, Done},
		{"an hour later it has expired", noon.Add(61 * time.Minute), Restored{Open: 1, Forgotten: 2}, 0, Done},
		{"a day later", noon.Add(24 * time.Hour), Restored{Forgotten: 3}, 0, Unknown},
		{"after the clock went back a day", noon.Add(-24 * time.Hour), Restored{Open: 1, Remembered: 2}, 30, Done},
	} {
		b, got := restored(file, tt.now, present(limits()))
		if got != tt.want {
			t.Errorf("%s: restored %+v, want %+v", tt.name, got, tt.want)
		}
		e, o := b.End(tt.now, key(1), key(31))
		if o != tt.ended {
			t.Errorf("%s: %v, want %v", tt.name, o, tt.ended)
			continue
		}
		if o == Done && e.Legs[0].Back(tt.now, 40) != tt.rate {
			t.Errorf("%s: %d of the rate come back, want %d", tt.name, e.Legs[0].Back(tt.now, 40), tt.rate)
		}
		if o == Done && e.Legs[3].Was != 1000 {
			t.Errorf("%s: the quota was charged in %d", tt.name, e.Legs[3].Was)
		}
	}
}

func TestOtherPoliciesCountersAndStores(t *testing.T) {
	file, list := saved(t, full(), noon), limits()
	legs := func(change func(*Terms)) ([]Leg, Restored) {
		terms := present(list)
		change(terms)
		b, r := restored(file, noon, terms)
		e, _ := b.End(noon, key(1), key(31))
		return e.Legs, r
	}
	without := func(id limiter.LimitID, _ limiter.DefHash) *limiter.Limit {
		if id[0] == 4 {
			return nil
		}
		return list[id[0]-1]
	}
	if got, r := legs(func(t *Terms) { t.Limit = without }); len(got) != 3 || r.Gone != 4 || r.Open != 1 {
		t.Errorf("without the quota: %+v, %+v", got, r)
	}
	got, _ := legs(func(t *Terms) { t.Counters = false })
	if got[0].Back(noon, 40) != 0 || got[1].Back(noon, 5) != 0 || got[3].Back(noon, 9) != 9 {
		t.Errorf("without the counters %d, %d and %d come back", got[0].Back(noon, 40), got[1].Back(noon, 5), got[3].Back(noon, 9))
	}
	for tenure, want := range map[uint64]Holder{8: {7, 3}, 7: {}, 1: {}, 0: {}} {
		if got, _ := legs(func(t *Terms) { t.Tenure = tenure }); got[3].Holder != want || !got[3].Former {
			t.Errorf("tenure %d: charged by %+v, want %+v", tenure, got[3].Holder, want)
		}
	}
}

// TestUnitsThatNobodyCountsAreRestored: a settlement may name them after the restart as before.
func TestUnitsThatNobodyCountsAreRestored(t *testing.T) {
	before := full()
	before.Name(key(1), [][]byte{[]byte("images"), []byte("songs")})
	b, _ := restored(saved(t, before, noon), noon, present(limits()))
	for n, want := range map[uint64][]string{1: {"images", "songs"}, 2: nil} {
		if _, units, ok := b.Charged(noon, key(n)); !ok || !slices.Equal(units, want) {
			t.Errorf("%d: %q, %v, want %q", n, units, ok, want)
		}
	}
	if _, _, ok := b.Charged(noon, key(3)); ok {
		t.Error("3, which has ended, could be ended")
	}
}

func TestUnitsThatAreCutOffOrTooManyAreMalformed(t *testing.T) {
	for name, units := range map[string]string{"cut off": "\x03ab", "no length": "\xff", "too many": strings.Repeat("\x01a", unitsMax+1)} {
		for one := range full().Save() {
			if _, err := DecodeSaved(append(bytes.Clone(one), units...), noon); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestNoMoreAreRestoredThanThereIsRoomFor(t *testing.T) {
	b := New(Bounds{Max: 1, Share: 1})
	if got := b.Restore(noon, noon, saved(t, full(), noon), present(limits())); got.NoRoom != 2 || b.Stats().Records != 1 {
		t.Errorf("%+v, %d records", got, b.Stats().Records)
	}
}

func TestWhatIsCutOffOrOfNoBookIsMalformed(t *testing.T) {
	for one := range full().Save() {
		for n := range one {
			if _, err := DecodeSaved(one[:n], noon); !errors.Is(err, ErrMalformed) {
				t.Errorf("the first %d of %d bytes: %v", n, len(one), err)
			}
		}
		for what, at := range map[string]limiter.Instant{"before it was made": noon.Add(-30 * time.Hour), "long after it": noon.Add(80 * time.Hour), "never": -1} {
			if _, err := DecodeSaved(one, at); !errors.Is(err, ErrMalformed) {
				t.Errorf("saved %s: %v", what, err)
			}
		}
	}
}

// TestARestoredBookAnswersAsTheOneBefore lets anything happen to reservations, and asks a Book
// that was saved and read about each, and the one that was not.
func TestARestoredBookAnswersAsTheOneBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := limits()
		before, now := New(Bounds{Max: 8, Share: 8}), noon
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			n := rapid.Uint64Range(1, 4).Draw(t, "id")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				if _, o := before.Begin(now, &Ask{ID: key(n), Content: key(n)}); o == Done {
					legs := []Leg{{Key: key(n), Limit: all[0], Units: n, Was: now.Add(time.Second)}}
					before.Keep(key(n), now.Add(time.Duration(n)*time.Minute), legs, []byte{byte(n)})
				}
			case 1:
				if _, o := before.End(now, key(n), key(n)); o == Done {
					before.Ended(now, key(n), false, []byte{byte(n)})
				}
			case 2:
				before.Extend(now, key(n), 2*time.Minute)
			case 3:
				now = now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "seconds")) * time.Second)
			}
		}
		list, at := saved(t, before, now), now
		now = now.Add(time.Duration(rapid.IntRange(0, 700).Draw(t, "off")) * time.Second)
		after := New(Bounds{Max: 8, Share: 8})
		after.Restore(now, at, list, present(all))
		for n := uint64(1); n <= 4; n++ {
			a, oa := before.Extend(now, key(n), 3*time.Minute)
			b, ob := after.Extend(now, key(n), 3*time.Minute)
			if oa != ob || !reflect.DeepEqual(a, b) {
				t.Fatalf("extend %d: %+v, %v; restored %+v, %v", n, a, oa, b, ob)
			}
			ea, oa := before.End(now, key(n), key(n))
			eb, ob := after.End(now, key(n), key(n))
			if oa != ob || !reflect.DeepEqual(ea, eb) {
				t.Fatalf("end %d: %+v, %v; restored %+v, %v", n, ea, oa, eb, ob)
			}
		}
	})
}

func FuzzDecodeSaved(f *testing.F) {
	for one := range full().Save() {
		f.Add(bytes.Clone(one))
		f.Add(append(bytes.Clone(one), "\x06images"...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSaved(b, noon)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		book, r := restored([]Saved{s}, noon, present(limits()))
		if n := book.Stats().Records; n != r.Open+r.Remembered || n+r.Forgotten != 1 {
			t.Errorf("%d records: %+v", n, r)
		}
		if n := len(saved(t, book, noon)); n != book.Stats().Records {
			t.Errorf("%d are saved again", n)
		}
		for book.Sweep(noon.Add(48*time.Hour), 10) {
		}
		if n := book.Stats().Records; n != 0 {
			t.Errorf("%d records are never forgotten", n)
		}
	})
}
