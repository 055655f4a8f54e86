package holdings

import (
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
)

func TestAnIndexFindsWhatAMapHas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x index
		model := map[place]*counter{}
		somewhere := func(t *rapid.T) place { // few keys, of which many begin at the same slot
			lo := rapid.Uint64Range(0, 40).Draw(t, "lo") * shardCount * rapid.SampledFrom([]uint64{1, 64}).Draw(t, "spread")
			return place{limiter.Key{Hi: rapid.Uint64Range(0, 1).Draw(t, "hi"), Lo: lo}, rapid.Int64Range(0, 2).Draw(t, "start")}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				found := 0
				for k := range x.each() {
					if model[k.place] != k {
						t.Fatalf("%+v is there and was removed", k.place)
					}
					found++
				}
				if found != len(model) || x.n != len(model) {
					t.Fatalf("%d yielded, %d counted, want %d", found, x.n, len(model))
				}
				if n := len(x.slots); n&(n-1) != 0 || 4*x.taken > 3*n {
					t.Fatalf("%d of %d slots are taken", x.taken, n)
				}
			},
			"put": func(t *rapid.T) {
				if p := somewhere(t); x.get(p) == nil {
					model[p] = &counter{place: p}
					x.put(model[p])
				}
			},
			"get": func(t *rapid.T) {
				p := somewhere(t)
				if got := x.get(p); got != model[p] {
					t.Fatalf("%+v: got %p, want %p", p, got, model[p])
				}
				at := map[uintptr]bool{} // of counters whose keys have its tag
				for other, k := range model {
					if other.key.Lo == p.key.Lo {
						at[uintptr(unsafe.Pointer(k))] = true
					}
				}
				if got := x.address(p.key); at[got] != (len(at) > 0) {
					t.Fatalf("%+v is at %x, want %v", p, got, at)
				}
			},
			"remove": func(t *rapid.T) {
				p := somewhere(t)
				x.remove(p)
				delete(model, p)
			},
			"remove some of all": func(t *rapid.T) {
				every := rapid.IntRange(1, 3).Draw(t, "every")
				i := 0
				for k := range x.each() {
					if i++; i%every == 0 {
						x.remove(k.place)
						delete(model, k.place)
					}
				}
			},
			"tidy": func(t *rapid.T) {
				x.tidy()
				if len(x.slots) > max(slotsMin, 8*(x.n+1)) || (x.n == 0 && len(x.slots) > 0) {
					t.Fatalf("%d slots for %d counters", len(x.slots), x.n)
				}
			},
		})
	})
}

func TestACounterHasThreeCacheLinesAndAShardToo(t *testing.T) {
	if n := unsafe.Sizeof(counter{}); n != 3*cacheLine {
		t.Errorf("a counter has %d bytes", n)
	}
	if n := unsafe.Sizeof(shard{}); n != 3*cacheLine {
		t.Errorf("a shard has %d bytes", n)
	}
}
