package batch_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/batch"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

const shop = `
domain: shop
limits:
  - {by: [user], rate: 10/s, on_unavailable: deny}
`

// A keeper keeps every other call until it is asked for it; the others it allows.
type keeper struct {
	n    int
	kept []*limiter.Call
}

func (k *keeper) Decide(_ limiter.Instant, c *limiter.Call) bool {
	c.Charges()[0].Decision.Verdict = limiter.Allowed
	k.n++
	if k.n%2 == 1 {
		return true
	}
	k.kept = append(k.kept, c)
	return false
}

// newService returns a service whose items are the names of users, which it answers
// with, and what became of them.
func newService(t *testing.T, d api.Decider) *batch.Service {
	t.Helper()
	docs, problems := policy.Parse([]policy.Source{{Name: "shop.yaml", Text: []byte(shop)}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	snapshot, problems := policy.Compile(docs, policy.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var p atomic.Pointer[policy.Snapshot]
	p.Store(snapshot)
	now := func() limiter.Instant { return 5 }
	return &batch.Service{
		Desk: api.NewDesk(&api.Gate{Policies: &p, Decider: d}, now, time.Second), MessageBytes: 1000, Items: 40, Field: "users",
		Decode: func(_ limiter.Instant, item []byte, x *api.Exchange) error {
			if len(item) == 0 {
				return &api.Fault{Reason: api.Malformed, Field: "user", Bound: "must not be empty"}
			}
			x.Req.Domain = []byte("shop")
			x.Req.AddDescriptor()
			x.Req.AddEntry([]byte("user"), item)
			return nil
		},
		Append: func(dst []byte, _ limiter.Instant, x *api.Exchange, err error) []byte {
			if err != nil {
				return append(dst, err.Error()...)
			}
			v, _ := x.Verdict()
			dst = append(dst, x.Req.Descriptors()[0].Entries[0].Value...)
			return append(append(dst, ' '), v.String()...)
		},
	}
}

func message(users ...string) (b []byte) {
	for _, u := range users {
		b = protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), u)
	}
	return b
}

// answers returns the items of a response.
func answers(t *testing.T, b []byte) string {
	t.Helper()
	var items []string
	for len(b) > 0 {
		_, _, n := protowire.ConsumeTag(b)
		v, m := protowire.ConsumeString(b[n:])
		if n < 0 || m < 0 {
			t.Fatalf("%x is no message", b)
		}
		items = append(items, v)
		b = b[n+m:]
	}
	return strings.Join(items, ", ")
}

func TestItemsAreAnsweredInOrderThoughTheirDeciderTakesItsTime(t *testing.T) {
	k := &keeper{}
	s := newService(t, k)
	in := message("a", "b", "", "c", "d")
	b, err := s.Begin(in)
	if err != nil {
		t.Fatal(err)
	}
	finished := 0
	b.Finished = func(*batch.Batch) { finished++ }
	if b.Decide(5) {
		t.Fatal("done, while two calls are kept")
	}
	clear(in) // it is the next request's
	k.kept[1].Finish()
	k.kept[0].Finish()
	if got := answers(t, b.Append(nil)); finished != 1 || got != "a allowed, b allowed, user: must not be empty, c allowed, d allowed" {
		t.Errorf("finished %d times: %s", finished, got)
	}
	b.Close()
	if got := s.Desk.Faults(); got != 1 {
		t.Errorf("%d faults", got)
	}
}

func TestALateItemIsDecidedByOnUnavailable(t *testing.T) {
	k := &keeper{}
	b, err := newService(t, k).Begin(message("a", "b", "c"))
	if err != nil {
		t.Fatal(err)
	}
	b.Finished = func(*batch.Batch) { t.Error("finished after it expired") }
	if b.Decide(5) || !b.Expire() {
		t.Fatal("there was nothing to wait for")
	}
	k.kept[0].Finish()
	if got := answers(t, b.Append(nil)); got != "a allowed, b denied, c allowed" {
		t.Error(got)
	}
	b.Close()
}

func TestWhatIsNoBatchIsRefusedWhole(t *testing.T) {
	s := newService(t, &keeper{})
	for name, tt := range map[string]struct {
		in   []byte
		want string
	}{
		"too many items":             {message(make([]string, 41)...), "users: 41: at most 40"},
		"too many bytes":             {make([]byte, 1001), "message: 1001 bytes: at most 1000 bytes"},
		"no message":                 {[]byte{0x0a, 0x05}, "message: must be a valid protobuf message"},
		"a field that has no number": {[]byte{0x00, 0x05}, "message: must be a valid protobuf message"},
	} {
		if _, err := s.Begin(tt.in); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
