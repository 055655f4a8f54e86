package obs

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
)

func newTestTop(keysMax int) (*Top, *sampler) {
	top, s := newTop(keysMax), &sampler{}
	top.samplers = []*sampler{s}
	top.Drain() // makes room
	return top, s
}

func keyed(key uint64, v limiter.Verdict) limiter.Charge {
	ch := charged(limit(1, "shop", "a"), v)
	ch.Key = limiter.Key{Hi: key, Lo: key}
	return ch
}

func TestHotAndDeniedKeysAreRankedApart(t *testing.T) {
	m := New(testConfig())
	shadow := limit(2, "shop", "shadow")
	shadow.Shadow = true
	for range 10 {
		m.Decisions.Observe(0, exchange(0, keyed(1, limiter.Allowed), charged(shadow, limiter.Denied)))
	}
	for range 3 {
		m.Decisions.Observe(0, exchange(1, keyed(2, limiter.Denied), keyed(1, limiter.Allowed)))
	}
	m.Hot.Drain()
	m.Denied.Drain()
	hot, denied := m.Hot.Keys(), m.Denied.Keys()
	if len(hot) != 3 || hot[0].Count != 13 || hot[0].Key != "0000000000000001" || hot[0].Limit != "a" || hot[0].Domain != "shop" {
		t.Errorf("hot = %+v", hot)
	}
	if len(denied) != 1 || denied[0].Count != 3 || denied[0].Key != "0000000000000002" {
		t.Errorf("denied = %+v", denied)
	}
}

func TestWhatFindsNoRoomStillWeighs(t *testing.T) {
	top, s := newTestTop(10)
	for range 1000 {
		s.offer(exchange(0, keyed(7, limiter.Allowed)), false)
	}
	top.Drain()
	if keys := top.Keys(); len(keys) != 1 || keys[0].Count != 1000 {
		t.Errorf("keys = %+v, want one of 1000", keys)
	}
}

// The guarantee of Space-Saving: no kept count is too low, none is more than
// its Error too high, and every key above 1/K of the total is kept.
func TestTopKeepsItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const keysMax = 8
		top := newTop(keysMax)
		truth := map[string]float64{}
		total := 0.0
		for _, k := range rapid.SliceOfN(rapid.Uint64Range(1, 30), 1, 400).Draw(t, "keys") {
			n := note{key: limiter.Key{Hi: k, Lo: k}}
			top.see(&n, 1)
			truth[n.key.Fingerprint()]++
			total++
		}
		kept := map[string]TopKey{}
		for _, k := range top.Keys() {
			kept[k.Key] = k
			if n := truth[k.Key]; k.Count < n || k.Count-k.Error > n {
				t.Fatalf("%+v, but it was seen %v times", k, n)
			}
		}
		if len(kept) > keysMax {
			t.Fatalf("%d keys kept", len(kept))
		}
		for key, n := range truth {
			if _, ok := kept[key]; !ok && n > total/keysMax {
				t.Fatalf("%s was seen %v of %v times and is not kept", key, n, total)
			}
		}
	})
}

func TestDecayForgetsWhatIsNotSeenAnyMore(t *testing.T) {
	top, _ := newTestTop(10)
	once, often := note{key: limiter.Key{Hi: 1, Lo: 1}}, note{key: limiter.Key{Hi: 2, Lo: 2}}
	top.see(&once, 1)
	top.see(&often, 100)
	for _, want := range []int{2, 1, 1, 1, 1, 1, 1, 0} {
		top.Decay()
		if got := len(top.Keys()); got != want {
			t.Fatalf("%d keys, want %d", got, want)
		}
	}
	if len(top.byKey) != 0 {
		t.Errorf("%d keys still indexed", len(top.byKey))
	}
}

func TestSamplesFindTheHotKeyAmongMany(t *testing.T) {
	top, s := newTestTop(10)
	rng := rand.New(rand.NewPCG(1, 2))
	const requests, drains = 200_000, 100
	for i := range requests {
		key := uint64(1)
		if rng.Float64() > 0.3 {
			key = 2 + rng.Uint64N(1_000_000)
		}
		s.offer(exchange(0, keyed(key, limiter.Allowed)), false)
		if i%(requests/drains) == 0 {
			top.Drain()
		}
	}
	keys := top.Keys()
	if keys[0].Key != "0000000000000001" || keys[0].Count < 0.25*requests || keys[0].Count-keys[0].Error > 0.35*requests {
		t.Errorf("first of the ranking = %+v, want key 1 with about %v", keys[0], 0.3*requests)
	}
}
