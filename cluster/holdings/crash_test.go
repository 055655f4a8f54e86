package holdings_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	ondisk "github.com/headgate/headgate/storage/ledger"
	"github.com/headgate/headgate/storage/storagetest"
)

var (
	histories = flag.Int("histories", 8, "random histories of the crash test")
	seed      = flag.Uint64("seed", 0, "another one of other histories")
)

// live does so many steps, or fewer if the disk fails, and then ends with the power,
// which may go while it leaves.
func (l *life) live(steps int) error {
	err := l.serve()
	for i := 0; err == nil && i < steps; i++ {
		err = l.step()
	}
	if err == nil && l.rng.IntN(3) == 0 {
		err = l.leave()
	}
	l.rec.Take(0)
	l.rec.Take(100)
	err = errors.Join(err, l.voter.close())
	l.rec.End()
	return err
}

// check opens what a crash left, and looks at each promise there. Clients go on, and
// take all that is left; if deeper, for a while until the power goes again.
func (l *life) check(m storagetest.Moment, deeper bool) (crashes int, err error) {
	next, err := born(m.FS, l, l.moments[m.High], l.rng)
	if err != nil {
		return 0, err
	}
	defer func() {
		if next.voter != nil {
			err = errors.Join(err, next.voter.close())
		}
	}()
	at := m.High
	for err = next.promises(); err != nil && at > m.Low; err = next.promises() {
		at--
		next.resume(l.moments[at])
	}
	if err != nil {
		return 0, err
	}
	for _, r := range l.receipts {
		if r.moment <= at && !r.settled {
			r.moment = 0
			next.receipts = append(next.receipts, r)
		}
	}
	if !deeper {
		return 0, next.drain()
	}
	err = next.live(15)
	if next.voter = nil; err != nil { // it is closed
		return 0, err
	}
	return next.checkAll(2, false)
}

// checkAll checks up to n crashes of this life.
func (l *life) checkAll(n int, deeper bool) (crashes int, err error) {
	moments := l.rec.Draw(l.rng, n)
	for i, m := range moments {
		more, err := l.check(m, deeper && i%4 == 0)
		if crashes += 1 + more; err != nil {
			return crashes, fmt.Errorf("crash %d of %d, after moment %d of %d: %w", i, len(moments), m.High, l.at(), err)
		}
	}
	return crashes, nil
}

// promises looks whether the ledger has all that was admitted (I2), not more than the
// amount (I1), and not more that nobody spent than a crash may lose (I3).
func (l *life) promises() error {
	var used [crashKeys][crashDays]uint64
	for _, g := range l.voter.ledgers {
		err := g.Each(func(c *ondisk.Counter) error {
			used[c.Key.Lo][(c.Window.Start-windowOf(0).Start)/86_400] = c.Pool.Outstanding()
			return nil
		})
		if err != nil {
			return err
		}
	}
	for key := range used {
		for day, units := range used[key] {
			c := l.claims[key][day]
			switch {
			case units < c.admitted:
				return fmt.Errorf("I2: key %d, day %d: the ledger has %d units as used, %d were admitted", key, day, units, c.admitted)
			case units > c.peak:
				return fmt.Errorf("I1: key %d, day %d: %d units are used or granted of %d", key, day, units, c.peak)
			case units-c.admitted > c.strandable:
				return fmt.Errorf("I3: key %d, day %d: %d units are stranded, at most %d may be", key, day, units-c.admitted, c.strandable)
			}
		}
	}
	return nil
}

// drain asks again for what was answered in exact mode, which must not be charged
// again, and then for all that is left of today.
func (l *life) drain() error {
	if err := l.serve(); err != nil {
		return err
	}
	for _, r := range l.receipts {
		if !r.remembered(l.now) {
			continue
		}
		results, err := l.voter.propose(r.key%voterGroups, l.now, []quota.Command{l.exact(quota.OpSpend, &r)})
		if err != nil {
			return err
		}
		if results[0].Code != quota.OK || results[0].Charged != r.cost {
			return fmt.Errorf("I2: a request of %d units that was answered comes to %+v", r.cost, results[0])
		}
	}
	if err := l.promises(); err != nil {
		return fmt.Errorf("I2: a request that was answered is charged again: %w", err)
	}
	for key := range crashKeys {
		for cost := l.limit.Amount; cost > 0; {
			c := l.charge(key, cost)
			if err := l.finish(); err != nil {
				return err
			}
			if c.Charges()[0].Decision.Verdict != limiter.Allowed {
				cost /= 2
			}
		}
		if c := l.claims[key][l.day()]; c.admitted > c.peak {
			return fmt.Errorf("I1: key %d: %d units were admitted of %d", key, c.admitted, c.peak)
		}
	}
	return l.promises()
}

// crashes runs histories of a flaw, or of none.
func crashes(t *testing.T, n int, flaw string, faults bool) (storagetest.Report, error) {
	t.Helper()
	when := daily(t)
	return storagetest.Histories(n, func(i int) (storagetest.Report, error) {
		rng := rand.New(rand.NewPCG(*seed, uint64(i)))
		nobody := &life{flaw: flaw, when: when}
		l, err := born(vfs.NewCrashableMem(), nobody, snapshot{now: start, limit: limit(amountOf(rng))}, rng)
		if err != nil {
			return storagetest.Report{}, err
		}
		if faults {
			l.rec.FailAt(1+rng.Int64N(80), rng.IntN(2) == 0)
		}
		const steps = 60
		report := storagetest.Report{Histories: 1, Ops: steps}
		err = l.live(steps)
		if err != nil && !l.rec.Injected() {
			return report, err
		}
		if l.rec.Injected() {
			report.Faults = 1
		}
		report.Crashes, err = l.checkAll(20, true)
		return report, err
	})
}

// TestNoCrashBreaksAQuota cuts the power of a node at every point where it waits for
// the disk, while clients charge, give back, and ask in exact mode, over days and
// changes of the amount, and while answers and commands are lost.
func TestNoCrashBreaksAQuota(t *testing.T) {
	n := *histories
	if testing.Short() {
		n = (n + 4) / 5
	}
	for _, faults := range []bool{false, true} {
		report, err := crashes(t, n, noFlaw, faults)
		if err != nil {
			t.Fatalf("seed %d: %v", *seed, err)
		}
		t.Logf("seed %d: %+v", *seed, report)
		if report.Crashes < n || (faults && report.Faults == 0) {
			t.Fatalf("too few: %+v", report)
		}
	}
}

// The same histories find each of these.
func TestTheCrashTestCatchesANodeThatBreaksAQuota(t *testing.T) {
	for flaw, want := range map[string]string{
		answersEarly: "I2: ", forgetsTheLog: "I2: ", losesRequests: "I2: ", reusesATenure: "I[12]: ", grantsLavishly: "I3: ",
	} {
		t.Run(flaw, func(t *testing.T) {
			_, err := crashes(t, 20, flaw, false)
			if err == nil || !regexp.MustCompile(want).MatchString(err.Error()) {
				t.Fatalf("got %v, want an error with %q", err, want)
			}
			t.Log(err)
		})
	}
}
