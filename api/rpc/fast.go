package rpc

import (
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/batch"
	"github.com/headgate/headgate/api/decision"
	"github.com/headgate/headgate/api/gubernator"
	"github.com/headgate/headgate/api/h2"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/api/rls"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// fast returns the methods that are answered on the read loop.
func (s *Server) fast() map[string]h2.Unary {
	bounds := &s.limits.Bounds
	type decode = func([]byte, *api.Bounds, *policy.Request) (explain bool, err error)
	native := func(decode decode, answer func([]byte, *api.Exchange) []byte) *desked {
		return &desked{
			desk: s.desk, answer: answer,
			decode: func(in []byte, x *api.Exchange) error {
				x.Patient = true
				explain, err := decode(in, bounds, &x.Req)
				x.Errand.Flags = 0 // it may be of another method
				if explain {
					x.Errand.Flags = 1
				}
				return err
			},
		}
	}
	check := func(decode decode) *desked {
		return native(decode, func(dst []byte, x *api.Exchange) []byte { return decision.Append(dst, x, x.Errand.Flags != 0) })
	}
	guber := gubernator.Service{Desk: s.desk, Bounds: *bounds}
	return map[string]h2.Unary{
		gubernator.GetRateLimits: &batched{guber.Batches()},
		gubernator.HealthCheck:   gubernatorHealth{s: s},
		gubernator.LiveCheck:     gubernatorHealth{s: s, live: true},
		rlsv3.RateLimitService_ShouldRateLimit_FullMethodName: &desked{
			desk:   s.desk,
			decode: func(in []byte, x *api.Exchange) error { return rls.Decode(in, bounds, &x.Req) },
			answer: s.limits.Headers.Append,
		},
		authv3.Authorization_Check_FullMethodName: &desked{
			desk: s.desk, decode: s.authz.Decode, answer: s.authz.Append, refuse: s.authz.AppendFault,
		},
		headgatev1.DecisionService_Check_FullMethodName:      check(decision.Decode),
		headgatev1.DecisionService_Peek_FullMethodName:       check(decision.DecodePeek),
		headgatev1.DecisionService_Explain_FullMethodName:    native(decision.DecodeExplain, decision.AppendExplained),
		headgatev1.DecisionService_Acquire_FullMethodName:    check(decision.DecodeAcquire),
		headgatev1.DecisionService_Renew_FullMethodName:      native(decision.DecodeRenew, decision.AppendRenewed),
		headgatev1.DecisionService_Release_FullMethodName:    native(decision.DecodeRelease, decision.AppendReleased),
		headgatev1.DecisionService_CheckBatch_FullMethodName: &batched{s.checks.Batches()},
		healthv1.Health_Check_FullMethodName:                 healthCheck{s},
	}
}

// A desked answers a method that decides one exchange: h2's steps in terms of
// the desk. decode and answer are the method's own.
type desked struct {
	desk   *api.Desk
	decode func(in []byte, x *api.Exchange) error
	answer func(dst []byte, x *api.Exchange) []byte
	// refuse answers what was not decided; nil: with an error of gRPC.
	refuse func(dst []byte, err error) []byte
}

// An errand is the h2.Call.State of a desked method. It is made once for each
// h2.Call, and those are few.
type errand struct {
	x        *api.Exchange
	fault    error // for refuse
	more     bool  // of the policy is to be fetched
	pending  bool  // x was left to the Decider
	finished func(*api.Exchange)
}

// Begin decodes the request and has what matches it fetched.
func (d *desked) Begin(c *h2.Call) {
	e, ok := c.State.(*errand)
	if !ok {
		e = &errand{finished: func(*api.Exchange) { c.Finish() }}
		c.State = e
	}
	e.x, e.more, e.pending, e.fault = d.desk.Open(), false, false, nil
	if err := d.decode(c.In, e.x); err != nil {
		if d.refuse == nil {
			fail(d.desk, c, err)
			return
		}
		d.desk.CountFault()
		e.fault = err
		return
	}
	if c.Shed {
		d.desk.Shed(limiter.Instant(c.Now), e.x)
		return
	}
	e.more = d.desk.Foresee(e.x)
	c.Deadline = c.Now + int64(d.desk.Timeout())
}

// Prepare has the rest fetched, or matches the request.
func (d *desked) Prepare(c *h2.Call) (again bool) {
	e, _ := c.State.(*errand) // Begin made it
	switch {
	case c.Shed || e.fault != nil:
	case e.more:
		e.more = d.desk.Foresee(e.x)
		return true
	default:
		d.desk.Match(e.x)
	}
	return false
}

// fail answers with an error, which is a *api.Fault.
func fail(desk *api.Desk, c *h2.Call, err error) {
	desk.CountFault()
	c.Fail(uint32(api.Code(err)), err.Error())
}

// Decide charges the request.
func (d *desked) Decide(c *h2.Call) (done bool) {
	e, _ := c.State.(*errand) // Begin made it
	if c.Shed || e.fault != nil {
		return true
	}
	e.x.Finished, e.x.Latest = e.finished, limiter.Instant(c.Deadline)
	if d.desk.Charge(limiter.Instant(c.Now), e.x) {
		return true
	}
	// Nobody looks at the request before h2 lets the call finish, which it does
	// when we have returned.
	e.pending = true
	e.x.Keep()
	return false
}

// Answer encodes the response.
func (d *desked) Answer(dst []byte, c *h2.Call) []byte {
	e, ok := c.State.(*errand)
	if !ok || e.x == nil { // Begin panicked
		return dst
	}
	if e.pending {
		d.desk.End(limiter.Instant(c.Now), e.x)
	}
	return d.respond(dst, c, e)
}

// respond encodes the response and closes the exchange.
func (d *desked) respond(dst []byte, c *h2.Call, e *errand) []byte {
	switch err := e.x.Fault(); {
	case c.Failed():
	case e.fault != nil:
		dst = d.refuse(dst, e.fault)
	case err == nil:
		dst = d.answer(dst, e.x)
	case d.refuse == nil:
		fail(d.desk, c, err)
	default:
		d.desk.CountFault()
		dst = d.refuse(dst, err)
	}
	d.desk.Close(e.x)
	e.x = nil
	return dst
}

// Expire answers by on_unavailable.
func (d *desked) Expire(dst []byte, c *h2.Call) []byte {
	e, _ := c.State.(*errand) // Begin made it
	if y := d.desk.Expire(limiter.Instant(c.Now), e.x); y != nil {
		e.x = y
		return d.respond(dst, c, e)
	}
	// The Decider is done, and about to tell h2, which won't listen any more.
	d.desk.End(limiter.Instant(c.Now), e.x)
	return d.respond(dst, c, e)
}

// A batched answers a method whose requests have many items.
type batched struct{ batches *batch.Service }

// Begin decodes nothing yet: a batch is decided in groups.
func (b *batched) Begin(c *h2.Call) {
	bt, err := b.batches.Begin(c.In)
	if err != nil {
		c.State = nil
		fail(b.batches.Desk, c, err)
		return
	}
	bt.Owner, bt.Finished, bt.Shed = c, finishBatch, c.Shed
	c.State = bt
	c.Deadline = c.Now + int64(b.batches.Desk.Timeout())
}

// Prepare does nothing: a batch is decided in groups.
func (*batched) Prepare(*h2.Call) (again bool) { return false }

func finishBatch(bt *batch.Batch) {
	if c, ok := bt.Owner.(*h2.Call); ok {
		c.Finish()
	}
}

// Decide decides the items of the batch.
func (*batched) Decide(c *h2.Call) (done bool) {
	bt, _ := c.State.(*batch.Batch) // Begin made it
	return bt.Decide(limiter.Instant(c.Now))
}

// Answer encodes the response.
func (*batched) Answer(dst []byte, c *h2.Call) []byte {
	bt, ok := c.State.(*batch.Batch)
	if !ok {
		return dst
	}
	c.State = nil
	dst = bt.Append(dst)
	bt.Close()
	return dst
}

// Expire answers what is left by on_unavailable.
func (b *batched) Expire(dst []byte, c *h2.Call) []byte {
	bt, _ := c.State.(*batch.Batch) // Begin made it
	if bt.Expire() {
		return b.Answer(dst, c)
	}
	// The Decider is done, and about to say so to the batch, which therefore is
	// not closed.
	c.State = nil
	return bt.Append(dst)
}
