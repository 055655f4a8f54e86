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
