package grants_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/grants"
	"github.com/headgate/headgate/limiter/quota"
)

func TestValidateNamesEveryProblem(t *testing.T) {
	good := settings(newGroups())
	for _, tc := range []struct {
		name  string
		spoil func(*grants.Config)
		want  []string
	}{
		{"the zero value lacks what has no default", func(c *grants.Config) { *c = grants.Config{} }, []string{"ID:", "Groups:", "Ledger:", "Now:", "Wall:"}},
		{"bounds", func(c *grants.Config) { c.QueueMax, c.Timeout = -1, time.Hour }, []string{"QueueMax=-1: must be in [1, 1048576]", "Timeout=1h0m0s: must be in [10ms, 1m0s]"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := good
			if err := c.Validate(); err != nil {
				t.Fatalf("before: %v", err)
			}
			tc.spoil(&c)
			_, err := grants.Start(c)
			if err == nil {
				t.Fatal("valid")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in: %v", want, err)
				}
			}
			if got := strings.Count(err.Error(), "\n") + 1; got != len(tc.want) {
				t.Errorf("%d problems: %v", got, err)
			}
		})
	}
}

func TestACommandIsAnsweredByTheLedgerOfItsGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroups()
		d := start(t, settings(g))
		for group := range uint32(quota.Groups) {
			a := ask(t, d, ensure(of(group, 0), 1, 10))
			if a.err != nil || a.r.Code != quota.OK || a.r.Granted != 10 || a.r.Free != 90 {
				t.Errorf("group %d: %+v, %v", group, a.r, a.err)
			}
			if sizes := g.ledgers[group].sizes(); !slices.Equal(sizes, []int{1}) {
				t.Errorf("group %d has entries of %v commands", group, sizes)
			}
		}
		stop(t, d)
	})
}

func TestWhatGathersIsTheNextEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroups()
		d := start(t, settings(g))
		release := g.hold()
		var answered atomic.Int32
		for i := range 2500 {
			err := d.Submit(ensure(of(3, i), 1, 10), func(c *quota.Command, r quota.Result, err error) {
				if err != nil || r.Granted != 10 || c.Key != of(3, i) {
					t.Errorf("command %d: %+v, %v", i, r, err)
				}
				answered.Add(1)
			})
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				synctest.Wait() // it is under way alone
			}
		}
		synctest.Wait()
		if s := d.Stats()[3]; s.Waiting != 2499 {
			t.Errorf("stats %+v", s)
		}
		release()
		synctest.Wait()
		if got := answered.Load(); got != 2500 {
			t.Errorf("%d were answered", got)
		}
		if sizes := g.ledgers[3].sizes(); !slices.Equal(sizes, []int{1, 1024, 1024, 451}) {
			t.Errorf("entries of %v commands", sizes)
		}
		if s := d.Stats()[3]; s.Entries != 4 || s.Commands != 2500 || s.Waiting != 0 || s.Lost != 0 {
			t.Errorf("stats %+v", s)
		}
		stop(t, d)
	})
}

func TestOneGroupDoesNotWaitForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroups()
		d := start(t, settings(g))
		release := g.hold()
		if err := d.Submit(ensure(of(0, 0), 1, 1), func(*quota.Command, quota.Result, error) {}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		g.set(func(g *groups) { g.gate = nil }) // group 0 is held already
		if a := ask(t, d, ensure(of(1, 0), 1, 1)); a.err != nil {
			t.Error(a.err)
		}
		release()
		stop(t, d)
	})
}

func TestAnExhaustedPoolMakesNoEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroups()
		d := start(t, settings(g))
		if a := ask(t, d, ensure(of(0, 0), 100, 100)); a.err != nil || a.r.Granted != 100 {
			t.Fatalf("%+v", a)
		}
		for range 1000 {
			if a := ask(t, d, ensure(of(0, 0), 101, 200)); a.err != nil || a.r.Code != quota.Exhausted || a.r.Granted != 100 {
				t.Fatalf("%+v", a)
			}
		}
		if s := d.Stats()[0]; s.Entries != 1 || s.Applied != 1000 || s.Ends[quota.OpEnsure] != [...]uint64{1, 1000, 0, 0, 0} {
			t.Errorf("stats %+v", s)
		}
		stop(t, d)
	})
}

func TestQueuesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroups()
		cfg := settings(g)
		cfg.QueueMax = 2
		d := start(t, cfg)
		release := g.hold()
		told := 0
		submit := func(i int) error {
			return d.Submit(ensure(of(0, i), 1, 1), func(*quota.Command, quota.Result, error) { told++ })
		}
		for i := range 3 {
			if err := submit(i); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if err := submit(3); !errors.Is(err, grants.ErrOverloaded) {
			t.Errorf("one under way and two wait: %v", err)
		}
		if s := d.Stats()[0]; s.Refused != 1 || s.Waiting != 2 {
			t.Errorf("stats %+v", s)
		}
		release()
		synctest.Wait()
		if told != 3 {
			t.Errorf("%d were told", told)
		}
		stop(t, d)
	})
}

func TestWhatGotNoAnswerIsSentAgainAndDoneOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroups()
		d := start(t, settings(g))
		g.set(func(g *groups) { g.fails, g.lost = consensus.ErrUnknown, true })
		told := make(chan answer, 1)
		if err := d.Submit(ensure(of(0, 0), 10, 10), func(_ *quota.Command, r quota.Result, err error) { told <- answer{r, err} }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		g.set(func(g *groups) { g.fails, g.lost = nil, false })
		if a := <-told; a.err != nil || a.r.Granted != 10 || a.r.Free != 90 {
			t.Errorf("%+v", a)
		}
		if s := d.Stats()[0]; s.Lost != 0 || s.Again == 0 || s.Again > 5 {
			t.Errorf("stats %+v", s)
		}
		stop(t, d)
	})
}

func TestWhatFailsForLongIsToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroups()
		cfg := settings(g)
		var failed []string
		cfg.Events.Failed = func(group uint32, commands int, err error) {
			failed = append(failed, fmt.Sprint(group, commands, errors.Is(err, consensus.ErrUnknown)))
		}
		d := start(t, cfg)
		g.set(func(g *groups) { g.fails = consensus.ErrUnknown })
		began := time.Now()
		if a := ask(t, d, ensure(of(0, 0), 10, 10)); !errors.Is(a.err, consensus.ErrUnknown) {
			t.Errorf("%+v", a)
		}
		if took := time.Since(began); took < time.Second || took > 3*time.Second {
			t.Errorf("told after %s", took)
		}
		// What another node sent fails at once: that node sends it again.
		began = time.Now()
		if _, err := d.Serve(t.Context(), 0, []quota.Command{ensure(of(0, 0), 10, 10)}); !errors.Is(err, consensus.ErrUnknown) || time.Since(began) > 3*time.Second {
			t.Errorf("served: %v after %s", err, time.Since(began))
		}
		g.set(func(g *groups) { g.fails = nil })
		if a := ask(t, d, ensure(of(0, 0), 10, 10)); a.err != nil || a.r.Granted != 10 || a.r.Free != 90 {
			t.Errorf("asked again: %+v", a)
		}
		if !slices.Equal(failed, []string{"0 1 true", "0 1 true"}) {
			t.Errorf("events %q", failed)
		}
		if s := d.Stats()[0]; s.Lost != 2 || s.Again == 0 || s.Entries != 1 || s.Ends[quota.OpEnsure] != [...]uint64{1, 0, 0, 1, 0} {
			t.Errorf("stats %+v", s)
		}
		stop(t, d)
	})
}

func TestFailuresAreSpacedAndANewLeaderEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroups()
		d := start(t, settings(g))
		g.set(func(g *groups) { g.leader = consensus.Server{} })
		began := time.Now()
		for range 30 {
			if a := ask(t, d, ensure(of(0, 0), 1, 1)); !errors.Is(a.err, grants.ErrNoLeader) {
				t.Fatalf("%+v", a)
			}
		}
		if took := time.Since(began); took < 10*time.Second || took > 2*time.Minute {
			t.Errorf("30 failures in %s", took)
		}
		g.set(func(g *groups) { g.leader = g.voters[0] })
		began = time.Now()
		d.LeaderChanged(0)
		if a := ask(t, d, ensure(of(0, 0), 1, 1)); a.err != nil {
			t.Errorf("%+v", a)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the new leader was asked after %s", took)
		}
		stop(t, d)
	})
}

func TestAWrongAnswerOfTheStateMachineIsAnError(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer any
		want   string
	}{
		{"an error", errors.New("the entry is damaged"), "the entry is damaged"},
		{"nothing", nil, "answered <nil> to an entry of 1 commands"},
		{"too few results", []quota.Result{}, "answered []quota.Result to an entry of 1 commands"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := settings(newGroups())
				cfg.Groups = odd{cfg.Groups, tc.answer}
				d := start(t, cfg)
				if a := ask(t, d, ensure(of(0, 0), 1, 1)); a.err == nil || !strings.Contains(a.err.Error(), tc.want) {
					t.Errorf("%+v", a)
				}
				stop(t, d)
			})
		})
	}
}

// odd are groups whose state machine answers something else.
type odd struct {
	grants.Groups
	answer any
}

func (o odd) Propose(context.Context, uint32, []byte) (any, error) { return o.answer, nil }

func TestCommandsReachTheLeaderFromAnotherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lead := newGroups()
		leader := start(t, settings(lead))

		follow := newGroups()
		b := consensus.Server{ID: "b", Addr: "b:1"}
		follow.set(func(g *groups) { g.leader, g.voters = b, append(g.voters, b) })
		cfg := settings(follow)
		cfg.Forward = func(ctx context.Context, to consensus.Server, parts []*grants.Part) {
			if to != b || len(parts) != 1 {
				t.Errorf("%d parts sent to %v", len(parts), to)
			}
			parts[0].Results, parts[0].Err = leader.Serve(ctx, parts[0].Group, parts[0].Commands)
		}
		d := start(t, cfg)
		if a := ask(t, d, ensure(of(5, 0), 1, 10)); a.err != nil || a.r.Granted != 10 {
			t.Errorf("%+v", a)
		}
		if s := d.Stats()[5]; s.Sent != 1 || s.Entries != 0 || s.Ends[quota.OpEnsure][grants.EndDone] != 1 {
			t.Errorf("stats %+v", s)
		}
		if s := leader.Stats()[5]; s.Entries != 1 || s.Ends[quota.OpEnsure][grants.EndDone] != 0 {
			t.Errorf("another node's command is counted there: %+v", s)
		}
		// What another node sent is not sent on.
		_, err := d.Serve(t.Context(), 5, []quota.Command{ensure(of(5, 0), 1, 10)})
		var to *consensus.NotLeaderError
		if !errors.As(err, &to) || to.Leader != b {
			t.Errorf("served by a follower: %v", err)
		}
		if _, err := d.Serve(t.Context(), 8, nil); err == nil {
			t.Error("group 8 was served")
		}
		if _, err := d.Serve(t.Context(), 0, make([]quota.Command, 1025)); err == nil {
			t.Error("1,025 commands were served")
		}
		stop(t, d)
		stop(t, leader)
	})
}

func TestServeEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroups()
		d := start(t, settings(g))
		release := g.hold()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := d.Serve(ctx, 0, []quota.Command{ensure(of(0, 0), 1, 1)}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("served: %v", err)
		}
		release()
		stop(t, d)
	})
}

func TestStopSendsWhatWaitsAndTellsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroups()
		d := start(t, settings(g))
		release := g.hold()
		told := []error{}
		for i := range 3 {
			if err := d.Submit(ensure(of(0, i), 1, 1), func(_ *quota.Command, _ quota.Result, err error) { told = append(told, err) }); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		go release()
		stop(t, d)
		if len(told) != 3 || errors.Join(told...) != nil {
			t.Errorf("told %v", told)
		}
		if err := d.Submit(ensure(of(0, 0), 1, 1), nil); !errors.Is(err, grants.ErrStopped) {
			t.Errorf("submitted after the stop: %v", err)
		}
	})
}

func TestStopGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroups()
		cfg := settings(g)
		cfg.Timeout = time.Minute
		d := start(t, cfg)
		defer g.hold()()
		var told []error
		for i := range 2 {
			if err := d.Submit(ensure(of(0, i), 1, 1), func(_ *quota.Command, _ quota.Result, err error) { told = append(told, err) }); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stop: %v", err)
		}
		if len(told) != 2 || !errors.Is(told[0], context.Canceled) || !errors.Is(told[1], grants.ErrStopped) {
			t.Errorf("told %v", told)
		}
	})
}

// A skewed clock can be set while the driver runs.
type skewed struct{ by atomic.Int64 } // milliseconds

func (s *skewed) wall() int64 { return time.Now().UnixMilli() + s.by.Load() }

func TestAClockThatJumpsMovesTheGroupsTimeSlowly(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, tc := range []struct {
		name   string
		others []time.Duration // how far the other voters' clocks are ahead
		after  time.Duration
		stays  bool
	}{
		{"a lone voter waits", nil, time.Minute, true},
		{"and believes it at last", nil, 10 * time.Minute, false},
		{"two others disagree", []time.Duration{0, 0}, time.Hour, true},
		{"one other agrees", []time.Duration{year, 0}, 2 * time.Second, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, clock := newGroups(), &skewed{}
				cfg := settings(g)
				cfg.Wall = clock.wall
				suspect := 0
				cfg.Events.ClockSuspect = func(_ uint32, ahead time.Duration) {
					suspect++
					if ahead < 364*24*time.Hour {
						t.Errorf("ahead by %s", ahead)
					}
				}
				for i := range tc.others {
					g.voters = append(g.voters, consensus.Server{ID: string(rune('b' + i))})
				}
				var jumped atomic.Bool
				cfg.Clock = func(_ context.Context, of consensus.Server) (int64, error) {
					at := time.Now()
					if jumped.Load() {
						at = at.Add(tc.others[of.ID[0]-'b'])
					}
					return at.UnixMilli(), nil
				}
				d := start(t, cfg)
				i := 0
				entry := func() {
					i++
					if a := ask(t, d, ensure(of(0, i), 1, 1)); a.err != nil {
						t.Fatal(a.err)
					}
				}
				entry()
				if got, want := g.Time(0), time.Now().UnixMilli(); got != want {
					t.Fatalf("the group's time is %d ms, the clock's %d", got, want)
				}
				clock.by.Store(year.Milliseconds())
				jumped.Store(true)
				for began := time.Now(); time.Since(began) < tc.after; time.Sleep(time.Second / 2) {
					entry()
				}
				off := time.Duration(g.Clock(0)-time.Now().UnixMilli()) * time.Millisecond
				if lead := time.Duration(g.Time(0)-time.Now().UnixMilli()) * time.Millisecond; lead > tc.after+time.Second {
					t.Errorf("after %s the group's time is %s ahead", tc.after, lead)
				}
				if suspect == 0 && tc.stays {
					t.Error("nothing was suspected")
				}
				if tc.stays && off > tc.after/50+2*time.Second || !tc.stays && off < year-time.Hour {
					t.Errorf("after %s the group's clock is %s ahead", tc.after, off)
				}
				clock.by.Store(0)
				entry()
				stop(t, d)
			})
		})
	}
}

func TestWithoutAMajorityOfClocksTimeStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroups()
		g.voters = append(g.voters, consensus.Server{ID: "b"}, consensus.Server{ID: "c"})
		cfg := settings(g)
		cfg.Clock = func(ctx context.Context, _ consensus.Server) (int64, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		d := start(t, cfg)
		began := time.Now()
		if a := ask(t, d, ensure(of(0, 0), 1, 1)); a.err != nil || a.r.Code != quota.Early {
			t.Errorf("%+v", a)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("waited %s for clocks", took)
		}
		stop(t, d)
	})
}
