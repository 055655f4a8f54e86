package grants_test

import (
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/headgate/headgate/limiter/quota"
)

// requestsMax is how many request ids a history of one counter has.
const requestsMax = 48

// A question is what a client asks of a counter in exact mode. The zero question is the
// end of a history.
type question struct {
	op   quota.Op // OpSpend, OpHold or OpSettle
	id   int      // of the request, below requestsMax
	cost uint8
}

// A reply is what it heard. The zero reply is none: it may have been done, or not.
type reply struct {
	code          quota.Code
	charged, free uint64
}

// A counterState is the model: what is used of an amount, and what each request did. It
// is small, since the check makes and compares millions of them.
type counterState struct {
	used     uint16
	ended    bool
	requests [requestsMax]requestState
}

type requestState struct {
	op                   quota.Op // 0: it was not made
	cost, charged, final uint8
	settled              bool
}

// step reports whether the counter may answer q by r, and returns the state after it. Of
// what was not answered only that counts which changes something: what did not, comes
// after the end.
func (s counterState) step(amount uint16, q question, r reply) (bool, counterState) {
	if q == (question{}) {
		s.ended = true
		return true, s
	}
	next, answer := s.ask(amount, q)
	if r == (reply{}) {
		return s.ended || next != s, next
	}
	return r == answer, next
}

// ask returns the state after q and what is answered, by an amount.
func (s counterState) ask(amount uint16, q question) (counterState, reply) {
	r := &s.requests[q.id]
	code := quota.OK
	switch {
	case q.op == quota.OpSettle && r.op == 0:
		code = quota.Unknown
	case q.op == quota.OpSettle && r.settled:
		if r.final != q.cost {
			code = quota.Differs
		}
	case q.op == quota.OpSettle: // no debt is allowed here
		charged := uint8(min(uint16(q.cost), uint16(r.charged)+amount-s.used))
		s.used += uint16(charged) - uint16(r.charged) // it may go down
		r.charged, r.settled, r.final = charged, true, q.cost
	case r.op != 0:
		if r.op != q.op || r.cost != q.cost {
			code = quota.Differs
		}
	case uint16(q.cost) > amount-s.used:
		code = quota.Exhausted
	default:
		s.used += uint16(q.cost)
		*r = requestState{op: q.op, cost: q.cost, charged: q.cost}
	}
	return s, reply{code, uint64(r.charged), uint64(amount - s.used)}
}

// A history is what clients saw of one counter. It numbers questions and answers in the
// order in which they were asked and heard.
type history struct {
	mu     sync.Mutex
	next   int64
	events []porcupine.Operation
}

// now returns the next number.
func (h *history) now() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next++
	return h.next
}

// add notes that a client asked q at a number, and heard r just now. What is asked twice
// without an answer is noted once: of the two only the first that is done changes anything.
func (h *history) add(client int, q question, asked int64, r reply) {
	at := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if r == (reply{}) {
		at = math.MaxInt64
		for i := range h.events {
			if e := &h.events[i]; e.Return == at && e.Input == q {
				e.Call = min(e.Call, asked)
				return
			}
		}
	}
	h.events = append(h.events, porcupine.Operation{ClientId: client, Input: q, Call: asked, Output: r, Return: at})
}

// check returns whether one counter of an amount that answers a question at a time
// explains the history, and how many answers it has.
func (h *history) check(t *testing.T, amount uint16) (porcupine.CheckResult, int) {
	t.Helper()
	seed := maphash.MakeSeed()
	model := porcupine.Model{
		Init: func() any { return counterState{} },
		Step: func(state, input, output any) (bool, any) {
			if c, ok := input.(call); ok {
				return state.(counterState).call(amount, c, output.(told))
			}
			return state.(counterState).step(amount, input.(question), output.(reply))
		},
		Equal: func(a, b any) bool { return a.(counterState) == b.(counterState) },
		Hash:  func(s any) uint64 { return maphash.Comparable(seed, s.(counterState)) },
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	answers, last := 0, int64(0)
	for _, e := range h.events {
		if last = max(last, e.Call); e.Return != math.MaxInt64 {
			answers++
			last = max(last, e.Return)
		}
	}
	end := porcupine.Operation{Input: question{}, Output: reply{}, Call: last + 1, Return: last + 2}
	return porcupine.CheckOperationsTimeout(model, append(h.events, end), 20*time.Second), answers
}

// String lists the history in the order of the questions.
func (h *history) String() (text string) {
	slices.SortFunc(h.events, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	for _, e := range h.events {
		text += fmt.Sprintf("%d-%d client %d: %+v -> %+v\n", e.Call, e.Return, e.ClientId, e.Input, e.Output)
	}
	return text
}

// TestTheModelOfACounterFindsWhatIsWrong holds that short histories which no counter of
// 10 explains are found, and that those which one explains pass.
func TestTheModelOfACounterFindsWhatIsWrong(t *testing.T) {
	type event struct {
		q             question
		asked, heard  int64
		code          quota.Code
		charged, free uint64
	}
	spend := func(id int, cost uint8) question { return question{quota.OpSpend, id, cost} }
	settle := func(id int, cost uint8) question { return question{quota.OpSettle, id, cost} }
	hold := func(id int, cost uint8) question { return question{quota.OpHold, id, cost} }
	const never = math.MaxInt64
	for _, tc := range []struct {
		name   string
		events []event
		want   porcupine.CheckResult
	}{
		{"one after the other", []event{{spend(1, 6), 1, 2, quota.OK, 6, 4}, {spend(2, 5), 3, 4, quota.Exhausted, 0, 4}}, porcupine.Ok},
		{"both, in either order", []event{{spend(1, 6), 1, 4, quota.Exhausted, 0, 4}, {spend(2, 6), 2, 3, quota.OK, 6, 4}}, porcupine.Ok},
		{"both at once, and too much", []event{{spend(1, 6), 1, 4, quota.OK, 6, 4}, {spend(2, 6), 2, 3, quota.OK, 6, 4}}, porcupine.Illegal},
		{"a denial too early", []event{{spend(1, 6), 1, 2, quota.Exhausted, 0, 4}, {spend(2, 6), 3, 4, quota.OK, 6, 4}}, porcupine.Illegal},
		{"a retry that is charged once", []event{{spend(1, 6), 1, never, 0, 0, 0}, {spend(1, 6), 3, 4, quota.OK, 6, 4}, {spend(2, 4), 5, 6, quota.OK, 4, 0}}, porcupine.Ok},
		{"a retry that is charged twice", []event{{spend(1, 5), 1, never, 0, 0, 0}, {spend(1, 5), 3, 4, quota.OK, 5, 0}}, porcupine.Illegal},
		{"one that was done late, though nobody heard", []event{{spend(1, 6), 1, never, 0, 0, 0}, {spend(2, 4), 3, 4, quota.OK, 4, 6}, {spend(3, 1), 5, 6, quota.Exhausted, 0, 0}}, porcupine.Ok},
		{"one that was forgotten", []event{{spend(1, 6), 1, 2, quota.OK, 6, 4}, {spend(2, 4), 3, 4, quota.OK, 4, 6}}, porcupine.Illegal},
		{"an answer that is too old", []event{{hold(1, 6), 1, 2, quota.OK, 6, 4}, {settle(1, 2), 3, 4, quota.OK, 2, 8}, {spend(2, 5), 5, 6, quota.Exhausted, 0, 4}}, porcupine.Illegal},
		{"settled for more than there is", []event{{hold(1, 6), 1, 2, quota.OK, 6, 4}, {settle(1, 50), 3, 4, quota.OK, 10, 0}}, porcupine.Ok},
		{"the same id, and another cost", []event{{hold(1, 6), 1, 2, quota.OK, 6, 4}, {hold(1, 5), 3, 4, quota.Differs, 6, 4}, {settle(2, 1), 5, 6, quota.Unknown, 0, 4}}, porcupine.Ok},
	} {
		h := &history{}
		for i, e := range tc.events {
			r := reply{e.code, e.charged, e.free}
			h.events = append(h.events, porcupine.Operation{ClientId: i, Input: e.q, Call: e.asked, Output: r, Return: e.heard})
		}
		if got, _ := h.check(t, 10); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}
