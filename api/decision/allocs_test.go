//go:build !race

// The race detector makes sync.Pool forget at random.

package decision_test

import (
	"context"
	"testing"

	"github.com/headgate/headgate/api/decision"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
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
	many := func() {
		b, err := s.BeginBatch(in)
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
