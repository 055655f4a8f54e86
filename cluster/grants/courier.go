package grants

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/limiter/quota"
)

// carriersMax bounds the messages to one node that are under way at the same time. While
// that many are, what comes for it gathers.
const carriersMax = 2

// A Part is the commands of one group in a message to its leader, and what became of
// them: Results, one for each, or Err, and then any of them may be applied.
type Part struct {
	Group    uint32
	Commands []quota.Command // at most quota.CommandsMax in all parts of a message
	Results  []quota.Result
	Err      error
}

// couriers bring the commands of a node's lines to other nodes: what several lines have
// for one node travels in one message. A line has one part on its way, so that what it
// sends keeps its order. A line that finds few messages under way carries what waits, its
// own part among it; the others wait for it, or are asked to carry when it is back.
type couriers struct {
	cfg *Config

	mu sync.Mutex                    // guards what follows
	to map[consensus.Server]*courier // there is none where nothing is under way
}

// A courier is what waits for one node.
type courier struct {
	carriers int // lines that carry, or are asked to: at most carriersMax
	queue    []*parcel
}

// A parcel is a part that waits.
type parcel struct {
	Part
	alone bool      // it has failed before: in a message of its own, it holds up nobody
	asked bool      // to carry; guarded by couriers.mu
	wake  chan bool // true: carry what waits, once; false: it is known what became of it
}

func newCouriers(cfg *Config) *couriers {
	return &couriers{cfg: cfg, to: make(map[consensus.Server]*courier)}
}

// send brings p to a node, and returns when it is known what became of it: after
// Config.Timeout, or twice that if it waits for other messages. The context, which is the
// same for all, ends what is under way.
func (c *couriers) send(ctx context.Context, to consensus.Server, p *parcel) {
	p.wake = make(chan bool, 2)
	c.join(to, p)
	for <-p.wake {
		c.carry(ctx, to)
	}
}

// join queues p, and asks its line to carry if few others do.
func (c *couriers) join(to consensus.Server, p *parcel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.to[to]
	if q == nil {
		q = &courier{}
		c.to[to] = q
	}
	q.queue = append(q.queue, p)
	if q.carriers < carriersMax {
		q.carriers++
		p.asked = true
		p.wake <- true
	}
}

// carry sends what waits for a node, if anything still does, and tells whose it is.
func (c *couriers) carry(ctx context.Context, to consensus.Server) {
	for before, now := -1, 0; before != now; { // those run first who are about to add to it
		runtime.Gosched()
		before, now = now, c.waiting(to)
	}
	if parcels := c.take(to); len(parcels) > 0 {
		parts := make([]*Part, len(parcels))
		for i, p := range parcels {
			parts[i] = &p.Part
		}
		ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
		c.cfg.Forward(ctx, to, parts)
		cancel()
		for _, p := range parcels {
			if p.Err == nil && len(p.Results) != len(p.Commands) {
				p.Err = fmt.Errorf("grants: %s answered %d of %d commands", to.ID, len(p.Results), len(p.Commands))
			}
			p.wake <- false
		}
	}
	c.pass(to)
}

// waiting returns how many parcels wait for a node.
func (c *couriers) waiting(to consensus.Server) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.to[to].queue)
}

// take returns what is to be in one message.
func (c *couriers) take(to consensus.Server) []*parcel {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.to[to]
	commands, n := 0, 0
	for ; n < len(q.queue); n++ {
		p := q.queue[n]
		if commands += len(p.Commands); n > 0 && (p.alone || q.queue[0].alone || commands > quota.CommandsMax) {
			break
		}
	}
	taken := slices.Clone(q.queue[:n])
	q.queue = slices.Delete(q.queue, 0, n)
	return taken
}

// pass has another line carry, if one waits.
func (c *couriers) pass(to consensus.Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.to[to]
	for _, p := range q.queue {
		if !p.asked {
			p.asked = true
			p.wake <- true
			return
		}
	}
	if q.carriers--; q.carriers == 0 {
		delete(c.to, to)
	}
}
