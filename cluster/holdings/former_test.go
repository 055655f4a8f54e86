package holdings_test

import (
	"context"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// formerNode returns a node whose process before has charged units of key 1, and left; f
// is what it charged. gone says that it crashed instead.
func formerNode(tb testing.TB, amount, units uint64, gone bool) (n *node, f holdings.Former) {
	tb.Helper()
	n = newNode(tb, limit(amount), nil)
	c := n.call(limiter.OpCharge, 1, units)
	n.Decide(n.now, c)
	n.ledger.run()
	ch := &c.Charges()[0]
	f = holdings.Former{Key: ch.Key, Limit: ch.Limit, Partition: ch.Partition, Was: ch.Was}
	f.Tenure, f.Life = n.Keep(ch.Key, ch.Was, n.now.Add(time.Hour))
	if !gone {
		left := make(chan error, 1)
		go func() { left <- n.Leave(context.Background()) }()
		for len(left) == 0 {
			n.ledger.run()
		}
		if err := <-left; err != nil {
			tb.Fatal(err)
		}
	}
	n.restart(tb, limit(amount), func(cfg *holdings.Config) { cfg.Tenure = 2 })
	return n, f
}

func TestWhatAnEarlierProcessHasChargedGoesBackToThePool(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(n *node, f *holdings.Former)
		ask    []uint64 // at once
		want   []uint64 // credited
		used   uint64   // after it, of 60
	}{
		{"as much as is asked for", nil, []uint64{40}, []uint64{40}, 20},
		{"of several reservations of one counter", nil, []uint64{10, 20, 5}, []uint64{10, 20, 5}, 25},
		{"no more than was charged", nil, []uint64{40, 40}, []uint64{40, 20}, 0},
		{"nothing", nil, []uint64{0}, []uint64{0}, 60},
		{"not of the process that runs", func(_ *node, f *holdings.Former) { f.Tenure = 2 }, []uint64{40}, []uint64{0}, 60},
		{"not of nobody", func(_ *node, f *holdings.Former) { f.Tenure = 0 }, []uint64{40}, []uint64{0}, 60},
		{"not of a life that the pool does not know", func(_ *node, f *holdings.Former) { f.Life++ }, []uint64{40, 1}, []uint64{0, 0}, 60},
		{"not of a limit that is gone", func(_ *node, f *holdings.Former) {
			f.Limit = &limiter.Limit{Spec: limiter.Spec{ID: limiter.LimitID{9}, Def: 9, Kind: limiter.KindQuota}}
		}, []uint64{40}, []uint64{0}, 60},
		{"not long after the period", func(n *node, _ *holdings.Former) { n.now = n.now.Add(30 * 24 * time.Hour) }, []uint64{40}, []uint64{0}, 60},
	} {
		for _, gone := range []bool{false, true} {
			n, f := formerNode(t, 100, 60, gone)
			pool := n.today(1)
			stranded := pool.Outstanding() - 60 // by a crash
			if tt.change != nil {
				tt.change(n, &f)
			}
			got := make([]uint64, len(tt.ask))
			for i, units := range tt.ask {
				n.Credit(f, units, func(credited uint64) { got[i] += credited })
			}
			n.ledger.run()
			for i := range got {
				if got[i] != tt.want[i] {
					t.Errorf("%s, crashed %v: credited %v, want %v", tt.name, gone, got, tt.want)
				}
			}
			if used := pool.Outstanding() - stranded; used != tt.used {
				t.Errorf("%s, crashed %v: %d are used, want %d", tt.name, gone, used, tt.used)
			}
		}
	}
}

func TestWhatIsNotAnsweredIsNotCredited(t *testing.T) {
	n, f := formerNode(t, 100, 60, false)
	credited, calls := uint64(0), 0
	credit := func(units uint64) {
		n.Credit(f, units, func(c uint64) { credited += c; calls++ })
	}
	credit(10)
	credit(20)
	n.ledger.lose()
	if credited != 0 || calls != 2 {
		t.Errorf("%d credited in %d answers, want none in 2", credited, calls)
	}
	credit(30) // who comes later asks again
	n.ledger.run()
	if credited != 30 || calls != 3 || n.today(1).Outstanding() != 30 || n.Stats().Refunded != 30 {
		t.Errorf("%d credited in %d answers, %d outstanding, counted as %d", credited, calls, n.today(1).Outstanding(), n.Stats().Refunded)
	}
}

// TestCreditsOfAnEarlierProcessNeverExceedItsCharges: whatever is lost, late or repeated.
func TestCreditsOfAnEarlierProcessNeverExceedItsCharges(t *testing.T) {
	test := t
	rapid.Check(t, func(t *rapid.T) {
		n, f := formerNode(test, 100, 60, rapid.Bool().Draw(t, "crashed"))
		pool, before := n.today(1), n.today(1).Outstanding()
		asked, credited, pending := uint64(0), uint64(0), 0
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			if units := rapid.Uint64Range(1, 20).Draw(t, "units"); asked+units <= 60 && rapid.Bool().Draw(t, "ask") {
				asked += units
				pending++
				n.Credit(f, units, func(c uint64) { credited += c; pending-- })
			}
			if n.ledger.waiting() == 0 {
				continue
			}
			s := n.ledger.take(rapid.IntRange(0, n.ledger.waiting()-1).Draw(t, "which"))
			switch rapid.IntRange(0, 3).Draw(t, "fate") {
			case 0:
				s.done(&s.c, quota.Result{}, errLost)
			case 1: // applied, and the answer is lost
				n.ledger.apply(s.c)
				s.done(&s.c, quota.Result{}, errLost)
			case 2: // applied twice
				n.ledger.apply(s.c)
				s.done(&s.c, n.ledger.apply(s.c), nil)
			default:
				s.done(&s.c, n.ledger.apply(s.c), nil)
			}
			if back := before - pool.Outstanding(); back > asked || credited > back {
				t.Fatalf("%d asked for, %d in the pool, %d told", asked, back, credited)
			}
		}
		n.ledger.run()
		if back := before - pool.Outstanding(); back > asked || credited > back || pending != 0 {
			t.Fatalf("%d asked for, %d in the pool, %d told, %d not answered", asked, back, credited, pending)
		}
	})
}

// What no record has was charged to nobody, and what is owed is no granted unit: either would be
// taken from what others have spent.
func TestPostPaidUseThatDidNotFitIsNotCreditedToAnEarlierProcess(t *testing.T) {
	for _, debt := range []uint64{0, 5, 1000} {
		l := limit(100)
		l.Quota = &limiter.QuotaTerms{PostPaid: true, MaxDebt: debt}
		n := newNode(t, l, nil)
		fits := n.call(limiter.OpCharge, 1, 100)
		n.Decide(n.now, fits)
		n.ledger.run()
		kept := func(c *limiter.Call) holdings.Former {
			ch := &c.Charges()[0]
			f := holdings.Former{Key: ch.Key, Limit: ch.Limit, Partition: ch.Partition, Was: ch.Was}
			f.Tenure, f.Life = n.Keep(ch.Key, ch.Was, n.now.Add(time.Hour))
			return f
		}
		before := kept(fits)
		beyond := n.call(limiter.OpCharge, 1, 20)
		n.Decide(n.now, beyond)
		n.ledger.run()
		f := kept(beyond)
		left := make(chan error, 1)
		go func() { left <- n.Leave(context.Background()) }()
		for len(left) == 0 {
			n.ledger.run()
		}
		if err := <-left; err != nil {
			t.Fatal(err)
		}
		n.restart(t, l, func(cfg *holdings.Config) { cfg.Tenure = 2 })
		pool := n.today(1)
		n.Credit(f, 20, func(uint64) {})
		n.ledger.run()
		if got := pool.Outstanding(); got != 100 {
			t.Errorf("max debt %d: %d of the 100 units that others have spent are recorded, and %d owed", debt, got, pool.Debt())
		}
		n.Credit(before, 30, func(uint64) {})
		n.ledger.run()
		if got := pool.Outstanding(); got != 70 {
			t.Errorf("max debt %d: %d units are recorded when 30 of 100 that fit were given back", debt, got)
		}
	}
}
