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

func TestWhatNobodyWaitsForGathers(t *testing.T) {
	const gather = 50 * time.Millisecond
	for _, tt := range []struct {
		name  string
		do    func(d *grants.Driver, submit func(i int))
		after time.Duration // when the last of the commands is answered
		sizes []int
	}{
		{"for a while", func(_ *grants.Driver, submit func(int)) {
			for i := range 5 {
				submit(i)
				time.Sleep(gather / 10)
			}
		}, gather, []int{5}},
		{"until somebody waits for one of them", func(d *grants.Driver, submit func(int)) {
			submit(0)
			time.Sleep(gather / 2)
			submit(1)
			d.Hurry(of(3, 1))
		}, gather / 2, []int{2}},
		{"not at all if somebody waits already", func(d *grants.Driver, submit func(int)) {
			d.Hurry(of(3, 0))
			submit(0)
		}, 0, []int{1}},
		{"until there is something urgent", func(d *grants.Driver, submit func(int)) {
			submit(0)
			time.Sleep(gather / 5)
			_ = d.Submit(ensure(of(3, 9), 1, 10), func(*quota.Command, quota.Result, error) {})
		}, gather / 5, []int{2}},
		{"until they fill an entry", func(_ *grants.Driver, submit func(int)) {
			for i := range quota.CommandsMax {
				submit(i)
			}
		}, 0, []int{quota.CommandsMax}},
		{"without regard to other groups", func(d *grants.Driver, submit func(int)) {
			submit(0)
			d.Hurry(of(4, 0))
		}, gather, []int{1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGroups()
				cfg := settings(g)
				cfg.Gather = gather
				d := start(t, cfg)
				began, answered, last := time.Now(), 0, time.Duration(0)
				waiting := 0
				tt.do(d, func(i int) {
					waiting++
					err := d.Gather(ensure(of(3, i), 1, 10), func(_ *quota.Command, r quota.Result, err error) {
						if err != nil || r.Granted != 10 {
							t.Errorf("command %d: %+v, %v", i, r, err)
						}
						answered++
						last = time.Since(began)
					})
					if err != nil {
						t.Error(err)
					}
				})
				time.Sleep(gather)
				synctest.Wait()
				if answered != waiting || last != tt.after {
					t.Errorf("%d of %d were answered, the last after %s, want %s", answered, waiting, last, tt.after)
				}
				if sizes := g.ledgers[3].sizes(); !slices.Equal(sizes, tt.sizes) {
					t.Errorf("entries of %v commands, want %v", sizes, tt.sizes)
				}
				stop(t, d)
			})
		})
	}
}

func TestStopSendsWhatGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroups()
		d := start(t, settings(g))
		answered := false
		if err := d.Gather(ensure(of(0, 0), 1, 10), func(_ *quota.Command, _ quota.Result, err error) { answered = err == nil }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		stop(t, d)
		if took := time.Since(began); !answered || took != 0 {
			t.Errorf("answered: %v, after %s", answered, took)
		}
		if err := d.Gather(ensure(of(0, 0), 1, 10), nil); !errors.Is(err, grants.ErrStopped) {
			t.Errorf("after the stop: %v", err)
		}
	})
}
