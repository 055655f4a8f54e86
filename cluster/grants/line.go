package grants

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// After a failure a line pauses, from pauseMin doubling to pauseMax, with jitter:
// what is lost is soon submitted again, and would be lost again.
const (
	pauseMin = 10 * time.Millisecond
	pauseMax = time.Second
)

// againFor is for how long, after it failed first, a command is sent again: a leader that
// stops has handed its groups over by then. Sent twice, it does nothing the second time.
const againFor = time.Second

// An item is a command that waits, and who is told.
type item struct {
	command quota.Command
	done    Done
	served  bool            // another node's: it has come to its leader, or nowhere
	ahead   bool            // nobody waits for it
	until   limiter.Instant // when it is lost, since it has failed; 0: it has not
}

// A line is one group's queue and the goroutine that empties it: one entry is
// under way, and the next one gathers; it begins with those of the other lines. While
// nobody waits for any of it, it gathers for a while even if none is under way.
type line struct {
	cfg   *Config
	group uint32
	clock stamping // owned by run
	turns *rounds  // of all lines
	out   *couriers
	again bool // what was sent last failed; owned by run

	wake   chan struct{} // holds one: there is something to do
	retry  chan struct{} // holds one: a pause may end
	mu     sync.Mutex
	queue  []item // at most Config.QueueMax
	spare  []item // a queue that was sent, to be used again
	hurry  bool   // what waits is to be sent now, or what comes next if nothing waits
	closed bool
	counts LineStats // without Waiting
}

func newLine(cfg *Config, group uint32, turns *rounds, out *couriers) *line {
	return &line{
		cfg: cfg, group: group, clock: stamping{cfg: cfg, group: group}, turns: turns, out: out,
		wake: make(chan struct{}, 1), retry: make(chan struct{}, 1),
	}
}

// add queues items, all or none.
func (l *line) add(items ...item) error {
	err := l.enqueue(items)
	if err == nil {
		l.turns.came(len(items))
	}
	return err
}

func (l *line) enqueue(items []item) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(items) == 0:
		return nil
	case l.closed:
		return ErrStopped
	case len(l.queue)+len(items) > l.cfg.QueueMax:
		l.counts.Refused += uint64(len(items))
		return fmt.Errorf("%w: group %d: %d", ErrOverloaded, l.group, len(l.queue))
	}
	first := len(l.queue) == 0
	l.queue = append(l.queue, items...)
	l.hurry = l.hurry || !items[0].ahead || len(l.queue) >= quota.CommandsMax
	if first || l.hurry {
		ring(l.wake)
	}
	return nil
}

// hasten has what gathers sent now: somebody waits for it.
func (l *line) hasten() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hurry = true
	ring(l.wake)
}

// close refuses items; run ends when it has sent those that wait.
func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	ring(l.wake)
}

// nudge ends a pause.
func (l *line) nudge() { ring(l.retry) }

// ring leaves one signal in a channel that holds one.
func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take returns what waits, as much as an entry holds, and whether the line is
// closed. The items are the caller's, who gives them back by reuse.
func (l *line) take() (batch []item, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) <= quota.CommandsMax {
		batch, l.queue, l.spare = l.queue, l.spare, nil
		l.hurry = l.hurry && len(batch) == 0
	} else {
		batch = l.queue[:quota.CommandsMax:quota.CommandsMax]
		l.queue = l.queue[quota.CommandsMax:]
	}
	l.turns.came(-len(batch))
	return batch, l.closed
}

// more appends to a batch what waits now, as much as an entry holds.
func (l *line) more(batch []item) []item {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.queue), quota.CommandsMax-len(batch))
	batch = append(batch, l.queue[:n]...)
	if l.queue = slices.Delete(l.queue, 0, n); len(l.queue) == 0 {
		l.hurry = false
	}
	l.turns.came(-n)
	return batch
}

// reuse keeps the room of a batch that was sent.
func (l *line) reuse(batch []item) {
	clear(batch)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spare = batch[:0]
}

// gathering reports whether something waits, and may wait on.
func (l *line) gathering() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) > 0 && !l.hurry && !l.closed
}

// gather waits until what gathers is to be sent.
func (l *line) gather(ctx context.Context) {
	if !l.gathering() {
		return
	}
	t := time.NewTimer(l.cfg.Gather)
	defer t.Stop()
	for l.gathering() {
		select {
		case <-t.C:
			return
		case <-l.wake:
		case <-ctx.Done():
			return
		}
	}
}

// run sends what waits until the line is closed and empty, or ctx ends.
func (l *line) run(ctx context.Context) {
	pause := time.Duration(0)
	for {
		if l.idle() {
			<-l.wake
			continue
		}
		l.gather(ctx) // what waits is there until run takes it
		batch, closed := l.take()
		switch {
		case len(batch) > 0 && ctx.Err() != nil:
			l.giveUp(batch, ctx.Err())
		case len(batch) > 0:
			sent := l.send(ctx, batch)
			l.reuse(batch)
			l.again = !sent
			if sent {
				pause = 0
				continue
			}
			pause = min(max(2*pause, pauseMin), pauseMax)
			if !closed || l.waiting() {
				l.rest(ctx, pause)
			}
		case closed:
			return
		}
	}
}

// idle reports whether nothing is to be done until the line is woken.
func (l *line) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) == 0 && !l.closed
}

// waiting reports whether something waits to be sent.
func (l *line) waiting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) > 0
}

// rest waits for about d, for a nudge, or for the end of ctx.
func (l *line) rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d/2 + rand.N(d)) //nolint:gosec // it only spreads retries over time
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.retry:
	case <-ctx.Done():
	}
}

// send brings a batch to where the group is led and reports whether that went
// well. Every item is told.
func (l *line) send(ctx context.Context, batch []item) bool {
	if batch = l.timely(batch); len(batch) == 0 {
		return true
	}
	if l.cfg.Groups.Leads(l.group) {
		ctx, cancel := context.WithTimeout(ctx, l.cfg.Timeout)
		defer cancel()
		return l.propose(ctx, batch)
	}
	leader, known := l.cfg.Groups.Leader(l.group)
	if !known || leader.ID == l.cfg.ID {
		return l.fail(batch, ErrNoLeader)
	}
	return l.forward(ctx, leader, batch)
}

// propose makes an entry of what applied state does not answer.
func (l *line) propose(ctx context.Context, batch []item) bool {
	rest := l.unanswered(batch)
	if len(rest) == 0 {
		return true
	}
	turn := l.turns.enter()
	defer func() { l.turns.leave(turn, len(rest)) }()
	if n := len(rest); n < quota.CommandsMax {
		rest = l.more(rest[:n:n])
		rest = append(rest[:n], l.unanswered(l.timely(rest[n:]))...)
	}
	entry := l.stamp(ctx, commands(rest))
	answer, err := l.cfg.Groups.Propose(ctx, l.group, entry.AppendTo(nil))
	if err != nil {
		return l.fail(rest, err)
	}
	results, ok := answer.([]quota.Result)
	if !ok || len(results) != len(rest) {
		if err, _ = answer.(error); err == nil {
			err = fmt.Errorf("grants: group %d answered %T to an entry of %d commands", l.group, answer, len(rest))
		}
		return l.fail(rest, err)
	}
	l.count(func(s *LineStats) {
		s.Entries++
		s.Commands += uint64(len(rest))
	})
	l.tell(rest, results)
	return true
}

// unanswered returns the items that need an entry; the others are told.
func (l *line) unanswered(items []item) []item {
	if l.cfg.Groups.Current(l.group) {
		return l.answer(items)
	}
	return items
}

// answer tells the items that applied state has an answer for, and returns the
// others.
func (l *line) answer(batch []item) (rest []item) {
	rest = batch[:0]
	for _, it := range batch {
		// Who asks ahead of need has heard that there are units: it takes an entry. What
		// corrects a charge has to come behind it, which may be in the same entry.
		if it.ahead || it.command.Op.Corrects() {
			rest = append(rest, it)
			continue
		}
		r, ok := l.cfg.Ledger.Answer(l.group, &it.command)
		if !ok || r.Code == quota.Early { // the group's time moves with entries alone
			rest = append(rest, it)
			continue
		}
		l.count(func(s *LineStats) {
			s.Applied++
			s.ended(&it, endOf(r.Code))
		})
		it.done(&it.command, r, nil)
	}
	return rest
}

// forward sends this node's own items to the leader.
func (l *line) forward(ctx context.Context, to consensus.Server, batch []item) bool {
	own := batch[:0]
	for _, it := range batch {
		if it.served {
			l.lose([]item{it}, &consensus.NotLeaderError{Group: l.group, Leader: to})
			continue
		}
		own = append(own, it)
	}
	switch {
	case len(own) == 0:
		return true
	case l.cfg.Forward == nil:
		return l.fail(own, fmt.Errorf("%w: %s can't be reached", ErrNoLeader, to.ID))
	}
	p := &parcel{Part: Part{Group: l.group, Commands: commands(own)}, alone: l.again}
	l.out.send(ctx, to, p)
	if p.Err != nil {
		return l.fail(own, p.Err)
	}
	l.count(func(s *LineStats) { s.Sent += uint64(len(own)) })
	l.tell(own, p.Results)
	return true
}

// fail queues items again that got no answer, before those that wait, and tells those
// that no answer comes which have failed for too long or are another node's. It returns
// false.
func (l *line) fail(items []item, err error) bool {
	now := l.cfg.Now()
	var again, lost []item
	for _, it := range items {
		if it.until == 0 {
			it.until = now.Add(againFor)
		}
		if it.served || now >= it.until || errors.Is(err, context.Canceled) {
			lost = append(lost, it)
		} else {
			again = append(again, it)
		}
	}
	if l.putBack(again) {
		l.turns.came(len(again))
	} else {
		lost = append(lost, again...)
	}
	if len(lost) > 0 {
		l.lose(lost, err)
	}
	return false
}

// giveUp tells items that no answer comes since the driver has ended: those that were
// never sent ErrStopped, the others err.
func (l *line) giveUp(items []item, err error) {
	for _, it := range items {
		why := ErrStopped
		if it.until != 0 {
			why = err
		}
		l.lose([]item{it}, why)
	}
}

// putBack queues items before those that wait, if there is room.
func (l *line) putBack(items []item) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(items)+len(l.queue) > l.cfg.QueueMax {
		return false
	}
	l.queue = append(items, l.queue...)
	l.counts.Again += uint64(len(items))
	l.hurry = len(l.queue) > 0
	return true
}

// lose tells items that no answer comes.
func (l *line) lose(items []item, err error) {
	l.count(func(s *LineStats) {
		s.Lost += uint64(len(items))
		for i := range items {
			s.ended(&items[i], EndUnanswered)
		}
	})
	if f := l.cfg.Events.Failed; f != nil && !errors.Is(err, ErrStopped) {
		f(l.group, len(items), err)
	}
	for i := range items {
		items[i].done(&items[i].command, quota.Result{}, err)
	}
}

// tell gives every item its answer.
func (l *line) tell(items []item, results []quota.Result) {
	l.count(func(s *LineStats) {
		for i := range items {
			s.ended(&items[i], endOf(results[i].Code))
		}
	})
	for i := range items {
		items[i].done(&items[i].command, results[i], nil)
	}
}

// commands returns what the items ask for.
func commands(items []item) []quota.Command {
	cs := make([]quota.Command, len(items))
	for i := range items {
		cs[i] = items[i].command
	}
	return cs
}

func (l *line) count(change func(*LineStats)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.counts)
}

func (l *line) stats() LineStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.counts
	s.Waiting = len(l.queue)
	return s
}
