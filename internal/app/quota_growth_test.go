package app

import (
	"errors"
	"testing"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

func TestWhatIsDoubtedIsAskedForAgainWithinASecond(t *testing.T) {
	h, err := holdings.New(holdings.Config{
		Submit: func(quota.Command, func(*quota.Command, quota.Result, error)) error { return errors.New("no ledger") },
		Rest:   func(limiter.Instant, *limiter.Call) {},
		Now:    func() limiter.Instant { return 1 },
		Tenure: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	var g quotaGrowth
	g.grown(nil) // before there are holdings
	g.pace(h)
	g.replaced(2)
	g.replaced(5)
	rounds := 0
	for ; g.doubted.Load() != 0 || g.groups != 0; rounds++ {
		if g.pace(h); rounds == 10 {
			if g.groups != 1<<2|1<<5 {
				t.Fatalf("groups %b are gone through", g.groups)
			}
			g.replaced(2) // again, while it is gone through: from the start
		}
	}
	if most := 2 * int(doubtOver/tendEvery); rounds > most || rounds < most/2 {
		t.Errorf("twice all parts took %d rounds: at most %d make two seconds", rounds, most)
	}
}
