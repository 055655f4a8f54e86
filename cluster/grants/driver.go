package grants

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// What Submit and Serve refuse, and what Done can be told beside the errors of
// Groups and Forward.
var (
	// ErrOverloaded: Config.QueueMax commands of the group wait.
	ErrOverloaded = errors.New("grants: too many commands wait")

	// ErrStopped: the driver is stopping. A command that Done is told this of was
	// not sent.
	ErrStopped = errors.New("grants: stopped")

	// ErrNoLeader: nobody leads the group, or nobody that can be reached.
	ErrNoLeader = errors.New("grants: no leader")
)

// A Done is told what became of a command: the ledger's answer, or an error if
// none will come. The command is its to read until it returns.
type Done = func(c *quota.Command, r quota.Result, err error)

// A Driver sends commands to the ledger. Start it, and Stop it once.
type Driver struct {
	cfg    Config
	lines  [quota.Groups]*line
	turns  *rounds
	ctx    context.Context // ends when the driver gives up what it waits for
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Start returns a Driver that works.
func Start(cfg Config) (*Driver, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	d := &Driver{cfg: cfg.withDefaults()}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.turns = newRounds()
	couriers := newCouriers(&d.cfg)
	for g := range d.lines {
		l := newLine(&d.cfg, uint32(g), d.turns, couriers)
		d.lines[g] = l
		d.wg.Go(func() { l.run(d.ctx) })
	}
	return d, nil
}

// Submit queues a command of a holder on this node. It never waits; done is called
// if it returns nil.
func (d *Driver) Submit(c quota.Command, done Done) error {
	return d.lines[group(&c)].add(item{command: c, done: done})
}

// Gather is Submit for a command that nobody waits for: it is sent with what is
// submitted next in its group, or with what gathers within Config.Gather.
func (d *Driver) Gather(c quota.Command, done Done) error {
	return d.lines[group(&c)].add(item{command: c, done: done, ahead: true})
}

// Hurry has what gathers in the group of a key sent now; if nothing does, what is
// given to Gather next.
func (d *Driver) Hurry(k limiter.Key) { d.lines[quota.GroupOf(k)].hasten() }

// group returns whose log the command belongs to.
func group(c *quota.Command) int { return quota.GroupOf(c.Key) }

// SubmitTo queues a command that has no key: OpFence, OpFreeze.
func (d *Driver) SubmitTo(group uint32, c quota.Command, done Done) error {
	if group >= quota.Groups {
		return fmt.Errorf("grants: group %d: must be below %d", group, quota.Groups)
	}
	return d.lines[group].add(item{command: c, done: done})
}

// LeaderChanged tells the driver that another node leads the group now: what
// waits after a failure is tried at once.
func (d *Driver) LeaderChanged(group uint32) {
	if group < quota.Groups {
		d.lines[group].nudge()
	}
}

// Followed tells the driver that another node's entries of a group have come: what this
// node has to propose begins with them, if most of what it waits for has come.
func (d *Driver) Followed(uint32) { d.turns.nudge() }

// Stop refuses commands, sends those that wait, and returns when every Done was
// called. When ctx ends it gives up: what was not sent is told ErrStopped.
func (d *Driver) Stop(ctx context.Context) error {
	for _, l := range d.lines {
		l.close()
	}
	ended := make(chan struct{})
	go func() {
		d.wg.Wait()
		close(ended)
	}()
	defer d.cancel()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	d.cancel()
	<-ended // every wait of a line ends with its context
	return fmt.Errorf("grants: stop: commands were given up: %w", ctx.Err())
}
