package grants

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/limiter/quota"
)

var other = consensus.Server{ID: "b", Addr: "b:1"}

// A post is where couriers bring messages: each waits until it is let go.
type post struct {
	mu   sync.Mutex // guards what follows
	came [][]uint32 // the groups of each message
	let  chan struct{}
}

func (p *post) forward(_ context.Context, _ consensus.Server, parts []*Part) {
	var groups []uint32
	for _, part := range parts {
		groups = append(groups, part.Group)
		part.Results = make([]quota.Result, len(part.Commands))
	}
	slices.Sort(groups)
	p.mu.Lock()
	p.came = append(p.came, groups)
	p.mu.Unlock()
	<-p.let
}

func (p *post) messages() [][]uint32 {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.came)
}

// posted returns couriers to a post, and how to send a part of some commands.
func posted(t *testing.T) (p *post, c *couriers, send func(group uint32, commands int, alone bool)) {
	t.Helper()
	p = &post{let: make(chan struct{})}
	c = newCouriers(&Config{Timeout: time.Second, Forward: p.forward})
	return p, c, func(group uint32, commands int, alone bool) {
		go func() {
			part := &parcel{Part: Part{Group: group, Commands: make([]quota.Command, commands)}, alone: alone}
			if c.send(t.Context(), other, part); part.Err != nil || len(part.Results) != commands {
				t.Errorf("group %d: %d results, %v", group, len(part.Results), part.Err)
			}
		}()
		synctest.Wait()
	}
}

func TestWhatWaitsForOneNodeTravelsInOneMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c, send := posted(t)
		for g := range uint32(quota.Groups) {
			send(g, 1, false)
		}
		if got := p.messages(); !slices.EqualFunc(got, [][]uint32{{0}, {1}}, slices.Equal) {
			t.Fatalf("under way: %v", got)
		}
		p.let <- struct{}{}
		if got := p.messages(); len(got) != 3 || !slices.Equal(got[2], []uint32{2, 3, 4, 5, 6, 7}) {
			t.Errorf("then: %v", got)
		}
		close(p.let)
		if synctest.Wait(); len(c.to) > 0 {
			t.Error("a courier is left")
		}
	})
}

func TestAMessageIsBoundedAndWhatHasFailedTravelsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _, send := posted(t)
		send(0, 1, false)
		send(1, 1, false)
		send(2, 1000, false)
		send(3, 24, false)
		send(4, 1, false)
		send(5, 1, true)
		send(6, 1, false)
		for range 5 { // of those that are under way the older one
			p.let <- struct{}{}
			synctest.Wait()
		}
		close(p.let)
		if got := p.messages(); !slices.EqualFunc(got[2:], [][]uint32{{2, 3}, {4}, {5}, {6}}, slices.Equal) {
			t.Errorf("messages of groups %v", got)
		}
	})
}

func TestAnAnswerThatIsNotOneForEachCommandIsAnError(t *testing.T) {
	c := newCouriers(&Config{Timeout: time.Second, Forward: func(_ context.Context, _ consensus.Server, parts []*Part) {
		parts[0].Results = make([]quota.Result, 1)
	}})
	p := &parcel{Part: Part{Commands: make([]quota.Command, 2)}}
	if c.send(t.Context(), other, p); p.Err == nil {
		t.Errorf("%d results", len(p.Results))
	}
}

// Whoever comes and goes, every part arrives once, and few messages are under way.
func TestEveryPartArrivesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var under, messages atomic.Int32
		rng, mu := rand.New(rand.NewPCG(1, 1)), sync.Mutex{} // guards rng
		lost := errors.New("lost")
		c := newCouriers(&Config{Timeout: time.Second, Forward: func(_ context.Context, _ consensus.Server, parts []*Part) {
			if n := under.Add(1); n > carriersMax {
				t.Errorf("%d messages under way", n)
			}
			messages.Add(1)
			mu.Lock()
			took, fails := time.Duration(rng.IntN(3000))*time.Microsecond, rng.IntN(10) == 0
			mu.Unlock()
			time.Sleep(took)
			for _, p := range parts {
				if p.Results != nil || p.Err != nil {
					t.Error("a part is sent twice")
				}
				if p.Results = make([]quota.Result, len(p.Commands)); fails {
					p.Results, p.Err = nil, lost
				}
			}
			under.Add(-1)
		}})
		var lines sync.WaitGroup
		for g := range uint32(quota.Groups) {
			lines.Go(func() {
				again := false
				for range 200 {
					p := &parcel{Part: Part{Group: g, Commands: make([]quota.Command, 1+int(g)*100)}, alone: again}
					c.send(t.Context(), other, p)
					if again = p.Err != nil; !again && len(p.Results) != len(p.Commands) {
						t.Errorf("%d results to %d commands", len(p.Results), len(p.Commands))
					}
					time.Sleep(time.Duration(g) * 100 * time.Microsecond)
				}
			})
		}
		lines.Wait()
		if n := messages.Load(); n < 200 || n > 200*quota.Groups*3/4 {
			t.Errorf("%d messages for %d parts", n, 200*quota.Groups)
		}
		if len(c.to) > 0 {
			t.Error("a courier is left")
		}
	})
}

func FuzzDecodeAnswers(f *testing.F) {
	parts := func() []*Part {
		return []*Part{{Group: 3, Commands: make([]quota.Command, 1)}, {Group: 5, Commands: make([]quota.Command, 2)}}
	}
	answers := parts()
	answers[0].Err = errors.New("late")
	answers[1].Results = []quota.Result{{Code: quota.OK, Granted: 7}, {Code: quota.Exhausted}}
	f.Add(appendAnswers(nil, answers))
	f.Add([]byte("\x01\x05late"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		ps := parts()
		if decodeAnswers(b, ps) != nil {
			return
		}
		for _, p := range ps {
			if (p.Err != nil) == (len(p.Results) == len(p.Commands)) {
				t.Errorf("%d results, %v", len(p.Results), p.Err)
			}
		}
	})
}
