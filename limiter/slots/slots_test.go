package slots_test

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/slots"
)

// A list is what a group is, said plainly.
type list []slots.Slot

func (l list) held(after limiter.Instant) (units uint64) {
	for _, s := range l {
		if s.Expiry > after {
			units += uint64(s.Weight)
		}
	}
	return units
}

// A run is a set with one group and its list.
type run struct {
	set  slots.Set
	g    slots.Group
	list list
	next uint64
}

func (r *run) room() {
	if n := r.set.Room(2); n > 0 {
		r.set.Grow(make([]slots.Record, n))
	}
}

// group makes the group anew; what it had waits to be freed.
func (r *run) group() {
	if r.g != 0 {
		r.set.Drop(r.g)
	}
	r.room()
	r.g, r.list = r.set.New(limiter.Key{Hi: 1, Lo: 1}), nil
}

func (r *run) actions() map[string]func(*rapid.T) {
	instant := func(t *rapid.T) limiter.Instant { return limiter.Instant(rapid.Int64Range(1, 50).Draw(t, "instant")) }
	return map[string]func(*rapid.T){
		"": func(t *rapid.T) {
			if err := r.set.Check(); err != nil {
				t.Fatal(err)
			}
			var last limiter.Instant
			anonymous := int64(0)
			for _, s := range r.list {
				last = max(last, s.Expiry)
				if s.Key.Lo == 0 {
					anonymous++
				}
			}
			if got := r.set.Held(r.g); got != r.list.held(0) || r.set.Last(r.g) != last || r.set.Anonymous(r.g) != anonymous {
				t.Fatalf("held %d until %d, %d of them anonymous; want %d, %d, %d", got, r.set.Last(r.g), r.set.Anonymous(r.g), r.list.held(0), last, anonymous)
			}
			if at := instant(t); r.set.HeldAfter(r.g, at) != r.list.held(at) {
				t.Fatalf("held after %d: %d, want %d", at, r.set.HeldAfter(r.g, at), r.list.held(at))
			}
			r.walk(t)
		},
		"take": func(t *rapid.T) {
			for range rapid.IntRange(1, 12).Draw(t, "slots") {
				r.next++
				s := slots.Slot{Expiry: instant(t), Weight: uint32(rapid.IntRange(1, 5).Draw(t, "weight"))}
				if rapid.Bool().Draw(t, "holder") {
					s.Key = limiter.Key{Hi: r.next * 0x9e3779b97f4a7c15, Lo: r.next}
				}
				r.room()
				r.set.Take(r.g, s.Key, s.Expiry, s.Weight)
				r.list = append(r.list, s)
			}
		},
		"release": func(t *rapid.T) {
			if len(r.list) == 0 {
				return
			}
			i := rapid.IntRange(0, len(r.list)-1).Draw(t, "slot")
			s := r.list[i]
			if s.Key.Lo == 0 {
				return
			}
			if !r.set.Has(r.g, s.Key, s.Expiry) || r.set.Has(r.g, s.Key, s.Expiry+1) || r.set.Release(r.g, s.Key, s.Expiry) != s.Weight {
				t.Fatalf("%+v is not there", s)
			}
			r.list = slices.Delete(r.list, i, i+1)
		},
		"expire": func(t *rapid.T) {
			now := instant(t)
			r.set.Expire(r.g, now)
			r.list = slices.DeleteFunc(r.list, func(s slots.Slot) bool { return s.Expiry <= now })
		},
		"give back": func(t *rapid.T) {
			units := rapid.Uint64Range(0, 60).Draw(t, "units")
			r.set.GiveBack(r.g, units)
			r.lower(t, 0, math.MaxInt64, units)
		},
		"undo": func(t *rapid.T) {
			at, units := instant(t), uint32(rapid.IntRange(1, 5).Draw(t, "units"))
			r.set.Undo(r.g, at, units)
			r.lower(t, at, at, uint64(units))
		},
		"when": func(t *rapid.T) {
			units := rapid.Uint64Range(0, 60).Draw(t, "units")
			want := limiter.Instant(0)
			if r.list.held(0) > units {
				want = slots.Never
				for _, s := range r.list {
					if r.list.held(s.Expiry) <= units {
						want = min(want, s.Expiry)
					}
				}
			}
			if got := r.set.When(r.g, units); got != want {
				t.Fatalf("When(%d) = %d, want %d of %+v", units, got, want, r.list)
			}
		},
		"collect": func(t *rapid.T) { r.set.Collect(rapid.IntRange(1, 30).Draw(t, "n")) },
		"drop":    func(*rapid.T) { r.group() },
	}
}

// lower takes units from the anonymous slots that expire in [from, to], the
// first ones first.
func (r *run) lower(t *rapid.T, from, to limiter.Instant, units uint64) {
	slices.SortStableFunc(r.list, func(a, b slots.Slot) int { return int(a.Expiry - b.Expiry) })
	for i := range r.list {
		if s := &r.list[i]; s.Key.Lo == 0 && s.Expiry >= from && s.Expiry <= to {
			n := min(units, uint64(s.Weight))
			s.Weight -= uint32(n)
			units -= n
		}
	}
	r.list = slices.DeleteFunc(r.list, func(s slots.Slot) bool { return s.Weight == 0 })
	// Which of several that expire at once was made lighter is not said: the set
	// may have another one, so long as the units are the same at each moment.
	var at slots.Cursor
	var has list
	for s, ok := r.set.Next(r.g, &at); ok; s, ok = r.set.Next(r.g, &at) {
		has = append(has, s)
	}
	for i := limiter.Instant(0); i < 60; i++ {
		if has.held(i) != r.list.held(i) {
			t.Fatalf("after %d, %d units are held, want %d", i, has.held(i), r.list.held(i))
		}
	}
	r.list = has
}

// walk fails unless a walk finds what the list has.
func (r *run) walk(t *rapid.T) {
	var at slots.Cursor
	got := map[slots.Slot]int{}
	for s, ok := r.set.Next(r.g, &at); ok; s, ok = r.set.Next(r.g, &at) {
		got[s]++
	}
	for _, s := range r.list {
		got[s]--
	}
	for s, n := range got {
		if n != 0 {
			t.Fatalf("%+v: %d times too often", s, n)
		}
	}
}

func TestAGroupIsAListOfSlots(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := new(run)
		r.group()
		rt.Repeat(r.actions())
	})
}

func TestNothingIsLeftOfWhatExpired(t *testing.T) {
	r := new(run)
	r.group()
	for i := range 20_000 {
		r.room()
		r.set.Take(r.g, limiter.Key{Hi: uint64(i), Lo: uint64(i % 2 * i)}, limiter.Instant(1+i%97), 1)
	}
	if r.set.Expire(r.g, 1000); r.set.Held(r.g) != 0 || r.set.Last(r.g) != 0 {
		t.Fatal("something is held")
	}
	r.set.Drop(r.g)
	steps := 0
	for r.set.Collect(100) {
		steps++
	}
	if !r.set.Empty() || steps < 199 || steps > 201 {
		t.Errorf("empty: %v, after %d steps", r.set.Empty(), steps)
	}
	if err := r.set.Check(); err != nil {
		t.Fatal(err)
	}
}
