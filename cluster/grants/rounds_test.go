package grants

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// entered has n lines enter, and returns where the round of each is told.
func entered(r *rounds, n int) <-chan *round {
	in := make(chan *round, n)
	for range n {
		go func() { in <- r.enter() }()
	}
	synctest.Wait()
	return in
}

func TestEntriesBeginTogetherWhenThoseThatAreUnderWayAreDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRounds()
		first := r.enter() // nothing is under way
		in := entered(r, 3)
		if len(in) > 0 {
			t.Fatal("a round began while another was under way")
		}
		time.Sleep(2 * time.Millisecond)
		r.leave(first, 2)
		if synctest.Wait(); len(in) > 0 {
			t.Fatal("a round began before anybody could ask again")
		}
		r.came(1)
		if synctest.Wait(); len(in) > 0 {
			t.Fatal("a round began with half of those who had been answered")
		}
		r.came(1)
		if synctest.Wait(); len(in) != 3 {
			t.Fatalf("%d of 3 lines have begun", len(in))
		}
		if a, b, c := <-in, <-in, <-in; a != b || b != c || a == first {
			t.Error("they are not in one round")
		}
	})
}

func TestARoundThatNobodyComesToBeginsAfterAPartOfTheTimeOfTheLast(t *testing.T) {
	for name, several := range map[string]bool{"of one node": false, "of several": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, pause := newRounds(), alone()
				if several {
					r.nudge()
					pause = amongSeveral()
				}
				m := r.enter()
				enters := func(what string, want time.Duration) {
					t.Helper()
					began := time.Now()
					m = r.enter()
					if took := time.Since(began); took != want {
						t.Fatalf("%s it began after %s, want %s", what, took, want)
					}
				}
				time.Sleep(time.Millisecond)
				r.leave(m, 4)
				enters("when nobody comes", time.Millisecond/pause.part)
				for range lingerSkip {
					r.leave(m, 4)
					enters("after it was in vain", 0)
				}
				time.Sleep(time.Minute)
				r.leave(m, 4)
				enters("after a long one", pause.most)
				r.leave(m, 1)
			})
		})
	}
}

// Half of those who were answered come back: of several nodes the others are elsewhere.
func TestOnlyALoneNodeLingersInVainWhenHalfComeBack(t *testing.T) {
	for name, several := range map[string]bool{"of one node": false, "of several": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRounds()
				if several {
					r.nudge()
				}
				m := r.enter()
				time.Sleep(time.Millisecond)
				r.leave(m, 4)
				r.came(2)
				m = r.enter()
				if skips := r.skip > 0; skips == several {
					t.Errorf("the next rounds begin at once: %v", skips)
				}
				r.leave(m, 0)
			})
		})
	}
}

func TestAnEntryThatHangsHoldsUpTheOthersOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRounds()
		hangs := r.enter()
		began := time.Now()
		m := r.enter()
		if took := time.Since(began); took != roundMax {
			t.Errorf("it began after %s", took)
		}
		r.leave(m, 0)
		time.Sleep(roundMax)
		began = time.Now()
		m = r.enter()
		if took := time.Since(began); took != 0 {
			t.Errorf("it began after %s", took)
		}
		r.leave(hangs, 7) // at last
		in := entered(r, 1)
		if len(in) > 0 {
			t.Error("a round began while another was under way")
		}
		r.leave(m, 0)
		<-in
	})
}

func TestARoundBeginsWithThatOfAnotherNodeWhenHalfIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRounds()
		r.nudge() // nothing to begin
		m := r.enter()
		r.nudge() // it is under way
		time.Sleep(2 * time.Millisecond)
		r.leave(m, 4)
		in := entered(r, 2)
		r.came(1)
		r.nudge()
		if synctest.Wait(); len(in) > 0 {
			t.Error("a round began with a quarter of those who had been answered")
		}
		r.came(1)
		r.nudge()
		if synctest.Wait(); len(in) != 2 {
			t.Fatalf("%d of 2 lines have begun", len(in))
		}
		m = <-in
		r.leave(m, 1)
		r.leave(m, 1)
		r.came(-2)
		time.Sleep(time.Second) // nobody lingers any more
		r.nudge()
	})
}

// Whatever comes and goes, everybody gets a turn, and a round begins when the one before
// is over.
func TestEveryLineGetsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRounds()
		var lines sync.WaitGroup
		var turns int
		var mu sync.Mutex // guards turns and under
		under := map[*round]int{}
		count := func(m *round, by int) {
			mu.Lock()
			defer mu.Unlock()
			if under[m] += by; under[m] == 0 {
				delete(under, m)
			}
			if turns++; len(under) > 1 {
				t.Errorf("%d rounds are under way", len(under))
			}
		}
		for i := range uint64(8) {
			lines.Go(func() {
				rng := rand.New(rand.NewPCG(i, 1))
				for range 300 {
					n := 1 + rng.IntN(3)
					r.came(n)
					m := r.enter()
					count(m, 1)
					r.came(-n)
					time.Sleep(time.Duration(rng.IntN(2000)) * time.Microsecond)
					count(m, -1)
					r.leave(m, n)
					time.Sleep(time.Duration(rng.IntN(1000)) * time.Microsecond)
				}
			})
		}
		lines.Wait()
		if turns != 2*8*300 || r.waiting.Load() != 0 {
			t.Errorf("%d turns, %d wait", turns/2, r.waiting.Load())
		}
	})
}
