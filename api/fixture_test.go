package api_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

const shop = `
domain: shop
limits:
  - {name: open, by: [user], rate: 10/s}
  - {name: shut, by: [account], rate: 10/s, on_unavailable: deny}
`

func snapshot(tb testing.TB, text string, unknown policy.Outcome) *policy.Snapshot {
	tb.Helper()
	docs, problems := policy.Parse([]policy.Source{{Name: "shop.yaml", Text: []byte(text)}})
	if len(problems) > 0 {
		tb.Fatal(problems)
	}
	s, problems := policy.Compile(docs, policy.Options{OnUnknownDomain: unknown})
	if len(problems) > 0 {
		tb.Fatal(problems)
	}
	return s
}

func gate(tb testing.TB, d api.Decider) *api.Gate {
	tb.Helper()
	var p atomic.Pointer[policy.Snapshot]
	p.Store(snapshot(tb, shop, 0))
	return &api.Gate{Policies: &p, Decider: d}
}

func wallClock() limiter.Instant { return limiter.Instant(time.Now().UnixNano()) }

// ask fills x: domain and one descriptor with key/value pairs.
func ask(x *api.Exchange, domain string, kv ...string) {
	x.Req.Domain = []byte(domain)
	x.Req.AddDescriptor()
	for i := 0; i < len(kv); i += 2 {
		x.Req.AddEntry([]byte(kv[i]), []byte(kv[i+1]))
	}
}

// decide gives every charge of c the same decision.
func decide(c *limiter.Call, d limiter.Decision) {
	for i := range c.Charges() {
		c.Charges()[i].Decision = d
	}
}

// A deciderFunc is a Decider.
type deciderFunc func(now limiter.Instant, c *limiter.Call) bool

func (f deciderFunc) Decide(now limiter.Instant, c *limiter.Call) bool { return f(now, c) }

// A keeper is a Decider that keeps all calls until the test takes them.
type keeper struct{ calls chan *limiter.Call }

func newKeeper() *keeper { return &keeper{make(chan *limiter.Call, 1024)} }

func (k *keeper) Decide(_ limiter.Instant, c *limiter.Call) bool {
	k.calls <- c
	return false
}

// A witness is an Observer that remembers verdicts.
type witness struct {
	mu   sync.Mutex
	seen []limiter.Verdict
}

func (w *witness) Observe(_ limiter.Instant, x *api.Exchange) {
	v, _ := x.Verdict()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, v)
}
