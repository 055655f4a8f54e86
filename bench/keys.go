package bench

import (
	"math"
	"math/rand/v2"
)

// A keyGenerator draws numbers of keys in [0, n). It has one owner.
type keyGenerator struct {
	r    *rand.PCG
	n    uint64
	zipf *zipf // nil: uniform
}

// newKeyGenerator returns the generator of the lane with the given number:
// lanes draw different sequences, and the same ones for the same seed.
func newKeyGenerator(c *Config, keys uint64, lane int) *keyGenerator {
	k := &keyGenerator{r: rand.NewPCG(c.Seed, uint64(lane)), n: keys}
	if c.Distribution == Zipf {
		k.zipf = newZipf(c.ZipfS, keys)
	}
	return k
}

func (k *keyGenerator) next() uint64 {
	if k.n == 1 {
		return 0
	}
	if k.zipf == nil {
		// keys ≤ 10⁹: the bias of the remainder is below 10⁻¹⁰.
		return k.r.Uint64() % k.n
	}
	return k.zipf.next(k.r)
}

// A zipf draws k in [0, n) with a probability proportional to 1/(k+1)^s, for any
// s > 0; the one in math/rand needs s > 1. It is rejection-inversion: W. Hörmann,
// G. Derflinger, "Rejection-inversion to generate variates from monotone discrete
// distributions", ACM TOMACS 6(3), 1996.
type zipf struct {
	s, n         float64
	first, last  float64 // the integral of the hat at 1.5, less the first bar; at n + ½
	acceptWithin float64
}

func newZipf(s float64, n uint64) *zipf {
	z := &zipf{s: s, n: float64(n)}
	z.first = z.integral(1.5) - 1
	z.last = z.integral(z.n + 0.5)
	z.acceptWithin = 2 - z.inverse(z.integral(2.5)-z.hat(2))
	return z
}

func (z *zipf) next(r *rand.PCG) uint64 {
	for {
		u := z.last + float64(r.Uint64()>>11)*0x1p-53*(z.first-z.last)
		x := z.inverse(u)
		k := min(max(math.Floor(x+0.5), 1), z.n)
		if k-x <= z.acceptWithin || u >= z.integral(k+0.5)-z.hat(k) {
			return uint64(k) - 1
		}
	}
}

// hat is the density without its constant: x^−s.
func (z *zipf) hat(x float64) float64 { return math.Exp(-z.s * math.Log(x)) }

// integral is (x^(1−s) − 1) / (1 − s), which is log x where s is 1.
func (z *zipf) integral(x float64) float64 {
	l := math.Log(x)
	return expm1OverX((1-z.s)*l) * l
}

// inverse undoes integral.
func (z *zipf) inverse(y float64) float64 {
	t := max(y*(1-z.s), -1) // rounding may take it below −1
	return math.Exp(log1pOverX(t) * y)
}

// log1pOverX is log(1+x)/x, with its limit 1 at 0.
func log1pOverX(x float64) float64 {
	if math.Abs(x) > 1e-8 {
		return math.Log1p(x) / x
	}
	return 1 - x*(0.5-x*(1.0/3-0.25*x))
}

// expm1OverX is (e^x − 1)/x, with its limit 1 at 0.
func expm1OverX(x float64) float64 {
	if math.Abs(x) > 1e-8 {
		return math.Expm1(x) / x
	}
	return 1 + x*0.5*(1+x*(1.0/3)*(1+0.25*x))
}
