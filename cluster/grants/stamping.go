package grants

import (
	"context"
	"sync"
	"time"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

const (
	// agreeEvery is how often a leader asks the voters for their clocks again, and
	// suspectEvery how often it does while its own is further ahead than theirs
	// allow. agreeWait is how long it waits for them.
	agreeEvery   = time.Minute
	suspectEvery = time.Second
	agreeWait    = 500 * time.Millisecond

	// patience is how long a lone voter's clock has to be ahead before it is
	// believed: nobody else can be asked, and a clock that was set wrong by hand is
	// soon set right.
	patience = 5 * time.Minute
)

// A stamping tells what to stamp on an entry of one group. It is owned by the group's
// line.
type stamping struct {
	cfg     *Config
	group   uint32
	stamper quota.Stamper
	agreed  bool            // a majority has told its clocks before
	next    limiter.Instant // when the voters are to be asked again
	ahead   limiter.Instant // since when the wall clock is suspect; 0: it is not
}

// stamp returns an entry that is made now, and counts a suspect clock.
func (l *line) stamp(ctx context.Context, commands []quota.Command) *quota.Batch {
	at, ahead, off := l.clock.stamp(ctx)
	if off > 0 {
		l.count(func(s *LineStats) { s.Suspect++ })
		if f := l.cfg.Events.ClockSuspect; f != nil {
			f(l.group, off)
		}
	}
	return &quota.Batch{At: at, Ahead: ahead, Commands: commands}
}

// stamp returns the stamp, and how far beyond it a suspect wall clock is.
func (s *stamping) stamp(ctx context.Context) (at, ahead int64, off time.Duration) {
	now := s.cfg.Now()
	s.stamper.Applied(now, s.cfg.Ledger.Time(s.group), s.cfg.Ledger.Clock(s.group))
	at, ahead, suspect := s.stamper.Stamp(now, s.cfg.Wall())
	s.suspect(now, suspect)
	if now >= s.next {
		s.agree(ctx, now)
		at, ahead, suspect = s.stamper.Stamp(s.cfg.Now(), s.cfg.Wall())
		s.suspect(now, suspect)
	}
	if suspect {
		s.next = min(s.next, now.Add(suspectEvery))
		off = time.Duration(s.cfg.Wall()-at-ahead) * time.Millisecond
	}
	return at, ahead, off
}

// suspect notes since when the wall clock is ahead of what is allowed.
func (s *stamping) suspect(now limiter.Instant, is bool) {
	switch {
	case !is:
		s.ahead = 0
	case s.ahead == 0:
		s.ahead = now
		s.next = min(s.next, now)
	}
}

// agree asks the voters for their clocks.
func (s *stamping) agree(ctx context.Context, now limiter.Instant) {
	s.next = now.Add(suspectEvery)
	voters := s.cfg.Groups.Voters(s.group)
	if len(voters) == 1 && s.agreed && s.ahead != 0 && now.Sub(s.ahead) < patience {
		return
	}
	at, ok := quota.Majority(s.clocks(ctx, voters), len(voters))
	if !ok {
		return
	}
	s.agreed, s.next = true, now.Add(agreeEvery)
	s.stamper.Agree(s.cfg.Now(), at)
}

// clocks returns those that answer in time, this node's own among them.
func (s *stamping) clocks(ctx context.Context, voters []consensus.Server) []int64 {
	ctx, cancel := context.WithTimeout(ctx, agreeWait)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var clocks []int64
	add := func(at int64) {
		mu.Lock()
		defer mu.Unlock()
		clocks = append(clocks, at)
	}
	for _, v := range voters {
		switch {
		case v.ID == s.cfg.ID:
			add(s.cfg.Wall())
		case s.cfg.Clock != nil:
			wg.Go(func() {
				if at, err := s.cfg.Clock(ctx, v); err == nil {
					add(at)
				}
			})
		}
	}
	wg.Wait()
	return clocks
}
