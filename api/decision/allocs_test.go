//go:build !race

// The race detector makes sync.Pool forget at random.

package decision_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/decision"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/policy"
)

func TestNoAllocationFromBytesToAnswer(t *testing.T) {
	s := newService(t, nil, 0).Service
	one := request("user", "u", "remote_address", "127.0.0.1")
	in, ctx := marshal(t, one), t.Context()
	check := func() {
		x := s.Desk.Open()
		x.In = append(x.In, in...)
		x, err := serve(ctx, s, x, decision.Decode)
		if err != nil || len(x.Out) == 0 {
			t.Fatal(err)
		}
		s.Desk.Close(x)
	}
	for range 100 { // exchanges, and their room
		check()
	}
	if n := testing.AllocsPerRun(1000, check); n != 0 {
		t.Errorf("a check: %v allocations", n)
	}

	batch := &headgatev1.CheckBatchRequest{}
	for range 100 {
		batch.Checks = append(batch.Checks, one)
	}
	in = marshal(t, batch)
	var out []byte
	batches := s.Batches()
	many := func() {
		b, err := batches.Begin(in)
		if err != nil || !b.Decide(s.Desk.Now()) {
			t.Fatal(err)
		}
		out = b.Append(out[:0])
		b.Close()
	}
	for range 100 {
		many()
	}
	if n := testing.AllocsPerRun(1000, many); n != 0 {
		t.Errorf("a batch: %v allocations", n)
	}
}

func TestSlotsAllocateNothing(t *testing.T) {
	s := newService(t, nil, 0).Service
	slots := &headgatev1.RenewRequest{Domain: "shop", Id: []byte("call 1"), Lifetime: durationpb.New(time.Second)}
	slots.Attributes = append(slots.Attributes, &headgatev1.Attribute{Key: "job", Value: "j"})
	in, ctx := marshal(t, slots), t.Context() // an AcquireRequest, too, and of a ReleaseRequest all but a field
	held := 0
	round := func() {
		for i, decode := range []func([]byte, *api.Bounds, *policy.Request) (bool, error){
			decision.DecodeAcquire, decision.DecodeRenew, decision.DecodeRelease,
		} {
			x := s.Desk.Open()
			if _, err := decode(in, &s.Bounds, &x.Req); err != nil {
				t.Fatal(err)
			}
			x = s.Desk.Decide(ctx, x)
			switch i {
			case 0:
				x.Out = decision.Append(x.Out[:0], x, false)
			case 1:
				x.Out = decision.AppendRenewed(x.Out[:0], x)
				held += int(x.Out[1]) // field 1, held
			default:
				x.Out = decision.AppendReleased(x.Out[:0], x)
			}
			s.Desk.Close(x)
		}
	}
	for range 100 {
		round()
	}
	if n := testing.AllocsPerRun(1000, round); n != 0 || held != 1101 {
		t.Errorf("%v allocations; %d of 1101 slots were held when they were renewed", n, held)
	}
}

func TestAStreamsMessageAllocatesNothing(t *testing.T) {
	s := newService(t, nil, 0).Service
	p := &player{message: marshal(t, streamRequest(100))}
	st := s.NewStream(p)
	play := func() {
		p.left = 1
		if err := st.Read(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		play()
	}
	if n := testing.AllocsPerRun(1000, play); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if p.sent < 1000 || len(p.out) == 0 {
		t.Errorf("%d messages sent, the last one of %d bytes", p.sent, len(p.out))
	}
}
