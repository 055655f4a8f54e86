package grants_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate/headgate/cluster/grants"
	"github.com/headgate/headgate/limiter/quota"
)

// TestWhatNobodyWaitsForAnyMoreIsNotSent: while an entry is under way the time of some who
// wait for the next one passes.
func TestWhatNobodyWaitsForAnyMoreIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroups()
		cfg := settings(g)
		d := start(t, cfg)
		var told [5]answer
		submit := func(i int, within time.Duration) {
			c := ensure(of(3, i), 1, 10)
			if within > 0 {
				c.Deadline = cfg.Now().Add(within)
			}
			if err := d.Submit(c, func(_ *quota.Command, r quota.Result, err error) { told[i] = answer{r, err} }); err != nil {
				t.Fatal(err)
			}
		}
		release := g.hold()
		submit(0, time.Millisecond)
		synctest.Wait() // it is under way alone
		submit(1, 10*time.Millisecond)
		submit(2, 0)
		submit(3, time.Hour)
		submit(4, 10*time.Millisecond)
		time.Sleep(20 * time.Millisecond)
		release()
		time.Sleep(10 * time.Millisecond) // a round may wait for who was just answered
		synctest.Wait()
		for i, a := range told {
			if late := i == 1 || i == 4; errors.Is(a.err, quota.ErrLate) != late || !late && a.r.Granted != 10 {
				t.Errorf("command %d: %+v", i, a)
			}
		}
		if sizes := g.ledgers[3].sizes(); !slices.Equal(sizes, []int{1, 2}) {
			t.Errorf("entries of %v commands", sizes)
		}
		if s := d.Stats()[3]; s.Ends[quota.OpEnsure][grants.EndLate] != 2 || s.Lost != 0 {
			t.Errorf("stats %+v", s)
		}
		stop(t, d)
	})
}

// TestWhatMayHaveBeenDoneIsSentAgainWhateverItsDeadline: its sender would take it for not
// done.
func TestWhatMayHaveBeenDoneIsSentAgainWhateverItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroups()
		cfg := settings(g)
		d := start(t, cfg)
		g.set(func(g *groups) { g.fails, g.lost = errors.New("the leader stops"), true })
		c := ensure(of(3, 0), 1, 10)
		c.Deadline = cfg.Now().Add(time.Millisecond)
		time.AfterFunc(200*time.Millisecond, func() { g.set(func(g *groups) { g.fails = nil }) })
		if a := ask(t, d, c); a.err != nil || a.r.Granted != 10 {
			t.Errorf("%+v", a)
		}
		stop(t, d)
	})
}
