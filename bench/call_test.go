package bench

import (
	"context"
	"errors"
	"io"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

// CheckStream answers each message in several, out of order. It shuts down as a
// server does that answers what it has taken.
func (f *fake) CheckStream(s headgatev1.DecisionService_CheckStreamServer) error {
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if f.streamEnd != nil {
			if err := f.streamEnd(); err != nil {
				return err
			}
		}
		if f.short {
			r.Checks = r.Checks[1:]
		}
		var parts [3]headgatev1.CheckStreamResponse
		for i, c := range r.Checks {
			part := &parts[i%3]
			one, err := f.Check(s.Context(), c.Check)
			switch {
			case err != nil:
				part.Answers = append(part.Answers, &headgatev1.StreamAnswer{
					Id: c.Id, Outcome: &headgatev1.StreamAnswer_Error{Error: &headgatev1.CheckError{Code: 5, Message: "?"}},
				})
			case one.Verdict == headgatev1.Verdict_VERDICT_ALLOWED:
				part.Allowed = append(part.Allowed, c.Id)
			default:
				part.Answers = append(part.Answers, &headgatev1.StreamAnswer{
					Outcome: &headgatev1.StreamAnswer_Response{Response: one}, Id: c.Id,
				})
			}
		}
		for i := range parts {
			if f.twice && i == 2 {
				parts[0].Allowed = append(parts[0].Allowed, parts[2].Allowed...)
			}
			if err := s.Send(&parts[2-i]); err != nil {
				return err
			}
		}
	}
}

// streaming is small with the protocol stream.
func streaming(target string) Config {
	c := small(target)
	c.Protocol, c.Batch = Stream, 70
	return c
}

// Every check of a stream is counted once, and as the server decided it.
func TestEachCheckOfAStreamIsAnsweredOnce(t *testing.T) {
	for _, tc := range []struct {
		name                   string
		batch, keys, in, conns int
	}{
		{"one check a message", 1, 100, 4, 2},
		{"a whole word", 64, 100, 4, 2},
		{"messages of several frames", 1000, 10_000, 3, 1},
		{"many messages", 16, 100, 500, 2},
		{"one message at a time", 70, 100, 1, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &fake{answer: func(_ context.Context, value string) (bool, error) {
				switch value[len(value)-1] {
				case '3':
					return true, nil
				case '7':
					return false, status.Error(codes.NotFound, "?")
				default:
					return false, nil
				}
			}}
			c := streaming(start(t, f))
			c.Batch, c.Keys, c.InFlight, c.Connections = tc.batch, tc.keys, tc.in, tc.conns
			r := mustRun(t, c)
			want := Verdict{OK: uint64(f.ok.Load()), OverLimit: uint64(f.over.Load())}
			failed := uint64(f.failed.Load())
			if r.Verdicts != want || r.Errors["NOT_FOUND"] != failed || len(r.TransportErrors) != 0 || len(r.Warnings) != 0 {
				t.Errorf("verdicts %+v, errors %v, transport errors %v, %v; want %+v and %d not found",
					r.Verdicts, r.Errors, r.TransportErrors, r.Warnings, want, failed)
			}
			if want.OK == 0 || want.OverLimit == 0 && tc.batch > 1 {
				t.Errorf("the server said %+v", want)
			}
			if n := r.Verdicts.OK + r.Verdicts.OverLimit + failed; n != r.Requests*uint64(tc.batch) {
				t.Errorf("%d checks in %d messages of %d", n, r.Requests, tc.batch)
			}
		})
	}
}

func TestAStreamThatAnswersWronglyIsAFault(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		f          *fake
	}{
		{"a check twice", "bad_response", &fake{twice: true}},
		{"a check not at all", "timeout", &fake{short: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := streaming(start(t, tc.f))
			c.Duration, c.DrainTimeout = 50*time.Millisecond, 50*time.Millisecond
			r := mustRun(t, c)
			if n := r.TransportErrors[tc.want]; n == 0 || n%70 != 0 {
				t.Errorf("transport errors %v, want %s for whole messages", r.TransportErrors, tc.want)
			}
		})
	}
}

// What a stream that ends with UNAVAILABLE has not answered is sent again; any
// other status is the messages'.
func TestAStreamThatEndsIsReplaced(t *testing.T) {
	for _, code := range []codes.Code{codes.Unavailable, codes.InvalidArgument} {
		t.Run(code.String(), func(t *testing.T) {
			var n atomic.Int64
			f := &fake{streamEnd: func() error {
				if n.Add(1)%50 == 0 {
					return status.Error(code, "over")
				}
				return nil
			}}
			r := mustRun(t, streaming(start(t, f)))
			if r.Reconnects == 0 || r.Verdicts.OK != uint64(f.ok.Load()) {
				t.Errorf("%d reconnects, %d verdicts, the server gave %d", r.Reconnects, r.Verdicts.OK, f.ok.Load())
			}
			got := maps.Clone(r.Errors)
			delete(got, "INVALID_ARGUMENT")
			if len(got) != 0 || (r.Errors["INVALID_ARGUMENT"] != 0) != (code == codes.InvalidArgument) || len(r.TransportErrors) != 0 {
				t.Errorf("errors %v, transport errors %v", r.Errors, r.TransportErrors)
			}
		})
	}
}

// A server that goes away gets our END_STREAM, answers what it has, and loses
// nothing.
func TestAStreamFollowsGoAway(t *testing.T) {
	p := &port{Listener: listen(t)}
	first, second := &fake{}, &fake{}
	a, b := newServer(first), newServer(second)
	var wg sync.WaitGroup
	doorA, doorB := p.next(), p.next()
	p.current = doorA
	wg.Go(p.forward)
	wg.Go(func() { serve(t, a, doorA) })
	wg.Go(func() { serve(t, b, doorB) })
	time.AfterFunc(100*time.Millisecond, func() {
		p.mu.Lock()
		p.current = doorB
		p.mu.Unlock()
		a.GracefulStop()
	})
	r := mustRun(t, streaming(p.Addr().String()))
	checkClean(t, r)
	p.Close()
	a.Stop()
	b.Stop()
	wg.Wait()
	if n := first.ok.Load() + second.ok.Load(); r.Verdicts.OK != uint64(n) || r.GoAways == 0 || second.ok.Load() == 0 {
		t.Errorf("%d verdicts, the servers gave %d and %d; %d GOAWAYs", r.Verdicts.OK, first.ok.Load(), second.ok.Load(), r.GoAways)
	}
}

func TestIDsOfAStream(t *testing.T) {
	for _, tc := range []struct{ batch, inFlight, width int }{
		{1, 1, 2}, {16, 32, 2}, {1000, 4, 2}, {1000, 32, 3}, {1000, 65_536, 4},
	} {
		c := Default()
		c.Protocol, c.Batch, c.InFlight = Stream, tc.batch, tc.inFlight
		w, err := newWorkload(&c)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[uint64]bool{}
		for _, place := range []int{0, placesFor(tc.inFlight) - 1} {
			body := w.appendBody(nil, newKeyGenerator(&c, w.keys, 0))
			w.ids.put(body, place)
			var got headgatev1.CheckStreamRequest
			if err := proto.Unmarshal(message(t, body), &got); err != nil {
				t.Fatal(err)
			}
			for i, check := range got.Checks {
				if want := w.ids.base + uint64(place)<<w.ids.shift + uint64(i); check.Id != want || seen[want] {
					t.Fatalf("%+v, place %d: check %d has id %d, want %d", tc, place, i, check.Id, want)
				}
				seen[check.Id] = true
			}
		}
		if len(seen) != 2*tc.batch || w.ids.width != tc.width {
			t.Errorf("%+v: %d ids of %d bytes", tc, len(seen), w.ids.width)
		}
	}
}

// streamOffline returns a connection with a call that has messages in flight.
func streamOffline(tb testing.TB, r io.Reader, messages int) *conn {
	tb.Helper()
	cfg := streaming("127.0.0.1:1")
	cfg.Duration = time.Hour
	c := offlineWith(tb, r, &cfg)
	c.streamWindow = 1 << 40
	for range messages {
		c.open(0, 0)
	}
	return c
}

// FuzzAnswers sends arbitrary bytes as an answer to a call with messages in
// flight.
func FuzzAnswers(f *testing.F) {
	for _, m := range []*headgatev1.CheckStreamResponse{
		{Allowed: []uint64{128, 129, 130}},
		{Answers: []*headgatev1.StreamAnswer{{Id: 131}}, PolicyVersion: 7},
		{Allowed: []uint64{1 << 63}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := streamOffline(t, nil, 4)
		c.l.mu.Lock()
		defer c.l.mu.Unlock()
		var want headgatev1.CheckStreamResponse
		valid := proto.Unmarshal(b, &want) == nil
		ok := c.onAnswers(b)
		left, verdicts := 0, 0
		for i := range c.streams {
			if s := &c.streams[i]; s.id != 0 {
				left += s.asked.left
				verdicts += s.outcome.answered()
			}
		}
		for _, n := range c.l.tallies {
			verdicts += int(n.verdicts() + n.errors())
		}
		if verdicts+left != 4*70 && ok {
			t.Errorf("%d answered and %d not, of %d", verdicts, left, 4*70)
		}
		if n := len(want.Allowed) + len(want.Answers); ok && valid && verdicts != n {
			t.Errorf("%d answered, the message has %d", verdicts, n)
		}
		c.end(nil)
		if c.active != 0 || c.l.active != 0 {
			t.Errorf("%d and %d in flight after the end", c.active, c.l.active)
		}
	})
}

func TestAMessageOfAStreamAllocatesNothing(t *testing.T) {
	c := streamOffline(t, nil, 0)
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	var frame []byte
	once := func() { frame = roundTrip(t, c, frame) }
	for range 100 {
		once()
	}
	if n := testing.AllocsPerRun(1000, once); n != 0 {
		t.Errorf("%v allocations a message", n)
	}
	if got := c.l.tallies[1]; got.ok != 70*got.requests || got.requests != 1101 {
		t.Errorf("tally %+v", got)
	}
}

// roundTrip sends a message and answers it.
func roundTrip(tb testing.TB, c *conn, frame []byte) []byte {
	tb.Helper()
	id := c.nextID
	c.open(0, 0)
	c.flush()
	ids := c.l.workload.ids
	first := ids.base + uint64(c.place(id))<<ids.shift
	frame = append(frame[:0], 0, 0, 0, 0, 0, 0x0a, 0, 0)
	for i := range uint64(70) {
		for v := first + i; ; v >>= 7 {
			if v < 0x80 {
				frame = append(frame, byte(v))
				break
			}
			frame = append(frame, byte(v)|0x80)
		}
	}
	n := len(frame) - 8
	frame[4], frame[6], frame[7] = byte(n+3), byte(n)|0x80, byte(n>>7)
	if err := c.onCallData(frameHeader{kind: http2.FrameData, stream: 1}, frame); err != nil || c.active != 0 {
		tb.Fatalf("%v, %d in flight", err, c.active)
	}
	return frame
}

func BenchmarkStreamMessage(b *testing.B) {
	c := streamOffline(b, nil, 0)
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	var frame []byte
	b.ReportAllocs()
	for b.Loop() {
		frame = roundTrip(b, c, frame)
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/70, "ns/check")
}
