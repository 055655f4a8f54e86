package app

import (
	"testing"
)

func TestTheCollectorLeavesNoMoreUnusedThanTheSettingsSay(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name              string
		percent, headroom int
		live              uint64
		want              int
	}{
		{"a small heap has the percentage", 400, 256 * mib, 64 * mib, 400},
		{"an empty heap has it", 400, 256 * mib, 0, 400},
		{"a larger one has the headroom", 400, 256 * mib, 128 * mib, 200},
		{"but at least as much as is live", 400, 256 * mib, 10_000 * mib, 100},
		{"unless the percentage is less", 50, 256 * mib, 10_000 * mib, 50},
		{"and no more than that", 1000, 256 * mib, 20 * mib, 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := &collector{percent: c.percent, headroom: uint64(c.headroom), now: c.percent}
			if got, changed := x.next(c.live); got != c.want || changed != (c.want != c.percent) {
				t.Errorf("%d, changed %v, want %d", got, changed, c.want)
			}
			if _, changed := x.next(c.live); changed {
				t.Error("it is changed twice")
			}
			if got, _ := x.next(0); got != c.percent {
				t.Errorf("when the heap is small again it is %d", got)
			}
		})
	}
	x := &collector{percent: 400, headroom: 256 * mib, now: 400}
	x.next(128 * mib)
	if _, changed := x.next(132 * mib); changed {
		t.Error("a small difference is worth a change")
	}
}
