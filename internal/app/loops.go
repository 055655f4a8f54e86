package app

import (
	"context"
	"sync"
	"time"
)

const (
	// sweepEvery is how often a part of the table is swept, and sweepRound how
	// long a whole round takes.
	sweepEvery = 50 * time.Millisecond
	sweepRound = time.Minute
	// capacityEvery is how many sweeps one look at the table's size serves.
	capacityEvery = 20
	// convertDelay is how long after a new policy the calls that were matched
	// against the old one are surely decided.
	convertDelay = time.Second
	// convertSlots is how much of the table is converted at once.
	convertSlots = 1 << 16
	// topEvery and topDecay are how often rankings take over what was noted,
	// and halve.
	topEvery = 100 * time.Millisecond
	topDecay = time.Minute
)

// startLoops starts what runs beside the doors until ctx ends.
func (n *node) startLoops(ctx context.Context, wg *sync.WaitGroup) {
	wg.Go(func() { n.clock.Follow(ctx) })
	wg.Go(func() { n.collector.run(ctx) })
	wg.Go(func() { n.sweep(ctx) })
	wg.Go(func() { n.quotas.tend(ctx) })
	wg.Go(func() { n.expireReservations(ctx) })
	wg.Go(func() { n.convertCounters(ctx) })
	wg.Go(func() { n.rank(ctx) })
	wg.Go(func() { n.rereadFiles(ctx) })
	wg.Go(func() { n.modes.run(ctx) })
	if paths := n.policies.watched(); len(paths) > 0 {
		w := watch{
			paths: paths, sign: n.policies.sign, debounce: n.Config.Policy.Debounce, poll: n.Config.Policy.PollInterval,
			changed: n.policies.reload, log: n.Log,
		}
		wg.Go(func() { w.run(ctx, n.policies.signature) })
	}
	if n.control != nil {
		wg.Go(func() { n.control.client.Run(ctx) })
	}
	for _, p := range n.encryptedPorts() {
		w := watch{paths: p.paths, debounce: certDebounce, poll: certPoll, changed: p.reload, log: n.Log}
		wg.Go(func() { w.run(ctx, p.seen) })
	}
}

// sweep reclaims counters that equal fresh ones, a part at a time.
func (n *node) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	var slots int64
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if i%capacityEvery == 0 {
				slots = n.table.Stats().Capacity/int64(sweepRound/sweepEvery) + 1
			}
			n.table.Sweep(n.clock.Now(), slots)
		}
	}
}

// convertCounters converts, after each new policy, the counters whose limit
// changed and that nobody charged meanwhile.
func (n *node) convertCounters(ctx context.Context) {
	wait := time.NewTimer(0)
	wait.Stop()
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.convert:
			wait.Reset(convertDelay)
		case <-wait.C:
			if !n.table.ConvertStep(n.clock.Now(), convertSlots) {
				wait.Reset(time.Millisecond)
			}
		}
	}
}

// rereadFiles reads policies and certificates again when a signal asked for it,
// not where signals are received: one that says stop must not wait for a large
// policy.
func (n *node) rereadFiles(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.reread:
			n.tellSystemd(systemdReloading())
			n.policies.reload()
			for _, p := range n.encryptedPorts() {
				p.reload()
			}
			if n.isReady() { // else systemd was told that it stops
				n.tellSystemd(systemdReady)
			}
		}
	}
}

// rank keeps the rankings of keys up to date.
func (n *node) rank(ctx context.Context) {
	drain, decay := time.NewTicker(topEvery), time.NewTicker(topDecay)
	defer drain.Stop()
	defer decay.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-drain.C:
			n.metrics.Hot.Drain()
			n.metrics.Denied.Drain()
		case <-decay.C:
			n.metrics.Hot.Decay()
			n.metrics.Denied.Decay()
		}
	}
}
