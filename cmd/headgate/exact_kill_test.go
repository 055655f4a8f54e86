package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"sync"
	"testing"
	"time"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

// exactKillPolicy has exact quotas, of which one is soon used up.
const exactKillPolicy = `domain: shop
limits:
  - {name: tiny, by: [tiny], quota: 40/year, mode: exact}
  - {name: much, by: [much], quota: 100000000/year, mode: exact}
`

// A ledgerOfClients is what clients know of the requests of one limit: what each
// asked for, and whether it was told that it passed.
type ledgerOfClients struct {
	mu       sync.Mutex
	admitted map[string]uint64 // cost by id
	open     map[string]uint64 // of requests that got no answer, or that the log did not decide
}

func (l *ledgerOfClients) note(id string, cost uint64, answer *headgatev1.CheckResponse, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil || answer.GetDegraded() != headgatev1.DegradedReason_DEGRADED_REASON_UNSPECIFIED:
		l.open[id] = cost
		return
	case answer.GetVerdict() == headgatev1.Verdict_VERDICT_ALLOWED:
		l.admitted[id] = cost
	default:
		delete(l.admitted, id) // it was never admitted, if all is well
	}
	delete(l.open, id)
}

// sum returns the units that clients were told they may use.
func (l *ledgerOfClients) sum() (units uint64) {
	for _, cost := range l.admitted {
		units += cost
	}
	return units
}

func exactRequest(limit, id string, cost uint64) *headgatev1.CheckRequest {
	r := killRequest(limit, cost)
	r.RequestId = []byte(id)
	return r
}

// settle asks again, with the same ids, until the log has decided all of them.
func (l *ledgerOfClients) settle(t *testing.T, c headgatev1.DecisionServiceClient, limit string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); len(l.open) > 0; {
		for id, cost := range maps.Clone(l.open) {
			answer, err := c.Check(t.Context(), exactRequest(limit, id, cost))
			if err != nil {
				t.Fatal(err)
			}
			l.note(id, cost, answer, nil)
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %d requests are not decided", limit, len(l.open))
		}
	}
}

// TestKilledAgainAndAgainAnExactQuotaIsExact kills a node under load. Clients ask
// again for what got no answer, with the same ids: then what they were told is what
// is charged, to the unit, and nothing is stranded.
func TestKilledAgainAndAgainAnExactQuotaIsExact(t *testing.T) {
	v := newVictim(t, exactKillPolicy)
	amounts := map[string]uint64{"tiny": 40, "much": 100_000_000}
	known := map[string]*ledgerOfClients{}
	for limit := range amounts {
		known[limit] = &ledgerOfClients{admitted: map[string]uint64{}, open: map[string]uint64{}}
	}
	lost := 0
	for round := range *exactKills {
		v.start()
		client, closeClient := v.client()
		for limit, l := range known {
			l.settle(t, client, limit)
			charged(t, client, limit, amounts[limit], l)
		}
		stop := make(chan struct{})
		var clients sync.WaitGroup
		for limit, l := range known {
			for i := range 4 {
				clients.Go(func() { l.load(client, stop, limit, fmt.Sprintf("%d/%d", round, i)) })
			}
		}
		time.Sleep(time.Duration(40+round*37%100) * time.Millisecond)
		v.end(os.Kill)
		close(stop)
		clients.Wait()
		closeClient()
		for _, l := range known {
			lost += len(l.open)
		}
	}
	v.start()
	client, closeClient := v.client()
	defer closeClient()
	for limit, l := range known {
		l.settle(t, client, limit)
		charged(t, client, limit, amounts[limit], l)
		asked := 0
		for id, cost := range l.admitted { // again: it is as it was
			if l.open[id] = cost; asked == 10 {
				break
			}
			asked++
		}
		before := l.sum()
		l.settle(t, client, limit)
		if l.sum() != before {
			t.Errorf("%s: %d units were admitted, and %d when asked again", limit, before, l.sum())
		}
		charged(t, client, limit, amounts[limit], l)
		t.Logf("exact %s: %d requests admitted, %d units, in %d kills", limit, len(l.admitted), l.sum(), *exactKills)
	}
	if known["tiny"].sum() == 0 || known["much"].sum() == 0 || lost == 0 {
		t.Errorf("%d requests got no answer: the test shows nothing", lost)
	}
}

// load asks for units, each time with another id, until stop is closed or the node is
// gone.
func (l *ledgerOfClients) load(c headgatev1.DecisionServiceClient, stop <-chan struct{}, limit, name string) {
	for n := uint64(0); ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		id, cost := fmt.Sprint(name, "/", n), 1+n%3
		answer, err := c.Check(context.Background(), exactRequest(limit, id, cost))
		l.note(id, cost, answer, err)
		if err != nil {
			return
		}
	}
}

// charged holds what is left of a quota to what its clients know. All that was asked
// is decided.
func charged(t *testing.T, c headgatev1.DecisionServiceClient, limit string, amount uint64, l *ledgerOfClients) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; {
		answer, err := c.Check(t.Context(), killRequest(limit, 0))
		if err != nil {
			t.Fatal(err)
		}
		if answer.GetDegraded() == 0 {
			if got, want := amount-answer.GetRemaining(), l.sum(); got != want || got > amount {
				t.Fatalf("%s: %d units are charged, and %d were admitted, of %d", limit, got, want, amount)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s can't be looked at: %v", limit, answer)
		}
	}
}
