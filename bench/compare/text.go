package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"
	"unsafe"

	sethvargo "github.com/sethvargo/go-limiter/memorystore"
	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/memstore"
	ulule "github.com/ulule/limiter/v3"
	"github.com/ulule/limiter/v3/drivers/store/memory"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/headgate/headgate/limiter"
)

// All contestants admit amount a second, more than a measurement asks of a key.
const amount = 1000

// text compares the way from a key's text to a decision, the clock included:
// for us the hash of a LimitID and the text, and the table; for the others the
// call that takes a string. As in a server that has just read a request, the
// text is in the processor's cache: it is made anew for each decision, of which
// all contestants bear the cost, and which key it is of is random. Each key
// exists already, so nobody keeps the string that it is asked with.
func text(s settings) error {
	cs := []contestant{}
	for _, p := range []func() (string, func(string), error){
		headgate(1, 1), headgate(1, 2), headgate(1, 8), headgate(8, 1), headgate(32, 1),
		floor(s.keys, unix.MADV_NOHUGEPAGE), floor(s.keys, unix.MADV_HUGEPAGE),
		byThrottled, bySethvargo, byUlule, byMap,
	} {
		before := heap()
		name, ask, err := p()
		if err != nil {
			return fmt.Errorf("text: %w", err)
		}
		buf := []byte("client-0123456789abcdef")
		for i := range s.keys {
			ask(string(spell(buf, i)))
		}
		fmt.Printf("%-34s %6.0f bytes of heap a key, its text included where it is kept\n",
			name, float64(heap()-before)/float64(s.keys))
		cs = append(cs, contestant{name, func(n int) {
			for i := range n {
				spell(buf, int(pick(mix(uint64(i)), s.keys)))
				ask(unsafe.String(&buf[0], len(buf))) //nolint:gosec // buf stays as it is while asked with
			}
		}})
	}
	fmt.Println()
	compete(s, cs).print("throttled")
	return nil
}

// spell writes the text of key i over the end of buf and returns buf.
func spell(buf []byte, i int) []byte {
	const digits = "0123456789abcdef"
	x := mix(uint64(i))
	for j := len(buf) - 16; j < len(buf); j++ {
		buf[j] = digits[x>>60]
		x <<= 4
	}
	return buf
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// headgate returns the contestant that asks in calls of charges keys each, as
// a request with that many limits does, and has several calls in flight: as a
// server that found so many requests in what it read from a connection, it
// makes the charges of them all, reads the clock once and then decides call by
// call. Either way misses of memory overlap. One call of one charge is a
// request that comes alone.
func headgate(calls, charges int) func() (string, func(string), error) {
	return func() (string, func(string), error) {
		s, err := newSubject()
		if err != nil {
			return "", nil, err
		}
		h := limiter.NewKeyHasher([16]byte{1, 2, 3})
		buf := make([]byte, 0, 64)
		flight := make([]limiter.Call, calls)
		call, n := 0, 0
		return inFlight(calls, charges), func(text string) {
			buf = append(buf[:0], s.limit.ID[:]...)
			buf = append(append(buf, byte(len(text))), text...)
			k := h.Key(buf)
			s.table.Prefetch(k, k.Partition())
			s.charge(&flight[call], k, k.Partition())
			if n++; n < charges {
				return
			}
			n = 0
			if call++; call < calls {
				return
			}
			call = 0
			now := s.now()
			for i := range flight {
				c := &flight[i]
				s.table.Decide(now, c)
				if v, _ := c.Verdict(); v != limiter.Allowed {
					panic("denied")
				}
				c.Reset()
			}
		}, nil
	}
}

// floor returns the contestant that does what nobody who keeps counters under a
// keyed hash can spare, alone: it makes the key, reads the clock and reads one
// word of an array as large as our slots, at a place that the key says. It decides
// nothing, locks nothing and writes nothing. The next key can't be made before
// the word is there, as the next request of a caller who waits for its answer.
func floor(keys, advice int) func() (string, func(string), error) {
	return func() (string, func(string), error) {
		s, err := newSubject()
		if err != nil {
			return "", nil, err
		}
		array, err := mapped(keys*42, advice) // 32 bytes a slot at the mean load
		if err != nil {
			return "", nil, err
		}
		h := limiter.NewKeyHasher([16]byte{1, 2, 3})
		buf := make([]byte, 0, 64)
		name := "floor: the key and one read"
		if advice == unix.MADV_HUGEPAGE {
			name += ", huge pages"
		}
		word := uint64(0)
		return name, func(text string) {
			buf = append(buf[:0], s.limit.ID[:]...)
			buf = append(append(buf, byte(len(text))+byte(word>>63)), text...) // + 0
			k := h.Key(buf)
			now := s.now()
			word = array[pick(k.Lo, len(array)/4)*4]
			if now == limiter.Instant(word) {
				panic("a moment that was drawn")
			}
		}, nil
	}
}

func inFlight(calls, charges int) string {
	switch {
	case calls > 1:
		return fmt.Sprintf("headgate, %d calls in flight", calls)
	case charges > 1:
		return fmt.Sprintf("headgate, %d charges a call", charges)
	default:
		return "headgate, 1 charge a call"
	}
}

func byThrottled() (string, func(string), error) {
	store, err := memstore.New(0)
	if err != nil {
		return "", nil, err
	}
	l, err := throttled.NewGCRARateLimiterCtx(throttled.WrapStoreWithContext(store), throttled.RateQuota{MaxRate: throttled.PerSec(amount), MaxBurst: amount})
	if err != nil {
		return "", nil, err
	}
	ctx := context.Background()
	return "throttled", func(text string) {
		if _, _, err := l.RateLimitCtx(ctx, text, 1); err != nil {
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
