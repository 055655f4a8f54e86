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
	turns := newRounds()
	for g := range d.lines {
		l := newLine(&d.cfg, uint32(g), turns)
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

// Serve takes in another node's commands of a group that this node leads, and
// waits for the answers, in their order. An error is one of all of them: any may
// be applied. They are never sent on to a third node.
func (d *Driver) Serve(ctx context.Context, group uint32, commands []quota.Command) ([]quota.Result, error) {
	if group >= quota.Groups {
		return nil, fmt.Errorf("grants: serve group %d: must be below %d", group, quota.Groups)
	}
	if len(commands) > quota.CommandsMax {
		return nil, fmt.Errorf("grants: serve group %d: %d commands: at most %d", group, len(commands), quota.CommandsMax)
	}
	type answer struct {
		at  int
		r   quota.Result
		err error
	}
	answers := make(chan answer, len(commands)) // nobody waits to write, whoever has left
	items := make([]item, len(commands))
	for i := range commands {
		items[i] = item{command: commands[i], served: true, done: func(_ *quota.Command, r quota.Result, err error) {
			answers <- answer{i, r, err}
		}}
	}
	if err := d.lines[group].add(items...); err != nil {
		return nil, err
	}
	results := make([]quota.Result, len(commands))
	for range commands {
		select {
		case a := <-answers:
			if a.err != nil {
				return nil, fmt.Errorf("grants: serve group %d: %w", group, a.err)
			}
			results[a.at] = a.r
		case <-ctx.Done():
			return nil, fmt.Errorf("grants: serve group %d: %w", group, ctx.Err())
		}
	}
	return results, nil
}

// LeaderChanged tells the driver that another node leads the group now: what
// waits after a failure is tried at once.
func (d *Driver) LeaderChanged(group uint32) {
	if group < quota.Groups {
		d.lines[group].nudge()
	}
}

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
