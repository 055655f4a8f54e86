package grants

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/headgate/headgate/limiter/quota"
)

// Serve takes in another node's commands of a group that this node leads, and
// waits for the answers, in their order. An error is one of all of them: any may
// be applied. They are never sent on to a third node.
func (d *Driver) Serve(ctx context.Context, group uint32, commands []quota.Command) ([]quota.Result, error) {
	p := Part{Group: group, Commands: commands}
	d.serve(ctx, []*Part{&p})
	return p.Results, p.Err
}

// serve is Serve for the parts of a message, whose Results or Err it sets.
func (d *Driver) serve(ctx context.Context, parts []*Part) {
	all := make([]served, len(parts))
	left := int64(1) // itself
	for i, p := range parts {
		all[i].results, all[i].errs = make([]quota.Result, len(p.Commands)), make([]error, len(p.Commands))
		left += int64(len(p.Commands))
	}
	var waiting atomic.Int64
	waiting.Store(left)
	done := make(chan struct{})
	answered := func(n int) {
		if waiting.Add(int64(-n)) == 0 {
			close(done)
		}
	}
	for i, p := range parts {
		if p.Err = d.take(p, &all[i], answered); p.Err != nil {
			answered(len(p.Commands))
		}
	}
	answered(1)
	select {
	case <-done:
		for i, p := range parts {
			p.finish(&all[i])
		}
	case <-ctx.Done(): // what comes later goes where nobody looks
		for _, p := range parts {
			if p.Err == nil {
				p.Err = fmt.Errorf("grants: serve group %d: %w", p.Group, ctx.Err())
			}
		}
	}
}

// served is what the commands of a part are told, each by the goroutine of its line.
type served struct {
	results []quota.Result
	errs    []error
}

// take queues the commands of p, all or none.
func (d *Driver) take(p *Part, into *served, answered func(n int)) error {
	if p.Group >= quota.Groups {
		return fmt.Errorf("grants: serve group %d: must be below %d", p.Group, quota.Groups)
	}
	if len(p.Commands) > quota.CommandsMax {
		return fmt.Errorf("grants: serve group %d: %d commands: at most %d", p.Group, len(p.Commands), quota.CommandsMax)
	}
	items := make([]item, len(p.Commands))
	for i := range p.Commands {
		items[i] = item{command: p.Commands[i], served: true, done: func(_ *quota.Command, r quota.Result, err error) {
			into.results[i], into.errs[i] = r, err
			answered(1)
		}}
	}
	return d.lines[p.Group].add(items...)
}

// finish sets what became of p, of which all is known.
func (p *Part) finish(s *served) {
	for _, err := range s.errs {
		if err != nil && p.Err == nil {
			p.Err = fmt.Errorf("grants: serve group %d: %w", p.Group, err)
		}
	}
	if p.Err == nil {
		p.Results = s.results
	}
}
