package bench

import (
	"fmt"
	"math"
	"testing"
)

func TestZipfDrawsEachKeyAsOftenAsItShould(t *testing.T) {
	const draws = 400_000
	for _, s := range []float64{0.3, 0.99, 1, 1.1, 2.5} {
		for _, n := range []int{1, 2, 10, 1000} {
			t.Run(fmt.Sprintf("s=%v n=%d", s, n), func(t *testing.T) {
				c := Config{Distribution: Zipf, ZipfS: s, Seed: 7}
				k := newKeyGenerator(&c, uint64(n), 0)
				count := make([]int, n)
				for range draws {
					count[k.next()]++
				}
				var sum float64
				for i := range n {
					sum += math.Pow(float64(i+1), -s)
				}
				for i := range n {
					p := math.Pow(float64(i+1), -s) / sum
					// Six standard deviations, and one draw for where that is less.
					if d, bound := math.Abs(float64(count[i])-draws*p), 6*math.Sqrt(draws*p*(1-p))+1; d > bound {
						t.Errorf("key %d: %d draws, want %.0f ± %.0f", i, count[i], draws*p, bound)
					}
				}
			})
		}
	}
}

func TestUniformDrawsAllKeysAlike(t *testing.T) {
	const draws, n = 400_000, 100
	c := Config{Distribution: Uniform}
	k := newKeyGenerator(&c, n, 0)
	count := make([]int, n)
	for range draws {
		count[k.next()]++
	}
	for i, got := range count {
		if math.Abs(float64(got)-draws/n) > 6*math.Sqrt(draws/n) {
			t.Errorf("key %d: %d draws, want about %d", i, got, draws/n)
		}
	}
}

func TestKeysAreRepeatableAndLanesDiffer(t *testing.T) {
	draw := func(seed uint64, lane int) (s [8]uint64) {
		c := Config{Distribution: Uniform, Seed: seed}
		k := newKeyGenerator(&c, 1_000_000, lane)
		for i := range s {
			s[i] = k.next()
		}
		return s
	}
	if once, again := draw(1, 0), draw(1, 0); once != again {
		t.Error("the same seed and lane gave different keys")
	}
	if draw(1, 0) == draw(1, 1) {
		t.Error("two lanes draw the same keys")
	}
	if draw(1, 0) == draw(2, 0) {
		t.Error("two seeds give the same keys")
	}
}

func BenchmarkKeys(b *testing.B) {
	for _, d := range []Distribution{Uniform, Zipf} {
		b.Run(string(d), func(b *testing.B) {
			c := Config{Distribution: d, ZipfS: 1.1}
			k := newKeyGenerator(&c, 1_000_000, 0)
			for b.Loop() {
				k.next()
			}
		})
	}
}
