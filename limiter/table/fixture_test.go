package table_test

import (
	"encoding/binary"
	"hash/fnv"
	"testing"
	"time"

	"github.com/headgate/headgate/limiter"
)

// start is a moment on a second's boundary, in 2026.
const start = limiter.Instant(1_790_000_000_000_000_000)

// limit returns the limit of s with the identity that domain and name give it
// and a DefHash of the rest.
func limit(tb testing.TB, s limiter.Spec) *limiter.Limit {
	tb.Helper()
	h := fnv.New128a()
	h.Write([]byte(s.Domain + "\x00" + s.Name))
	h.Sum(s.ID[:0])
	def := fnv.New64a()
	def.Write(limiter.AppendSpec(nil, &s))
	s.Def = limiter.DefHash(binary.LittleEndian.Uint64(def.Sum(nil)))
	l, err := limiter.NewLimit(s)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func rate(tb testing.TB, domain, name string, amount uint64, period time.Duration) *limiter.Limit {
	tb.Helper()
	return limit(tb, limiter.Spec{Domain: domain, Name: name, Kind: limiter.KindRate, Amount: amount, Period: period})
}

func window(tb testing.TB, domain, name string, amount uint64, period time.Duration) *limiter.Limit {
	tb.Helper()
	return limit(tb, limiter.Spec{Domain: domain, Name: name, Kind: limiter.KindFixed, Amount: amount, Period: period})
}

// standIn returns the limit that stands for those that requests of a domain carry.
func standIn(tb testing.TB, domain string) *limiter.Limit {
	tb.Helper()
	return limit(tb, limiter.Spec{Domain: domain, Name: "carried", Kind: limiter.KindFixed, Period: time.Second, Carried: true})
}

// carried returns a limit as a request carries it, after its stand-in was installed.
func carried(tb testing.TB, stands *limiter.Limit, amount uint64, period time.Duration) *limiter.Limit {
	tb.Helper()
	s := stands.Spec
	s.Amount, s.Period = amount, period
	l, err := limiter.NewLimit(s)
	if err != nil {
		tb.Fatal(err)
	}
	l.Ref = stands.Ref
	return l
}
