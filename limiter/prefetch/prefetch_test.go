package prefetch

import (
	"math"
	"testing"
)

func TestAnyAddressMayBeAskedFor(*testing.T) {
	for _, address := range []uintptr{0, 1, 63, 1 << 20, math.MaxUint32, math.MaxUint - 64, math.MaxUint} {
		Line(address)
		LineAndPair(address, math.MaxUint-address)
	}
}

func BenchmarkLine(b *testing.B) {
	for b.Loop() {
		Line(1 << 20)
	}
}
