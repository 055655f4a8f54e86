package bench

import (
	"context"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// attemptsMax is how often a request is sent again that servers refuse
	// unseen (GOAWAY, REFUSED_STREAM).
	attemptsMax = 8
	// inlineMax is how many bytes of requests may be in flight on a connection
	// for its reader to write them: what fits the sockets' buffers can't block,
	// and so a server that writes before it reads can't lock up with us.
	inlineMax = 64 << 10
	// Bounds of the wait between two attempts to connect.
	backoffMin = 10 * time.Millisecond
	backoffMax = 500 * time.Millisecond
)

// A lane is one stream of requests to the target. It has one connection that
// takes requests, none while it connects anew, and maybe older ones that still
// answer.
type lane struct {
	*plan
	number int
	inline bool // the reader writes; else the sender does

	mu      sync.Mutex // guards all below, and the connections
	keys    *keyGenerator
	current *link
	conns   []*link // that are not over
	active  int     // requests in flight on them
	repeats []repeat
	arrival int64 // the next of the schedule
	blocked int64 // when requests that were due last had to wait for the server
	aborted bool  // what is in flight at the end has timed out
	forget  bool  // what is in flight at the end is not accounted for
	over    bool

	tallies    [2]tally // warm-up, measurement
	latency    *hdrhistogram.Histogram
	lag        *hdrhistogram.Histogram // nil in a closed loop
	backlogTop int64
	connects   int // after the first
	goAways    int
	trouble    error // the last that ended a connection or an attempt at one

	wake chan struct{} // holds one signal to the sender
	end  chan struct{} // closed when over
	wg   sync.WaitGroup
}

// A repeat is a request to be sent again.
type repeat struct {
	start    int64
	attempts uint8
}

func newLane(p *plan, number int) *lane {
	l := &lane{
		plan:    p,
		number:  number,
		inline:  p.config.inFlight()*(len(p.workload.body)+128) <= inlineMax,
		keys:    newKeyGenerator(p.config, p.workload.keys, number),
		latency: newHistogram(),
		wake:    make(chan struct{}, 1),
		end:     make(chan struct{}),
	}
	if p.schedule.interval > 0 {
		l.lag = newHistogram()
	}
	return l
}

// start begins to make requests on c. ctx ends the lane's attempts to connect.
func (l *lane) start(ctx context.Context, c *link) {
	l.mu.Lock()
	l.attach(c)
	l.mu.Unlock()
	l.wg.Go(func() { l.keepConnected(ctx, c) })
	l.wg.Go(l.send)
}

// attach makes c the connection that takes requests.
func (l *lane) attach(c *link) {
	l.current = c
	l.conns = append(l.conns, c)
	l.wg.Go(func() {
		c.read()
		l.mu.Lock()
		for i := range l.conns {
			if l.conns[i] == c {
				l.conns = append(l.conns[:i], l.conns[i+1:]...)
				break
			}
		}
		l.mu.Unlock()
	})
}

// keepConnected replaces the connection whenever it takes no more requests.
func (l *lane) keepConnected(ctx context.Context, c *link) {
	for {
		select {
		case <-l.end:
			return
		case <-c.gone:
		}
		if time.Since(c.made) < backoffMax && !l.pause(backoffMin) {
			return // a server that hangs up at once is not dialled in a busy loop
		}
		for wait := backoffMin; ; wait = min(2*wait, backoffMax) {
			next, err := connect(ctx, l)
			l.mu.Lock()
			if l.over {
				l.mu.Unlock()
				if err == nil {
					next.hangUp()
				}
				return
			}
			if err == nil {
				l.connects++
				l.attach(next)
				l.mu.Unlock()
				c = next
				break
			}
			l.recordFault(l.now(), faultConnect)
			l.trouble = err
			l.mu.Unlock()
			if !l.pause(wait) {
				return
			}
		}
	}
}

// pause waits for d and returns false if the lane ends first.
func (l *lane) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-l.end:
		return false
	case <-t.C:
		return true
	}
}

// send is the lane's sender.
func (l *lane) send() {
	for {
		select {
		case <-l.end:
			return
		case <-l.wake:
			l.mu.Lock()
			now := l.now()
			l.fill(now)
			if c := l.current; c != nil {
				c.flush()
			}
			l.endIfDone(now)
			l.mu.Unlock()
		}
	}
}

// signal has the sender look for requests that are due.
func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// turn follows whatever the reader of c has done: it makes the requests that
// have become possible and writes what waits. The mutex is held.
func (l *lane) turn(c *link) {
	now := l.now()
	l.fill(now)
	if c != l.current || l.inline {
		c.flush()
	}
	if l.current != nil && (c != l.current || !l.inline) {
		l.signal()
	}
	l.endIfDone(now)
}

// fill makes the requests that are due and possible.
func (l *lane) fill(now int64) {
	for c := l.current; c != nil && c.canOpen(); {
		start, attempts, ok := l.next(now)
		if !ok {
			return
		}
		c.open(start, attempts)
	}
	if l.schedule.interval > 0 {
		l.boundBacklog(now)
	}
}

// next returns the next request that is due: when it should have been made, and
// how often it has been already.
func (l *lane) next(now int64) (start int64, attempts uint8, ok bool) {
	if n := len(l.repeats); n > 0 {
		r := l.repeats[n-1]
		l.repeats = l.repeats[:n-1]
		return r.start, r.attempts, true
	}
	if l.schedule.interval == 0 {
		return now, 0, now < l.schedule.until
	}
	start = l.schedule.due(l.number, l.arrival)
	if start > now || start >= l.schedule.until {
		return 0, 0, false
	}
	l.arrival++
	if start >= l.measureFrom && start >= l.blocked {
		observe(l.lag, now-start)
	}
	return start, 0, true
}

// boundBacklog is called when requests may be due that the server has no room
// for.
func (l *lane) boundBacklog(now int64) {
	waiting := l.waiting(now)
	if waiting <= 0 {
		return
	}
	l.blocked = now
	l.backlogTop = max(l.backlogTop, waiting)
	for ; waiting > l.backlog; waiting-- {
		l.drop()
	}
}

// waiting returns how many requests of this lane are due and not made.
func (l *lane) waiting(now int64) int64 {
	if l.schedule.interval == 0 {
		return 0
	}
	all := l.schedule.count(now)
	lanes := int64(l.schedule.lanes)
	return (all-int64(l.number)+lanes-1)/lanes - l.arrival
}

// drop gives up on the oldest request that is due.
func (l *lane) drop() {
	l.phase(l.schedule.due(l.number, l.arrival)).dropped++
	l.arrival++
}

// endIfDone ends the lane when it has nothing more to do.
func (l *lane) endIfDone(now int64) {
	if now >= l.schedule.until && l.active == 0 && len(l.repeats) == 0 && l.waiting(now) <= 0 {
		l.finish()
	}
}

// finish ends the lane: connections close, goroutines return.
func (l *lane) finish() {
	if l.over {
		return
	}
	l.over = true
	close(l.end)
	for _, c := range l.conns {
		c.retire()
		c.hangUp()
	}
}

// settle ends the lane as soon as it has nothing more to do.
func (l *lane) settle() {
	l.mu.Lock()
	l.endIfDone(l.now())
	l.mu.Unlock()
}

// cut ends the lane now, and forgets what is not answered.
func (l *lane) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget = true
	l.finish()
}

// abort ends the lane now: what is not answered has timed out.
func (l *lane) abort() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.aborted = true
	for _, r := range l.repeats {
		l.recordFault(r.start, faultTimeout)
	}
	l.repeats = nil
	for l.waiting(l.now()) > 0 {
		l.drop()
	}
	l.finish()
}
