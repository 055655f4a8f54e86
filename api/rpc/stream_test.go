package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that bytesCodec wraps
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/headgate/headgate/api/decision"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/limiter"
)

type checkStream = grpc.BidiStreamingClient[headgatev1.CheckStreamRequest, headgatev1.CheckStreamResponse]

func openStream(t *testing.T, addr string) checkStream {
	t.Helper()
	stream, err := connect(t, addr).decision.CheckStream(brief(t))
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// checks is a message of one check for each id.
func checks(req *headgatev1.CheckRequest, ids ...uint64) *headgatev1.CheckStreamRequest {
	m := &headgatev1.CheckStreamRequest{}
	for _, id := range ids {
		m.Checks = append(m.Checks, &headgatev1.StreamCheck{Id: id, Check: req})
	}
	return m
}

func upTo(from, to uint64) []uint64 {
	var ids []uint64
	for id := from; id < to; id++ {
		ids = append(ids, id)
	}
	return ids
}

func send(t *testing.T, stream checkStream, ms ...*headgatev1.CheckStreamRequest) {
	t.Helper()
	for _, m := range ms {
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
}

// collect receives until the stream ends, and returns each answer in short, and
// how it ended. It fails on an id with two answers.
func collect(t *testing.T, stream checkStream) (map[uint64]string, error) {
	t.Helper()
	got := map[uint64]string{}
	put := func(id uint64, answer string) {
		if got[id] != "" {
			t.Errorf("check %d is answered twice: %s, %s", id, got[id], answer)
		}
		got[id] = answer
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return got, err
		}
		for _, id := range m.GetAllowed() {
			put(id, "passes")
		}
		for _, a := range m.GetAnswers() {
			r := a.GetResponse()
			switch {
			case a.GetError() != nil:
				put(a.GetId(), fmt.Sprint(codes.Code(a.GetError().GetCode()), " ", a.GetError().GetMessage()))
			case r.GetDegraded() != 0:
				put(a.GetId(), r.GetVerdict().String()+" "+r.GetDegraded().String())
			case r.GetVerdict() == headgatev1.Verdict_VERDICT_DENIED:
				put(a.GetId(), fmt.Sprint("denied by ", r.GetDeniedBy(), " ", len(r.GetLimits()), r.GetRetryAfter() != nil))
			default:
				put(a.GetId(), fmt.Sprint("passes ", len(r.GetLimits()), r.GetLimits()[0].GetExplanation() != nil))
			}
		}
		if m.GetPolicyVersion() != 7 && len(m.GetAllowed()) > 0 {
			t.Errorf("no version: %v", m)
		}
	}
}

func TestAStreamAnswersEveryCheckByItsID(t *testing.T) {
	s, addr := start(t, nil)
	stream := openStream(t, addr)
	explained := checkRequest("shop", "user", "other")
	explained.Explain = true
	m := checks(checkRequest("shop", "user", "u"), 900, 1, 2)
	m.Checks = append(m.Checks,
		&headgatev1.StreamCheck{Id: 1<<64 - 1, Check: checkRequest("shop", "", "")},
		&headgatev1.StreamCheck{Id: 4},
		&headgatev1.StreamCheck{Id: 5, Check: checkRequest("nowhere")},
		&headgatev1.StreamCheck{Id: 6, Check: explained},
		&headgatev1.StreamCheck{Id: 0, Check: checkRequest("shop", "user", "other"), Detail: true},
		&headgatev1.StreamCheck{Id: 7, Check: checkRequest("shop", "user", "other"), Detail: true},
	)
	many := checks(checkRequest("shop", "remote_address", "a"), upTo(1000, 2000)...)
	send(t, stream, m, &headgatev1.CheckStreamRequest{}, many)
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	got, err := collect(t, stream)
	if err != nil {
		t.Fatal(err)
	}
	want := map[uint64]string{
		900: "passes", 1: "passes", 2: "denied by two 0 true",
		1<<64 - 1: "InvalidArgument attributes[0].key: must not be empty",
		4:         "InvalidArgument domain: must not be empty",
		5:         `NotFound domain: "nowhere": no policy has this domain`,
		6:         "passes 1 true", 0: "passes 1 false", 7: "denied by two 1 true",
	}
	for _, id := range upTo(1000, 2000) {
		want[id] = "passes"
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("\n got %v\nwant %v", got, want)
	}
	if n := s.Stats().Faults; n != 3 {
		t.Errorf("%d faults counted", n)
	}
}

// Details of a thousand checks don't fit into what clients take as one message.
func TestAStreamsAnswersComeInMessagesThatClientsTake(t *testing.T) {
	name := strings.Repeat("n", 120)
	_, addr := start(t, func(u *setup) {
		u.policy = "domain: shop\nlimits:\n"
		for i := range 20 {
			u.policy += fmt.Sprintf("  - {name: %s%d, by: [user], rate: 10/s}\n", name, i)
		}
	})
	stream := openStream(t, addr)
	m := checks(checkRequest("shop", "user", "u"), upTo(0, 1000)...)
	for _, c := range m.GetChecks() {
		c.Detail = true
	}
	send(t, stream, m)
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if got, err := collect(t, stream); err != nil || len(got) != 1000 {
		t.Fatalf("%d answers, %v", len(got), err)
	}
}

// A bytesCodec is a client's codec that sends []byte as it is.
type bytesCodec struct{ encoding.CodecV2 }

func (c bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.([]byte); ok {
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return c.CodecV2.Marshal(v)
}

func TestAMessageThatIsNoneEndsAStreamByName(t *testing.T) {
	tooMany := checks(checkRequest("shop", "user", "u"), upTo(0, 1001)...)
	for want, m := range map[string]any{
		"checks: 1001: at most 1000":                  tooMany,
		"message: must be a valid protobuf message":   []byte{1<<3 | 2, 5, 'x'},
		"checks[1]: must be a valid protobuf message": []byte{1<<3 | 2, 0, 1<<3 | 2, 1, 7},
		"the message is larger: 1048576":              []byte(strings.Repeat("x", 1<<20+1)),
	} {
		var decided tally
		_, addr := start(t, func(u *setup) { u.watch = &decided })
		cc := connect(t, addr).cc
		desc := &headgatev1.DecisionService_ServiceDesc.Streams[0]
		raw, err := cc.NewStream(brief(t), desc, headgatev1.DecisionService_CheckStream_FullMethodName,
			grpc.ForceCodecV2(bytesCodec{encoding.GetCodecV2("proto")}))
		if err != nil {
			t.Fatal(err)
		}
		stream := &grpc.GenericClientStream[headgatev1.CheckStreamRequest, headgatev1.CheckStreamResponse]{ClientStream: raw}
		send(t, stream, checks(checkRequest("shop", "user", "u"), 5))
		if err := raw.SendMsg(m); err != nil {
			t.Fatal(err)
		}
		got, err := collect(t, stream)
		code, text, _ := strings.Cut(want, ": ")
		if code == "the message is larger" {
			if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v", want, err)
			}
		} else if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != want {
			t.Errorf("got %v, want %q", err, want)
		}
		if got[5] != "passes" || len(got) != 1 || decided.n.Load() != 1 {
			t.Errorf("%s: answers %v, %d decided", want, got, decided.n.Load())
		}
	}
}

// A shuffler is a Decider that finishes most calls later, in random order, from
// several goroutines.
type shuffler struct {
	mu   sync.Mutex
	kept []*limiter.Call
}

func (d *shuffler) Decide(_ limiter.Instant, c *limiter.Call) bool {
	allow(c)
	if rand.IntN(5) == 0 {
		return true
	}
	if rand.IntN(5) == 0 {
		c.Finish() // before Decide has returned
		return false
	}
	d.mu.Lock()
	d.kept = append(d.kept, c)
	n := len(d.kept)
	if n > 1 {
		i := rand.IntN(n)
		d.kept[i], d.kept[n-1] = d.kept[n-1], d.kept[i]
	}
	d.mu.Unlock()
	go d.finish()
	return false
}

func (d *shuffler) finish() {
	time.Sleep(rand.N(time.Millisecond))
	d.mu.Lock()
	n := len(d.kept)
	c := d.kept[n-1]
	d.kept = d.kept[:n-1]
	d.mu.Unlock()
	c.Finish()
}

func TestAStreamWithADeciderThatFinishesInAnyOrder(t *testing.T) {
	var decided tally
	_, addr := start(t, func(u *setup) {
		u.config.DecideTimeout, u.decider, u.watch = 10*time.Second, &shuffler{}, &decided
	})
	stream := openStream(t, addr)
	const n, size = 40, 250
	go func() {
		for i := range uint64(n) {
			_ = stream.Send(checks(checkRequest("shop", "user", "u"), upTo(i*size, (i+1)*size)...))
		}
		_ = stream.CloseSend()
	}()
	got, err := collect(t, stream)
	if err != nil || len(got) != n*size || decided.n.Load() != n*size {
		t.Fatalf("%d answers, %d decided, %v", len(got), decided.n.Load(), err)
	}
	for id, answer := range got {
		if answer != "passes" {
			t.Fatalf("%d: %s", id, answer)
		}
	}
}

// A batch and a check of the same Decider.
func TestABatchWithADeciderThatFinishesInAnyOrder(t *testing.T) {
	_, addr := start(t, func(u *setup) {
		u.config.DecideTimeout, u.decider = 10*time.Second, &shuffler{}
		u.config.BehindMax = 0 // a busy machine sheds nothing
	})
	c := connect(t, addr)
	m := &headgatev1.CheckBatchRequest{}
	for range 1000 {
		m.Checks = append(m.Checks, checkRequest("shop", "user", "u"))
	}
	for range 3 {
		resp, err := c.decision.CheckBatch(brief(t), m)
		if err != nil || len(resp.GetItems()) != 1000 {
			t.Fatalf("%d items, %v", len(resp.GetItems()), err)
		}
		for i, item := range resp.GetItems() {
			if item.GetResponse().GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED || item.GetResponse().GetRemaining() != 1 {
				t.Fatalf("item %d: %v", i, item)
			}
		}
	}
}

// What the Decider never finishes is answered by on_unavailable, in time.
func TestAStreamWithADeciderThatIsLate(t *testing.T) {
	var mu sync.Mutex
	var held []*limiter.Call
	s, addr := start(t, func(u *setup) {
		u.config.DecideTimeout = 20 * time.Millisecond
		u.decider = deciderFunc(func(_ limiter.Instant, c *limiter.Call) bool {
			mu.Lock()
			defer mu.Unlock()
			held = append(held, c)
			return false
		})
	})
	stream := openStream(t, addr)
	for i := range uint64(5) {
		send(t, stream, checks(checkRequest("shop", "user", "u"), upTo(i*100, i*100+99)...), checks(checkRequest("shop", "account", "u"), i*100+99))
		time.Sleep(7 * time.Millisecond)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	got, err := collect(t, stream)
	if err != nil || len(got) != 500 {
		t.Fatalf("%d answers, %v", len(got), err)
	}
	for id, answer := range got {
		want := "VERDICT_ALLOWED DEGRADED_REASON_UNAVAILABLE"
		if id%100 == 99 {
			want = "VERDICT_DENIED DEGRADED_REASON_UNAVAILABLE"
		}
		if answer != want {
			t.Fatalf("%d: %s", id, answer)
		}
	}
	if n := s.Stats().Late; n != 500 {
		t.Errorf("%d late", n)
	}
	for _, c := range held { // far too late: nobody minds
		allow(c)
		c.Finish()
	}
}

// A stream reads no more while too many of its checks are with the Decider.
func TestAStreamHasABoundOnWhatIsPending(t *testing.T) {
	calls := make(chan *limiter.Call, 10_000)
	_, addr := start(t, func(u *setup) {
		u.config.DecideTimeout = time.Minute
		u.decider = deciderFunc(func(_ limiter.Instant, c *limiter.Call) bool { calls <- c; return false })
	})
	stream := openStream(t, addr)
	const n, size = 20, 300
	go func() {
		for i := range uint64(n) {
			_ = stream.Send(checks(checkRequest("shop", "user", "u"), upTo(i*size, (i+1)*size)...))
		}
		_ = stream.CloseSend()
	}()
	eventually(t, func() bool { return len(calls) >= decision.StreamPendingMax })
	time.Sleep(50 * time.Millisecond)
	if got := len(calls); got >= decision.StreamPendingMax+size {
		t.Fatalf("%d checks are pending", got)
	}
	go func() {
		for range n * size {
			c := <-calls
			allow(c)
			c.Finish()
		}
	}()
	if got, err := collect(t, stream); err != nil || len(got) != n*size {
		t.Fatalf("%d answers, %v", len(got), err)
	}
}

// A client that does not read is not read, and loses nothing.
func TestAStreamOfASlowReaderIsNotRead(t *testing.T) {
	var decided tally
	_, addr := start(t, func(u *setup) { u.watch = &decided })
	stream := openStream(t, addr)
	const size = 1000
	var sent atomic.Int64
	stop := make(chan struct{})
	go func() {
		m := checks(checkRequest("shop", "user", "u"), upTo(0, size)...)
		for i := range m.GetChecks() {
			m.Checks[i].Detail = true // long answers
		}
		for id := uint64(0); ; {
			for _, c := range m.GetChecks() {
				c.Id = id
				id++
			}
			select {
			case <-stop:
				_ = stream.CloseSend()
				return
			default:
			}
			if stream.Send(m) != nil {
				return
			}
			sent.Add(size)
		}
	}()
	quiet := func() bool {
		before := sent.Load()
		time.Sleep(200 * time.Millisecond)
		return before > 0 && sent.Load() == before
	}
	eventually(t, quiet)
	if n := decided.n.Load(); n > 20_000 {
		t.Fatalf("%d checks were decided for a client that reads nothing", n)
	}
	close(stop)
	got, err := collect(t, stream)
	if err != nil || int64(len(got)) != sent.Load() || decided.n.Load() != sent.Load() {
		t.Fatalf("%d sent, %d decided, %d answers, %v", sent.Load(), decided.n.Load(), len(got), err)
	}
}

func TestDrainEndsAnIdleStream(t *testing.T) {
	s, addr := start(t, nil)
	stream := openStream(t, addr)
	send(t, stream, checks(checkRequest("shop", "user", "u"), 1))
	if m, err := stream.Recv(); err != nil || len(m.GetAllowed()) != 1 {
		t.Fatalf("got %v, %v", m, err)
	}
	began := time.Now()
	if err := s.Drain(brief(t)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the drain took %v", took)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Fatalf("the stream ended with %v", err)
	}
}

func TestDrainWaitsForWhatAStreamHasTaken(t *testing.T) {
	held := make(chan *limiter.Call, 100)
	s, addr := start(t, func(u *setup) {
		u.config.DecideTimeout = 10 * time.Second
		u.decider = deciderFunc(func(_ limiter.Instant, c *limiter.Call) bool { held <- c; return false })
	})
	stream := openStream(t, addr)
	send(t, stream, checks(checkRequest("shop", "user", "u"), upTo(0, 50)...))
	eventually(t, func() bool { return len(held) == 50 })
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(brief(t)) }()
	select {
	case err := <-drained:
		t.Fatalf("the drain ended before its checks: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	for range 50 {
		c := <-held
		allow(c)
		c.Finish()
	}
	got, err := collect(t, stream)
	if status.Code(err) != codes.Unavailable || len(got) != 50 {
		t.Fatalf("%d answers, %v", len(got), err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// Whatever was decided when a drain ends streams has an answer.
func TestDrainUnderStreamsLosesNoAnswer(t *testing.T) {
	for name, decider := range map[string]*shuffler{"at once": nil, "later": {}} {
		t.Run(name, func(t *testing.T) {
			var decided tally
			s, addr := start(t, func(u *setup) {
				u.watch = &decided
				u.config.DecideTimeout = 10 * time.Second
				if decider != nil {
					u.decider = decider
				}
			})
			var answered atomic.Int64
			var wg sync.WaitGroup
			for range 4 {
				stream := openStream(t, addr)
				wg.Go(func() {
					for id := uint64(0); ; id += 50 {
						if stream.Send(checks(checkRequest("shop", "remote_address", "a"), upTo(id, id+50)...)) != nil {
							return
						}
					}
				})
				wg.Go(func() {
					got, err := collect(t, stream)
					if status.Code(err) != codes.Unavailable {
						t.Errorf("a stream ended with %v", err)
					}
					answered.Add(int64(len(got)))
				})
			}
			eventually(t, func() bool { return decided.n.Load() > 5000 })
			if err := s.Drain(brief(t)); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			if answered.Load() != decided.n.Load() {
				t.Fatalf("%d decided, %d answered", decided.n.Load(), answered.Load())
			}
		})
	}
}

func TestAPanicEndsItsStream(t *testing.T) {
	told := make(chan string, 1)
	_, addr := start(t, func(u *setup) {
		u.decider = deciderFunc(func(limiter.Instant, *limiter.Call) bool { panic("bug") })
		u.events.Panic = func(method string, _ any, stack []byte) { told <- method + " " + string(stack) }
	})
	stream := openStream(t, addr)
	send(t, stream, checks(checkRequest("shop", "user", "u"), 1))
	_, err := collect(t, stream)
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "bug") {
		t.Errorf("got %v", err)
	}
	if got := <-told; !strings.HasPrefix(got, headgatev1.DecisionService_CheckStream_FullMethodName) || !strings.Contains(got, "deciderFunc") {
		t.Errorf("told of %s", got)
	}
	stream = openStream(t, addr)
	send(t, stream, checks(checkRequest("shop", "other", "u"), 1)) // no rule matches
	if m, err := stream.Recv(); err != nil || len(m.GetAllowed()) != 1 {
		t.Errorf("got %v, %v", m, err)
	}
}

// A client that goes away while the Decider has its checks leaves nothing behind.
func TestAStreamThatIsGivenUp(t *testing.T) {
	held := make(chan *limiter.Call, 100)
	s, addr := start(t, func(u *setup) {
		u.config.DecideTimeout = 10 * time.Second
		u.decider = deciderFunc(func(_ limiter.Instant, c *limiter.Call) bool { held <- c; return false })
	})
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := connect(t, addr).decision.CheckStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	send(t, stream, checks(checkRequest("shop", "user", "u"), upTo(0, 50)...))
	eventually(t, func() bool { return len(held) == 50 })
	cancel()
	if err := s.Drain(brief(t)); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		c := <-held
		allow(c)
		c.Finish()
	}
}

func TestPeekChargesNothing(t *testing.T) {
	_, addr := start(t, nil)
	c := connect(t, addr).decision
	req := checkRequest("shop", "user", "u")
	for range 5 {
		resp, err := c.Peek(brief(t), req)
		if err != nil || resp.GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED || resp.GetRemaining() != 2 {
			t.Fatalf("got %v, %v", resp, err)
		}
	}
	cost := func(n uint64) headgatev1.Verdict {
		resp, err := c.Peek(brief(t), &headgatev1.CheckRequest{Domain: "shop", Attributes: req.GetAttributes(), Cost: &n})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetVerdict()
	}
	if cost(0) != headgatev1.Verdict_VERDICT_ALLOWED || cost(2) != headgatev1.Verdict_VERDICT_ALLOWED || cost(3) != headgatev1.Verdict_VERDICT_DENIED {
		t.Errorf("of 2: cost 0 %v, cost 2 %v, cost 3 %v", cost(0), cost(2), cost(3))
	}
	req.GiveBack = true
	if _, err := c.Peek(brief(t), req); status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != "give_back: true: Peek gives nothing back" {
		t.Errorf("got %v", err)
	}
}
