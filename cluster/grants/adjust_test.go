package grants_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate/headgate/limiter/quota"
)

// TestAnAdjustmentThatIsSentAgainIsDoneOnce: it was applied, and its answer lost; the next
// one of the same node comes behind it, so it does not find another's revision.
func TestAnAdjustmentThatIsSentAgainIsDoneOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroups()
		d := start(t, settings(g))
		g.set(func(g *groups) { g.fails, g.lost = errors.New("the answer is lost"), true })
		var told [2]answer
		for revision := range uint64(2) {
			c := quota.Command{Op: quota.OpAdjust, Key: of(3, 0), Window: today(), Correction: 5 + int64(revision), Revision: revision}
			if err := d.Submit(c, func(_ *quota.Command, r quota.Result, err error) { told[revision] = answer{r, err} }); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		g.set(func(g *groups) { g.fails = nil })
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for revision, a := range told {
			if a.err != nil || a.r.Code != quota.OK {
				t.Errorf("revision %d: %+v", revision, a)
			}
		}
		if s := d.Stats()[3]; told[1].r.Revision != 2 || s.Again == 0 {
			t.Errorf("%+v, sent again %d times", told[1].r, s.Again)
		}
		stop(t, d)
	})
}
