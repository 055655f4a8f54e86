package gubernator

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"pgregory.net/rapid"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/batch"
	"github.com/headgate/headgate/internal/apitest"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

const services = `domain: services
gubernator: {max_limit: 1000, max_duration: 366d, max_burst: 2000}
`

// noon is on the hour, in milliseconds.
const noon = int64(1_795_392_000_000 / 3_600_000 * 3_600_000)

// A bench is a service over a real policy and table, whose clock the test sets.
type bench struct {
	batches *batch.Service
	now     limiter.Instant
}

func newBench(tb testing.TB, text string, change func(*policy.Snapshot) *policy.Snapshot) *bench {
	tb.Helper()
	gate := apitest.Gate(tb, text, policy.Options{}, nil)
	if change != nil {
		gate.Policies.Store(change(gate.Policies.Load()))
	}
	b := &bench{now: limiter.Instant(noon * 1e6)}
	s := Service{
		Desk:   api.NewDesk(gate, func() limiter.Instant { return b.now }, time.Second),
		Bounds: api.DefaultBounds(),
	}
	b.batches = s.Batches()
	return b
}

// A request is a RateLimitReq: a window of 10 a minute unless it says otherwise.
type request struct {
	name, key                    string
	hits, limit, duration, burst int64
	createdAt                    int64
	algorithm, behavior          int
}

func (r request) wire() []byte {
	return wireOf(1, r.name, 2, r.key, 3, int(r.hits), 4, int(r.limit), 5, int(r.duration), 6, r.algorithm, 7, r.behavior, 8, int(r.burst), 10, int(r.createdAt))
}

func window(hits int64) request {
	return request{name: "logins", key: "ann", hits: hits, limit: 10, duration: 60_000}
}

func leaky(hits int64) request {
	r := window(hits)
	r.algorithm = leakyBucket
	return r
}

func (r request) with(change func(*request)) request {
	change(&r)
	return r
}

func (r request) does(behavior int) request { r.behavior |= behavior; return r }

// An answer is a RateLimitResp.
type answer struct {
	over                    bool
	limit, remaining, reset int64 // reset in ms since noon
	err                     string
	degraded                string
}

// ask returns the answers of one batch.
func (b *bench) ask(tb testing.TB, shed bool, requests ...request) []answer {
	tb.Helper()
	var in []byte
	for _, r := range requests {
		in = append(in, wireOf(1, r.wire())...)
	}
	bt, err := b.batches.Begin(in)
	if err != nil {
		tb.Fatal(err)
	}
	bt.Shed = shed
	if !bt.Decide(b.now) {
		tb.Fatal("a table never takes its time")
	}
	defer bt.Close()
	return answersOf(tb, bt.Append(nil))
}

func answersOf(tb testing.TB, b []byte) []answer {
	tb.Helper()
	kind := Schema().Messages().ByName("GetRateLimitsResp")
	m := dynamicpb.NewMessage(kind)
	if err := proto.Unmarshal(b, m); err != nil {
		tb.Fatal(err)
	}
	list := m.Get(kind.Fields().ByName("responses")).List()
	answers := make([]answer, list.Len())
	for i := range answers {
		r := list.Get(i).Message()
		fields := r.Descriptor().Fields()
		answers[i] = answer{
			over: r.Get(fields.ByName("status")).Enum() == overLimit, limit: r.Get(fields.ByName("limit")).Int(),
			remaining: r.Get(fields.ByName("remaining")).Int(), err: r.Get(fields.ByName("error")).String(),
		}
		if at := r.Get(fields.ByName("reset_time")).Int(); at != 0 {
			answers[i].reset = at - noon
		}
		key := fields.ByName("metadata")
		if v := r.Get(key).Map().Get(protoreflect.ValueOfString(metadataDegraded).MapKey()); v.IsValid() {
			answers[i].degraded = v.String()
		}
	}
	return answers
}

// A step is one request at a moment, in ms since noon.
type step struct {
	at   int64
	ask  request
	want answer
}

func under(limit, remaining, reset int64) answer {
	return answer{limit: limit, remaining: remaining, reset: reset}
}

func over(limit, remaining, reset int64) answer {
	return answer{over: true, limit: limit, remaining: remaining, reset: reset}
}

func TestTokenBuckets(t *testing.T) {
	raised := func(r *request) { r.limit = 12 }
	lowered := func(r *request) { r.limit = 4 }
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"a bucket is full again when its duration is over, and not before", []step{
			{0, window(4), under(10, 6, 60_000)},
			{30_000, window(6), under(10, 0, 60_000)},
			{59_999, window(1), over(10, 0, 60_000)},
			{60_000, window(1), under(10, 9, 120_000)},
		}},
		{"what does not fit takes nothing", []step{
			{0, window(7), under(10, 3, 60_000)},
			{0, window(4), over(10, 3, 60_000)},
			{0, window(3), under(10, 0, 60_000)},
		}},
		{"more than the limit never fits", []step{
			{0, window(11), over(10, 10, 60_000)},
			{0, window(math.MaxInt64), over(10, 10, 60_000)},
		}},
		{"no hits only look", []step{
			{0, window(0), under(10, 10, 60_000)},
			{1_000, window(10), under(10, 0, 61_000)},
			{1_000, window(0), over(10, 0, 61_000)},
		}},
		{"negative hits give back, at most what was taken", []step{
			{0, window(5), under(10, 5, 60_000)},
			{0, window(-2), under(10, 7, 60_000)},
			{0, window(math.MinInt64), under(10, 10, 60_000)},
		}},
		{"another limit keeps what was taken", []step{
			{0, window(6), under(10, 4, 60_000)},
			{0, window(1).with(raised), under(12, 5, 60_000)},
			{0, window(1).with(lowered), over(4, 0, 60_000)},
			{0, window(1), under(10, 2, 60_000)},
		}},
		{"a shorter duration ends at most that much later", []step{
			{0, window(6), under(10, 4, 60_000)},
			{10_000, window(1).with(func(r *request) { r.duration = 5_000 }), under(10, 3, 15_000)},
			{15_000, window(1).with(func(r *request) { r.duration = 5_000 }), under(10, 9, 20_000)},
		}},
		{"a limit of 0 lets nothing pass", []step{
			{0, window(1).with(func(r *request) { r.limit = 0 }), over(0, 0, 60_000)},
		}},
		{"DRAIN_OVER_LIMIT takes what is left", []step{
			{0, window(7), under(10, 3, 60_000)},
			{0, window(4).does(drainOver), over(10, 0, 60_000)},
			{0, window(-1), under(10, 1, 60_000)},
		}},
		{"RESET_REMAINING forgets what was taken and takes nothing", []step{
			{0, window(7), under(10, 3, 60_000)},
			{0, window(4).does(reset), under(10, 10, 0)},
			{5_000, window(1), under(10, 9, 65_000)},
		}},
		{"DURATION_IS_GREGORIAN ends with the hour", []step{
			{600_000, window(3).with(func(r *request) { r.duration = 1 }).does(gregorian), under(10, 7, 3_600_000)},
			{3_599_999, window(7).with(func(r *request) { r.duration = 1 }).does(gregorian), under(10, 0, 3_600_000)},
			{3_600_000, window(1).with(func(r *request) { r.duration = 1 }).does(gregorian), under(10, 9, 7_200_000)},
		}},
		{"what only says how Gubernator counts changes nothing", []step{
			{0, window(3).does(noBatching | global | multiRegion), under(10, 7, 60_000)},
			{0, window(3), under(10, 4, 60_000)},
		}},
		{"another name, another key or another algorithm is another bucket", []step{
			{0, window(3), under(10, 7, 60_000)},
			{0, window(3).with(func(r *request) { r.name = "logi"; r.key = "nsann" }), under(10, 7, 60_000)},
			{0, window(3).with(func(r *request) { r.key = "bob" }), under(10, 7, 60_000)},
			{0, leaky(3), under(10, 7, 18_000)},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { play(t, tt.steps) })
	}
}

func play(t *testing.T, steps []step) {
	t.Helper()
	b := newBench(t, services, nil)
	for i, s := range steps {
		b.now = limiter.Instant((noon + s.at) * 1e6)
		if got := b.ask(t, false, s.ask)[0]; got != s.want {
			t.Errorf("step %d, %+v:\n got %+v\nwant %+v", i, s.ask, got, s.want)
		}
	}
}

func TestLeakyBuckets(t *testing.T) {
	burst := func(n int64) func(*request) { return func(r *request) { r.burst = n } }
	hourly := func(r *request) { r.duration = 1 }
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"a bucket leaks one hit each duration ÷ limit", []step{
			{0, leaky(10), under(10, 0, 60_000)},
			{5_999, leaky(1), over(10, 0, 60_000)},
			{6_000, leaky(1), under(10, 0, 66_000)},
			{18_000, leaky(3), over(10, 2, 66_000)},
			{18_000, leaky(0), under(10, 2, 66_000)},
		}},
		{"a burst is what fits at once", []step{
			{0, leaky(15).with(burst(15)), under(10, 0, 90_000)},
			{6_000, leaky(2).with(burst(15)), over(10, 1, 90_000)},
		}},
		{"negative hits give back, at most what was taken", []step{
			{0, leaky(5), under(10, 5, 30_000)},
			{0, leaky(-2), under(10, 7, 18_000)},
			{0, leaky(-9), under(10, 10, 0)},
		}},
		{"DRAIN_OVER_LIMIT takes what is left", []step{
			{0, leaky(7), under(10, 3, 42_000)},
			{0, leaky(4).does(drainOver), over(10, 0, 60_000)},
		}},
		{"RESET_REMAINING fills the bucket and then takes", []step{
			{0, leaky(10), under(10, 0, 60_000)},
			{0, leaky(4).does(reset), under(10, 6, 24_000)},
		}},
		{"another limit keeps the part that was taken", []step{
			{0, leaky(5), under(10, 5, 30_000)},
			{0, leaky(0).with(func(r *request) { r.limit = 100 }), under(100, 50, 30_000)},
		}},
		{"DURATION_IS_GREGORIAN leaks over the hour and is full when it ends", []step{
			{3_000_000, leaky(10).with(hourly).does(gregorian), under(10, 0, 6_600_000)},
			{3_360_000, leaky(1).with(hourly).does(gregorian), under(10, 0, 6_960_000)},
			{3_600_000, leaky(10).with(hourly).does(gregorian), under(10, 0, 7_200_000)},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { play(t, tt.steps) })
	}
}

// TestWhatCantBeCarriedIsAnError holds that nothing is decided otherwise than asked
// without a word; the other items of a batch are decided.
func TestWhatCantBeCarriedIsAnError(t *testing.T) {
	for _, tt := range []struct {
		ask  request
		want string
	}{
		{window(1).with(func(r *request) { r.name = "" }), "name: must not be empty"},
		{window(1).with(func(r *request) { r.key = "" }), "unique_key: must not be empty"},
		{window(1).with(func(r *request) { r.name = strings.Repeat("n", 257) }), "name: 257 bytes: at most 256 bytes"},
		{window(1).with(func(r *request) { r.key = strings.Repeat("k", 4097) }), "unique_key: 4097 bytes: at most 4096 bytes"},
		{window(1).with(func(r *request) { r.name = "\xff" }), "name: must be valid UTF-8"},
		{window(1).with(func(r *request) { r.algorithm = 2 }), "algorithm: 2: must be TOKEN_BUCKET (0) or LEAKY_BUCKET (1)"},
		{window(1).does(64), "behavior: 64: has bits that are not known"},
		{window(1).with(func(r *request) { r.limit = -1 }), "limit: -1: at least 0"},
		{window(1).with(func(r *request) { r.limit = 1001 }), `limit: 1001: at most 1000, says the policy of domain "services"`},
		{window(1).with(func(r *request) { r.duration = 0 }), "duration: 0: in [1, 31622400000] milliseconds"},
		{window(1).with(func(r *request) { r.duration = math.MaxInt64 }), "duration: 9223372036854775807: in [1, 31622400000] milliseconds"},
		{window(1).does(gregorian), "duration: 60000: must be minutes (0), hours (1), days (2), months (4) or years (5) with DURATION_IS_GREGORIAN"},
		{window(1).does(gregorian).with(func(r *request) { r.duration = 3 }), "duration: 3: must be minutes (0), hours (1), days (2), months (4) or years (5) with DURATION_IS_GREGORIAN"},
		{leaky(1).with(func(r *request) { r.limit = 0 }), "limit: 0: in [1, 60000000000], at most 1000000000 a second"},
		{leaky(1).with(func(r *request) { r.burst = -1 }), "burst: -1: at least 0"},
		{leaky(1).with(func(r *request) { r.burst = 2001 }), `burst: 2001: at most 2000, says the policy of domain "services"`},
		{window(1).with(func(r *request) { r.createdAt = noon - 10_001 }), fmt.Sprintf("created_at: %d: within 10s of the node's clock, which decides", noon-10_001)},
		{window(1).with(func(r *request) { r.createdAt = noon + 10_001 }), fmt.Sprintf("created_at: %d: within 10s of the node's clock, which decides", noon+10_001)},
	} {
		b := newBench(t, services, nil)
		got := b.ask(t, false, tt.ask, window(1))
		if got[0] != (answer{err: tt.want}) || got[1] != under(10, 9, 60_000) {
			t.Errorf("%+v: got %+v, want %s", tt.ask, got, tt.want)
		}
	}
	b := newBench(t, "domain: shop\n", nil)
	if got := b.ask(t, false, window(1))[0].err; got != `name: "logins": no domain takes limits of this name from requests` {
		t.Errorf("without a policy: %s", got)
	}
	in := wireOf(1, "\x0a\x05")
	bt, err := newBench(t, services, nil).batches.Begin(in)
	if err != nil {
		t.Fatal(err)
	}
	bt.Decide(limiter.Instant(noon * 1e6))
	if got := answersOf(t, bt.Append(nil)); got[0].err != "request: must be a valid protobuf message" {
		t.Errorf("got %+v", got)
	}
}

func TestRequestsThatAreRefusedWhole(t *testing.T) {
	b := newBench(t, services, nil)
	for name, tt := range map[string]struct {
		in   []byte
		want string
	}{
		"no message":     {[]byte{0x0a, 0x05}, "message: must be a valid protobuf message"},
		"too many":       {[]byte(strings.Repeat("\x0a\x00", 1001)), "requests: 1001: at most 1000"},
		"too many bytes": {make([]byte, 1<<20+1), "message: 1048577 bytes: at most 1048576 bytes"},
	} {
		if _, err := b.batches.Begin(tt.in); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := b.ask(t, false); len(got) != 0 {
		t.Errorf("no requests: %+v", got)
	}
}

func TestModesAndShedding(t *testing.T) {
	in := func(m policy.Mode) func(*policy.Snapshot) *policy.Snapshot {
		return func(s *policy.Snapshot) *policy.Snapshot {
			return s.WithModes(map[string]policy.Mode{"services": m})
		}
	}
	if got := newBench(t, services, in(policy.ModeShadow)).ask(t, false, window(10), window(1)); got[1] != under(10, 0, 60_000) {
		t.Errorf("shadow: %+v", got)
	}
	if got := newBench(t, services, in(policy.ModeOff)).ask(t, false, window(10), window(1)); got[1] != under(10, 10, 60_000) {
		t.Errorf("off: %+v", got)
	}
	want := answer{limit: 10, reset: 60_000, degraded: "overload"}
	if got := newBench(t, services, nil).ask(t, true, window(10)); got[0] != want {
		t.Errorf("shed: %+v", got)
	}
}

// TestWindowsAgreeWithADumbModel plays random hits against what the guide promises.
func TestWindowsAgreeWithADumbModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBench(t, services, nil)
		var end, used int64
		at := int64(0)
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			at += rapid.SampledFrom([]int64{0, 1, 20_000, 59_999, 60_000}).Draw(rt, "later")
			b.now = limiter.Instant((noon + at) * 1e6)
			r := window(rapid.Int64Range(-3, 12).Draw(rt, "hits")).with(func(r *request) { r.limit = rapid.Int64Range(0, 12).Draw(rt, "limit") })
			if at >= end {
				used = 0
			}
			want := answer{limit: r.limit}
			switch {
			case r.hits < 0:
				used = max(0, used+r.hits)
			case used+max(r.hits, 1) > r.limit:
				want.over = true
			case r.hits > 0:
				if used == 0 {
					end = at + r.duration
				}
				used += r.hits
			}
			want.remaining, want.reset = max(0, r.limit-used), at+r.duration
			if used > 0 {
				want.reset = end
			}
			if got := b.ask(t, false, r)[0]; got != want {
				rt.Fatalf("%+v at %d: got %+v, want %+v", r, at, got, want)
			}
		}
	})
}
