package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	sethvargo "github.com/sethvargo/go-limiter/memorystore"
	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/memstore"
	ulule "github.com/ulule/limiter/v3"
	"github.com/ulule/limiter/v3/drivers/store/memory"
	"golang.org/x/time/rate"

	"github.com/headgate/headgate/limiter"
)

// All contestants admit amount a second, more than a measurement asks of a key.
const amount = 1000

// text compares the way from a key's text to a decision, the clock included:
// for us the hash of a LimitID and the value, and the table; for the others
// the call that takes a string. The strings exist already; the order is random
// and the same for all.
func text(s settings) error {
	texts := make([]string, s.keys)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range texts {
		texts[i] = fmt.Sprintf("client-%016x", rng.Uint64())
	}
	order := make([]uint32, s.ops)
	for i := range order {
		order[i] = uint32(rng.IntN(s.keys))
	}
	cs := []contestant{}
	for _, p := range []func() (string, func(string), error){headgate, byThrottled, bySethvargo, byUlule, byMap} {
		before := heap()
		name, ask, err := p()
		if err != nil {
			return fmt.Errorf("text: %w", err)
		}
		for _, t := range texts {
			ask(t)
		}
		fmt.Printf("%-34s %6.0f bytes of heap a key, its text not counted\n", name, float64(heap()-before)/float64(s.keys))
		cs = append(cs, contestant{name, func(n int) {
			for _, i := range order[:n] {
				ask(texts[i])
			}
		}})
	}
	fmt.Println()
	compete(s, cs).print("throttled")
	runtime.KeepAlive(texts)
	return nil
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func headgate() (string, func(string), error) {
	s, err := newSubject()
	if err != nil {
		return "", nil, err
	}
	h := limiter.NewKeyHasher([16]byte{1, 2, 3})
	buf := make([]byte, 0, 64)
	return "headgate", func(text string) {
		buf = append(buf[:0], s.limit.ID[:]...)
		buf = append(append(buf, byte(len(text))), text...)
		k := h.Key(buf)
		s.decide(s.clock.Now(), k, k.Partition())
	}, nil
}

func byThrottled() (string, func(string), error) {
	store, err := memstore.New(0)
	if err != nil {
		return "", nil, err
	}
	l, err := throttled.NewGCRARateLimiter(store, throttled.RateQuota{MaxRate: throttled.PerSec(amount), MaxBurst: amount})
	if err != nil {
		return "", nil, err
	}
	return "throttled", func(text string) {
		if _, _, err := l.RateLimit(text, 1); err != nil {
			panic(err)
		}
	}, nil
}

func bySethvargo() (string, func(string), error) {
	store, err := sethvargo.New(&sethvargo.Config{Tokens: amount, Interval: time.Second})
	if err != nil {
		return "", nil, err
	}
	ctx := context.Background()
	return "sethvargo/go-limiter", func(text string) {
		if _, _, _, _, err := store.Take(ctx, text); err != nil {
			panic(err)
		}
	}, nil
}

func byUlule() (string, func(string), error) {
	l := ulule.New(memory.NewStore(), ulule.Rate{Period: time.Hour, Limit: amount * 3600})
	ctx := context.Background()
	return "ulule/limiter", func(text string) {
		if _, err := l.Get(ctx, text); err != nil {
			panic(err)
		}
	}, nil
}

func byMap() (string, func(string), error) {
	var mu sync.Mutex
	m := map[string]*rate.Limiter{}
	return "x/time/rate in a locked map", func(text string) {
		mu.Lock()
		l := m[text]
		if l == nil {
			l = rate.NewLimiter(amount, amount)
			m[text] = l
		}
		mu.Unlock()
		l.Allow()
	}, nil
}
