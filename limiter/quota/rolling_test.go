package quota

import (
	"testing"

	"pgregory.net/rapid"
)

func TestBesideIsTheFullestRun(t *testing.T) {
	sub := func(i int, rolling uint8) Window { return Window{int64(i) * 60, int64(i+1) * 60, rolling} }
	tests := []struct {
		name    string
		rolling uint8
		used    map[int64]uint64 // by the number of the sub-window
		at      int
		want    uint64
	}{
		{"nothing rolls", 0, map[int64]uint64{4: 9, 5: 9, 6: 9}, 5, 0},
		{"the one before", 1, map[int64]uint64{3: 9, 4: 2}, 5, 2},
		{"or the one after, if that is more", 1, map[int64]uint64{4: 2, 6: 3, 7: 9}, 5, 3},
		{"two before", 2, map[int64]uint64{2: 9, 3: 1, 4: 2}, 5, 3},
		{"one before and one after", 2, map[int64]uint64{3: 1, 4: 3, 6: 4, 7: 2}, 5, 7},
		{"two after", 2, map[int64]uint64{3: 1, 4: 1, 6: 4, 7: 2, 8: 9}, 5, 6},
		{"none is before time began", 3, map[int64]uint64{0: 2}, 1, 2},
	}
	for _, tt := range tests {
		asked := 0
		got := Beside(sub(tt.at, tt.rolling), func(w Window) uint64 {
			asked++
			if w.Rolling != tt.rolling || w.End-w.Start != 60 {
				t.Errorf("%s: asked for %+v", tt.name, w)
			}
			return tt.used[w.Start/60]
		})
		if got != tt.want || asked > 2*int(tt.rolling) {
			t.Errorf("%s: got %d, want %d, asked %d times", tt.name, got, tt.want, asked)
		}
	}
}

// TestARollingQuotaIsStrict grants and takes back in any order of sub-windows, late
// ones included: no run of them ever has more than the amount.
func TestARollingQuotaIsStrict(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rolling := rapid.Uint8Range(1, 4).Draw(t, "rolling")
		const limit, count = 10, 12
		var pools [count]Pool
		at := func(w Window) int { return int(w.Start / 60) }
		for range rapid.IntRange(1, 60).Draw(t, "commands") {
			i := rapid.IntRange(0, count-1).Draw(t, "sub-window")
			w := Window{int64(i) * 60, int64(i+1) * 60, rolling}
			c := Command{
				Op: OpEnsure, Key: key, Window: w, Holder: owner, Version: 1, Limit: limit,
				Floor: rapid.Uint64Range(0, 12).Draw(t, "floor"), Target: rapid.Uint64Range(0, 12).Draw(t, "target"),
			}
			if rapid.Bool().Draw(t, "return") {
				c.Op, c.Total = OpReturn, c.Floor
			}
			p := &pools[i]
			p.Beside = Beside(w, func(near Window) uint64 {
				if n := at(near); n < count {
					return pools[n].Use()
				}
				return 0
			})
			if r := p.Apply(1, &c); r.Code == Exhausted && c.Floor <= p.Outstanding()+r.Free {
				t.Fatalf("refused %+v with %d free", c, r.Free)
			}
			for first := range count - int(rolling) {
				sum := uint64(0)
				for n := range int(rolling) + 1 {
					sum += pools[first+n].Outstanding()
				}
				if sum > limit {
					t.Fatalf("sub-windows %d to %d have %d", first, first+int(rolling), sum)
				}
			}
		}
	})
}

func TestARollingWindowIsForgottenAfterTwoWholePeriods(t *testing.T) {
	w := Window{Start: 10 * 86_400, End: 11 * 86_400, Rolling: 30}
	if got, want := w.Purges(), w.End+60*86_400; got != want {
		t.Errorf("forgotten at %d, want %d", got, want)
	}
}

// What a restored backup knows of sub-windows that had begun may be too little, and counts
// for all that belong to one run with them.
func TestAFreezeHoldsForAsLongAsAFrozenSubWindowCounts(t *testing.T) {
	var g Group
	g.Advance(1000 * 60 * 100)
	g.Receive(&Command{Op: OpFreeze, Window: Window{Start: 300, End: 301}})
	for _, tt := range []struct {
		at      int64
		rolling uint8
		want    Code
	}{{5, 0, Frozen}, {6, 0, OK}, {6, 3, Frozen}, {8, 3, Frozen}, {9, 3, OK}} {
		w := Window{tt.at * 60, (tt.at + 1) * 60, tt.rolling}
		c := Command{Op: OpEnsure, Window: w, Holder: Holder{Tenure: 1}, Version: 1, Limit: 10, Floor: 1}
		if got := g.Refuses(&c); got != tt.want {
			t.Errorf("sub-window %d of a quota that rolls over %d: %v, want %v", tt.at, tt.rolling, got, tt.want)
		}
	}
}
