package grants

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// roundMax is how long an entry waits for those that are under way: one that
	// hangs holds up the other groups once, for so long.
	roundMax = 5 * time.Millisecond
	// lingerSkip is how many rounds don't wait after one that waited in vain.
	lingerSkip = 32
)

// A lull is how the next round waits for callers that were just answered.
type lull struct {
	part time.Duration // of how long the last round took: 2 is half of it
	most time.Duration
	few  int64 // quarters of those it waited for: if fewer come, it waited in vain
}

// Callers of one node come back to it; those of several go from one to the next.
func alone() lull        { return lull{part: 2, most: time.Millisecond, few: 3} }
func amongSeveral() lull { return lull{part: 1, most: 4 * time.Millisecond, few: 1} }

// rounds has the entries of a node's groups begin together: they share a database, so
// one sync serves those that are there at the same time, and what comes meanwhile is
// in fewer entries. A round is over when all its entries are. The next one begins when as
// many commands wait as waited then and were answered: callers who ask again when they are
// answered are then all in one round, not half of them in each of two. Of several nodes,
// callers go from one to the next, and a node's rounds begin with those of another, whose
// entries it syncs, once half as many wait. If they don't come, it begins after a part of
// the time that the last one took; and if few of them do, the following begin at once.
type rounds struct {
	waiting atomic.Int64 // commands in the lines' queues
	want    atomic.Int64 // as many end the lingering; 0: nobody lingers
	several atomic.Bool  // another node's entries have come

	mu      sync.Mutex // guards what follows
	current *round     // nil: none is under way
	forming *round
	linger  *time.Timer // ends the lingering
	skip    int         // rounds that are not to be lingered for
}

// A round is entries that begin at the same time.
type round struct {
	begun    chan struct{} // closed when it has
	began    time.Time
	members  int // lines that are in it, or wait for it
	commands int // that were answered
}

func newRounds() *rounds {
	r := &rounds{forming: &round{begun: make(chan struct{})}}
	r.linger = time.AfterFunc(time.Hour, r.lingered)
	r.linger.Stop()
	return r
}

// enter waits for the next round, and returns it: leave it.
func (r *rounds) enter() *round {
	m := r.join()
	select {
	case <-m.begun:
		return m
	default:
	}
	t := time.NewTimer(roundMax)
	defer t.Stop()
	select {
	case <-m.begun:
	case <-t.C:
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.forming == m {
			r.begin()
		}
	}
	return m
}

func (r *rounds) join() *round {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.forming
	m.members++
	if r.current == nil && r.want.Load() == 0 {
		r.begin()
	}
	return m
}

// begin begins the round that forms. Who has the lock calls it.
func (r *rounds) begin() {
	r.stopLingering()
	r.current, r.forming = r.forming, &round{begun: make(chan struct{})}
	r.current.began = time.Now()
	close(r.current.begun)
}

func (r *rounds) lull() lull {
	if r.several.Load() {
		return amongSeveral()
	}
	return alone()
}

func (r *rounds) stopLingering() {
	r.want.Store(0)
	r.linger.Stop()
}

// leave says that a line's entry in m is done, which answered so many commands.
func (r *rounds) leave(m *round, commands int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.members--
	m.commands += commands
	if m.members > 0 || r.current != m {
		return
	}
	r.current = nil
	if r.skip > 0 {
		r.skip--
		r.goOn()
		return
	}
	r.want.Store(r.waiting.Load() + int64(m.commands))
	p := r.lull()
	r.linger.Reset(min(time.Since(m.began)/p.part, p.most))
}

// goOn begins the next round if somebody waits for it.
func (r *rounds) goOn() {
	r.stopLingering()
	if r.forming.members > 0 {
		r.begin()
	}
}

// lingered ends the lingering: it took too long.
func (r *rounds) lingered() {
	r.mu.Lock()
	defer r.mu.Unlock()
	want := r.want.Load()
	if want == 0 || r.current != nil {
		return
	}
	if 4*r.waiting.Load() < r.lull().few*want {
		r.skip = lingerSkip
	}
	r.goOn()
}

// came says that so many commands wait more, or less.
func (r *rounds) came(n int) {
	want := r.want.Load()
	if now := r.waiting.Add(int64(n)); n <= 0 || want == 0 || now < want {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.want.Load() != 0 && r.current == nil {
		r.goOn()
	}
}

// nudge ends the lingering if half of what it waits for is there: another node's round
// has begun.
func (r *rounds) nudge() {
	if !r.several.Load() {
		r.several.Store(true)
	}
	if r.want.Load() == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if want := r.want.Load(); want != 0 && r.forming.members > 0 && 2*r.waiting.Load() >= want {
		r.goOn()
	}
}
