package holdings_test

import (
	"testing"
	"time"

	"github.com/headgate/headgate/limiter"
)

func TestTheLimitOfAnExactCounterIsKnownOnceTheLedgerWasAsked(t *testing.T) {
	n := newNode(t, exactLimit(2), nil)
	if id, ok := n.LimitOf(limiter.Key{Lo: 1}); ok {
		t.Errorf("nobody has asked yet: %v", id)
	}
	n.Decide(n.now, n.call(limiter.OpCharge, 1, 1))
	n.ledger.lose()
	if id, ok := n.LimitOf(limiter.Key{Lo: 1}); ok {
		t.Errorf("the ledger did not answer: %v", id)
	}
	for key, cost := range map[uint64]uint64{1: 1, 2: 3} { // charged, and denied
		n.decide(n.call(limiter.OpCharge, key, cost))
		if id, ok := n.LimitOf(limiter.Key{Lo: key}); !ok || id != (limiter.LimitID{1}) {
			t.Errorf("%d: %v, %v", key, id, ok)
		}
	}
	if id, ok := n.LimitOf(limiter.Key{Lo: 3}); ok {
		t.Errorf("of another: %v", id)
	}
}

func TestTheLimitOfAForgottenCounterIsKnown(t *testing.T) {
	n := newNode(t, limit(1000), nil)
	n.ask(limiter.OpCharge, 1, 1)
	key, day := limiter.Key{Lo: 1}, int64(start)/int64(time.Second)/86_400*86_400
	if _, held := n.Look(key, day); !held {
		t.Fatal("nothing is held")
	}
	for range 3 * 256 { // each part three times: it gives back, closes, forgets
		n.now = n.now.Add(5 * time.Second)
		n.Tend(n.now)
		n.ledger.run()
	}
	if v, held := n.Look(key, day); held {
		t.Fatalf("it is not forgotten: %+v", v)
	}
	if id, ok := n.LimitOf(key); !ok || id != (limiter.LimitID{1}) {
		t.Errorf("its limit is %v, %v", id, ok)
	}
}

func TestALookSaysWhatIsHeldNow(t *testing.T) {
	n := newNode(t, limit(1000), nil)
	day := int64(start) / int64(time.Second) / 86_400 * 86_400
	key := limiter.Key{Lo: 1}
	if v, ok := n.Look(key, day); ok || v.Used != 0 {
		t.Errorf("nobody has asked yet: %+v", v)
	}
	held := uint64(0)
	for i := range uint64(40) {
		n.now = n.now.Add(time.Millisecond)
		n.ask(limiter.OpCharge, 1, 1)
		v, ok := n.Look(key, day)
		if !ok || v.Limit != (limiter.LimitID{1}) || v.Ends != day+86_400 || v.Used != i+1 || v.Life == 0 {
			t.Fatalf("after %d: %+v of %d", i+1, v, n.today(1).Outstanding())
		}
		held = max(held, n.today(1).Outstanding()-v.Used)
	}
	if held == 0 {
		t.Error("nothing was ever held, so nothing is shown by this")
	}
	if _, ok := n.Look(key, day+86_400); ok {
		t.Error("tomorrow is remembered")
	}
	n.leave(t)
	if v, _ := n.Look(key, day); v.Used != 40 || n.today(1).Outstanding() != 40 {
		t.Errorf("a holder that left has %+v, of %d", v, n.today(1).Outstanding())
	}
}
