package grants_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate/headgate/cluster/grants"
	"github.com/headgate/headgate/limiter/quota"
)

// A clocked is a lone voter whose wall clock may be wrong, and which stays when the
// process ends.
type clocked struct {
	t      *testing.T
	groups *groups
	clock  skewed
	driver *grants.Driver
}

// begin starts a process while the wall clock is wrong by off.
func (c *clocked) begin(off time.Duration) {
	c.clock.by.Store(off.Milliseconds())
	cfg := settings(c.groups)
	cfg.Wall = c.clock.wall
	c.driver = start(c.t, cfg)
}

func (c *clocked) end() { stop(c.t, c.driver) }

// day returns the day that the wall clock is in.
func (c *clocked) day() quota.Window {
	const day = 86_400
	began := c.clock.wall() / 1000 / day * day
	return quota.Window{Start: began, End: began + day}
}

// grant asks for one unit more of a counter in w, of which it has had so many.
func (c *clocked) grant(w quota.Window, had uint64) {
	c.t.Helper()
	k := of(0, 1)
	command := ensure(k, had+1, had+1)
	command.Window = w
	if a := ask(c.t, c.driver, command); a.err != nil || a.r.Code != quota.OK || a.r.Granted != had+1 {
		c.t.Errorf("unit %d of the day %s: %+v", had+1, time.Unix(w.Start, 0).UTC().Format(time.DateOnly), a)
	}
}

// run has the group make an entry each minute for a while.
func (c *clocked) run(d time.Duration) {
	for began, i := time.Now(), 2; time.Since(began) < d; i++ {
		time.Sleep(time.Minute)
		command := ensure(of(0, i), 1, 1)
		command.Window = c.day()
		if a := ask(c.t, c.driver, command); a.err != nil {
			c.t.Fatal(a.err)
		}
	}
}

func TestNoClockHasAWindowForgotten(t *testing.T) {
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	for name, history := range map[string]func(c *clocked){
		"a year ahead while it runs, and back": func(c *clocked) {
			c.clock.by.Store(year.Milliseconds())
			c.run(6 * time.Hour)
			c.clock.by.Store(0)
		},
		"a year ahead at the start, and right at the next": func(c *clocked) {
			c.end()
			c.begin(year)
			c.grant(c.day(), 0) // it is believed as to what opens
			c.run(6 * time.Hour)
			c.grant(c.day(), 1)
			c.end()
			c.begin(0)
		},
		"a year ahead at every other start": func(c *clocked) {
			for range 5 {
				c.end()
				c.begin(year)
				c.run(time.Hour)
				c.end()
				c.begin(0)
				c.run(time.Minute)
			}
		},
		"a month behind at the start": func(c *clocked) {
			c.end()
			c.begin(-30 * day)
			c.run(time.Hour)
			c.end()
			c.begin(0)
		},
		"a year ahead at the start, and set right while it runs": func(c *clocked) {
			c.end()
			c.begin(year)
			c.run(time.Hour)
			c.clock.by.Store(0)
			c.run(time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &clocked{t: t, groups: newGroups()}
				c.begin(0)
				before := c.day()
				c.grant(before, 0)
				c.grant(before, 1)
				history(c)
				if c.day() != before {
					t.Fatal("the test takes longer than a day")
				}
				c.grant(before, 2)
				c.end()
			})
		})
	}
}

func TestANodeThatWasOffServesTodayAtOnceAndForgetsLater(t *testing.T) {
	const day, months = 24 * time.Hour, 90 * 24 * time.Hour
	synctest.Test(t, func(t *testing.T) {
		c := &clocked{t: t, groups: newGroups()}
		c.begin(0)
		old := c.day()
		c.grant(old, 0)
		c.end()
		time.Sleep(months)
		c.begin(0)
		c.grant(c.day(), 0)
		c.grant(old, 1) // it might be that the clock is wrong
		for range 94 {
			time.Sleep(day)
			c.grant(c.day(), 0)
		}
		command := ensure(of(0, 1), 3, 3)
		command.Window = old
		if a := ask(t, c.driver, command); a.r.Code != quota.Purged {
			t.Errorf("after as long again: %+v", a)
		}
		c.end()
	})
}
