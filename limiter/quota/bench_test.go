package quota

import (
	"testing"
	"time"
)

func TestSpendingAllocatesNothing(t *testing.T) {
	h, terms, now := Holding{known: 1 << 40}, terms(), noon
	if n := testing.AllocsPerRun(100, func() {
		now = now.Add(time.Microsecond)
		h.Spend(now, 1, &terms)
		h.Hold(now, 1, &terms)
		h.Commit(1, 1, &terms)
		h.Refund(1)
		h.Need(now, 0, 0, &terms)
		h.Surplus(now, &terms)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkSpend is what a decision costs whose counter holds enough: the charge,
// and asking whether the next grant is needed.
func BenchmarkSpend(b *testing.B) {
	h, terms, now := Holding{known: 1 << 60}, terms(), noon
	b.ReportAllocs()
	for b.Loop() {
		now++
		h.Spend(now, 1, &terms)
		h.Need(now, 0, 0, &terms)
	}
}

// BenchmarkApply is what the ledger does for one grant, from the record's bytes to
// the record's bytes.
func BenchmarkApply(b *testing.B) {
	p := Pool{Version: 1, Limit: 1 << 50, Peak: 1 << 50, Shares: []Share{{Holder: owner}}}
	record := p.AppendTo(nil)
	c := Command{Op: OpEnsure, Key: key, Window: month, Holder: owner, Version: 1, Limit: 1 << 50}
	b.ReportAllocs()
	for b.Loop() {
		if err := DecodePool(record, &p); err != nil {
			b.Fatal(err)
		}
		c.Floor++
		p.Apply(1, &c)
		record = p.AppendTo(record[:0])
	}
}

func BenchmarkDecodeBatch(b *testing.B) {
	sent := Batch{At: 1_793_487_600_000}
	for range 256 {
		sent.Commands = append(sent.Commands, commands()[0])
	}
	entry := sent.AppendTo(nil)
	var got Batch
	b.SetBytes(int64(len(entry)))
	b.ReportAllocs()
	for b.Loop() {
		if err := DecodeBatch(entry, &got); err != nil {
			b.Fatal(err)
		}
	}
}
