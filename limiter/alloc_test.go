package limiter

import (
	"testing"
	"time"
)

func TestDecidingAllocatesNothing(t *testing.T) {
	none := func(name string, f func()) {
		t.Helper()
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	specs := []Spec{
		{Kind: KindRate, Amount: 3, Period: time.Second, Domain: "d", Name: "n"},
		{Kind: KindFixed, Amount: 3, Period: time.Second},
		{Kind: KindSliding, Amount: 3, Period: time.Second},
		{Kind: KindUnlimited},
		{Kind: KindPace, Amount: 3, Period: time.Second, MaxWait: time.Second},
	}
	for _, s := range specs {
		l, c, now := mustLimit(t, s), Counter{}, noon
		none("Apply "+s.Kind.String(), func() {
			now++
			l.Apply(&c, now, OpCharge, 2)
			l.Apply(&c, now, OpPeek, 0)
			l.Apply(&c, now, OpGiveBack, 1)
		})
		none("Init "+s.Kind.String(), func() {
			if err := l.Init(s); err != nil {
				t.Fatal(err)
			}
		})
		none("Convert "+s.Kind.String(), func() { c = Convert(c, l, l, now) })
	}

	h, key := NewKeyHasher([16]byte{1}), []byte("a limit and its values")
	var sum uint64
	none("Key", func() { sum += h.Key(key).Lo })

	var call Call
	call.Scratch()
	none("a reused Call", func() {
		call.Reset()
		l := call.Scratch()
		if err := l.Init(specs[1]); err != nil || !call.Add(Charge{Limit: l, Cost: 1}) {
			t.Fatal("no room", err)
		}
		for i := range call.Charges() {
			ch := &call.Charges()[i]
			var c Counter
			ch.Decision = ch.Limit.Apply(&c, noon, ch.Op, ch.Cost)
		}
		if v, _ := call.Verdict(); v != Allowed {
			t.Fatal(v)
		}
	})
	buf, s := make([]byte, 0, 256), specs[0]
	none("AppendSpec", func() { buf = AppendSpec(buf[:0], &s) })
}
