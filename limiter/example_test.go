package limiter_test

import (
	"fmt"
	"time"

	"github.com/headgate/headgate/limiter"
)

// A bucket of 2 that refills 10 a second: the third unit has to wait.
func ExampleLimit_Apply() {
	limit, err := limiter.NewLimit(limiter.Spec{
		Kind: limiter.KindRate, Amount: 10, Period: time.Second, Burst: 2,
	})
	if err != nil {
		panic(err)
	}
	var counter limiter.Counter
	now := limiter.Instant(1_700_000_000 * time.Second)
	for range 3 {
		d := limit.Apply(&counter, now, limiter.OpCharge, 1)
		fmt.Println(d.Verdict, "remaining", d.Remaining, "retry after", d.RetryAfter)
	}
	// Output:
	// allowed remaining 1 retry after 0s
	// allowed remaining 0 retry after 0s
	// denied remaining 0 retry after 100ms
}

// Every problem of a definition is reported at once.
func ExampleNewLimit() {
	_, err := limiter.NewLimit(limiter.Spec{Kind: limiter.KindRate, Period: time.Microsecond})
	fmt.Println(err)
	// Output:
	// limiter: Period=1µs: must be in [1ms, 8784h0m0s]
	// limiter: Amount=0: must be in [1, 31622400000000000], at most 1000000000 a second
}

// A request that brings its own limit needs no allocation: the call lends one.
func ExampleLimit_Init() {
	var call limiter.Call
	call.Reset()
	limit := call.Scratch()
	err := limit.Init(limiter.Spec{Kind: limiter.KindFixed, Amount: 100, Period: time.Minute})
	fmt.Println(err, call.Add(limiter.Charge{Limit: limit, Cost: 1}), limit.Capacity())
	// Output:
	// <nil> true 100
}

// A key stands for a limit and the values that were matched. Without the
// secret nobody can find another list of values with the same key.
func ExampleKeyHasher_Key() {
	hasher := limiter.NewKeyHasher([16]byte{0: 42})
	id := limiter.LimitID{0: 1}
	key := hasher.Key(limiter.AppendValue(id[:], []byte("203.0.113.195")))
	fmt.Println(key.Fingerprint())
	// Output:
	// 75dc7b0b57b46895
}

// Raising a limit keeps what was used.
func ExampleConvert() {
	window := func(amount uint64) *limiter.Limit {
		l, err := limiter.NewLimit(limiter.Spec{Kind: limiter.KindFixed, Amount: amount, Period: time.Hour})
		if err != nil {
			panic(err)
		}
		return l
	}
	before, after := window(100), window(150)
	var counter limiter.Counter
	now := limiter.Instant(1_700_000_000 * time.Second)
	before.Apply(&counter, now, limiter.OpCharge, 80)
	counter = limiter.Convert(counter, before, after, now)
	fmt.Println(after.Apply(&counter, now, limiter.OpPeek, 0).Remaining)
	// Output:
	// 70
}

// A call is denied if one of its enforced limits denies.
func ExampleCall_Verdict() {
	var call limiter.Call
	call.Add(limiter.Charge{Limit: &limiter.Limit{}, Decision: limiter.Decision{Verdict: limiter.Allowed}})
	call.Add(limiter.Charge{Limit: &limiter.Limit{}, Decision: limiter.Decision{
		Verdict: limiter.Denied, RetryAfter: 2 * time.Second,
	}})
	verdict, by := call.Verdict()
	fmt.Println(verdict, "by charge", by, "retry after", call.Charges()[by].Decision.RetryAfter)
	// Output:
	// denied by charge 1 retry after 2s
}

// A definition is saved beside the counters that it made.
func ExampleAppendSpec() {
	spec := limiter.Spec{Kind: limiter.KindRate, Domain: "shop", Name: "per-client", Amount: 100, Period: time.Second}
	b := limiter.AppendSpec(nil, &spec)
	got, rest, err := limiter.DecodeSpec(b)
	fmt.Println(len(b), "bytes,", got == spec, len(rest), err)
	// Output:
	// 51 bytes, true 0 <nil>
}
