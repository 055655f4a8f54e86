package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

const (
	// purgeEvery is how far the group's time has to get before pools are deleted
	// again, in seconds: a range tombstone an hour.
	purgeEvery = 3600
	// spareMax bounds the pools that are kept to be used again, and the requests.
	spareMax = 4096
)

// work is a batch of entries that is being applied.
type work struct {
	ledger   *Ledger
	group    quota.Group
	head     head
	stats    Stats
	entry    quota.Batch
	pools    map[poolName]*heldPool
	requests map[requestName]*heldRequest
	tenures  map[limiter.Partition]bool // those that changed
	grown    []Growth
	spare    []*heldPool // to be used again
	changed  []*heldPool // room
	buf      []byte
	swept    int64 // requests that were due by then are deleted, Unix seconds
	purged   bool  // pools are deleted
	scanned  bool  // meet has read records

	blocks        map[uint64]*heldBlock // those that requests were read from
	asked         []*heldRequest        // the requests, in the order in which they came
	writers       []*blockWriter        // of blocks of fresh ones, one for each due
	numbers       map[int64]uint64      // by due, the number that the next block has
	made, deleted []place               // of requests: where they have a record now, or none any more
}

// A heldPool is a pool as the entries so far left it.
type heldPool struct {
	pool    quota.Pool
	changed bool
	key     []byte // room for that of its record
}

func (w *work) init(l *Ledger) {
	w.ledger = l
	w.pools, w.requests, w.tenures = map[poolName]*heldPool{}, map[requestName]*heldRequest{}, map[limiter.Partition]bool{}
	w.blocks, w.numbers = map[uint64]*heldBlock{}, map[int64]uint64{}
}

// clear ends the work; the pools are used again.
func (w *work) clear() {
	for _, p := range w.pools {
		if len(w.spare) < spareMax {
			w.spare = append(w.spare, p)
		}
	}
	clear(w.pools)
	clear(w.requests)
	clear(w.tenures)
	clear(w.blocks)
	if w.asked = w.asked[:0]; cap(w.asked) > spareMax { // they are used again
		w.asked = nil
	}
	w.grown = w.grown[:0]
	w.made, w.deleted, w.purged, w.scanned = w.made[:0], w.deleted[:0], false, false
}

// commands applies the commands of the entry.
func (w *work) commands() ([]quota.Result, error) {
	now := w.group.Begin(&w.entry)
	w.stats.Entries++
	w.stats.Commands += uint64(len(w.entry.Commands))
	results := make([]quota.Result, len(w.entry.Commands))
	for i := range w.entry.Commands {
		c := &w.entry.Commands[i]
		code, raised, _ := w.group.Receive(c)
		if raised {
			w.tenures[c.Holder.Partition] = true
		}
		if code != quota.OK || c.Op == quota.OpFence || c.Op == quota.OpFreeze {
			results[i].Code = code
			continue
		}
		var err error
		if results[i], err = w.command(now, c); err != nil {
			return nil, fmt.Errorf("command %d: %w", i, err)
		}
	}
	return results, nil
}

// command has a pool apply c.
func (w *work) command(now int64, c *quota.Command) (quota.Result, error) {
	p, err := w.pool(poolName{c.Key, c.Window})
	if err != nil {
		return quota.Result{}, err
	}
	p.changed = true
	p.pool.Beside, err = beside(c, func(n poolName) (uint64, error) {
		near, err := w.pool(n)
		if err != nil {
			return 0, err
		}
		return near.pool.Use(), nil
	})
	if err != nil {
		return quota.Result{}, err
	}
	known := p.pool.Version > 0 // otherwise nobody was refused yet
	outstanding, use, free := p.pool.Outstanding(), p.pool.Use(), p.pool.Free()
	r, err := w.decide(now, c, &p.pool)
	w.stats.moved(c.Op, outstanding, p.pool.Outstanding())
	after := p.pool.Free()
	lowered := c.Op == quota.OpAdjust && after < free // holders say what remains, and did not ask for this
	if known && (after > free || lowered || c.Window.Rolling > 0 && p.pool.Use() < use) {
		w.grown = append(w.grown, Growth{c.Key, c.Window, after})
	}
	return r, err
}

func (w *work) decide(now int64, c *quota.Command, p *quota.Pool) (quota.Result, error) {
	if !exact(c.Op) {
		return p.Apply(now, c), nil
	}
	q, err := w.request(requestName{poolName{c.Key, c.Window}, c.Request})
	if err != nil {
		return quota.Result{}, err
	}
	p.Behind = w.group.Clock() - now
	return p.Decide(now, c, &q.request), nil
}

func (w *work) pool(n poolName) (*heldPool, error) {
	if p, ok := w.pools[n]; ok {
		return p, nil
	}
	p := &heldPool{}
	if last := len(w.spare) - 1; last >= 0 {
		p, w.spare = w.spare[last], w.spare[:last]
		*p = heldPool{pool: quota.Pool{Shares: p.pool.Shares[:0]}, key: p.key}
	}
	if err := w.meet(n.window); err != nil {
		return nil, err
	}
	if err := w.ledger.pool(n, &p.pool); err != nil {
		return nil, err
	}
	w.pools[n] = p
	return p, nil
}

// write writes everything that the entries changed.
func (w *work) write() error {
	b := w.ledger.config.DB.NewBatch()
	if err := errors.Join(w.fill(b), w.sweep(b), w.purge(b), w.writeHead(b)); err != nil {
		return errors.Join(err, b.Close())
	}
	// Who reads a pool as this leaves it has to find the requests that it counts, and who
	// reads a request has to know of it as long as it is there.
	w.ledger.fit(len(w.made))
	w.ledger.know(w.made, (*known).add)
	if err := w.ledger.config.DB.Commit(b, pebble.NoSync); err != nil {
		return err
	}
	w.ledger.know(w.deleted, (*known).remove)
	if w.ledger.pools.wrote(w.pools); w.purged {
		w.ledger.pools.clear()
	}
	return nil
}

// fit gives the requests that have a record room for more, or less of it, while others
// read it: only who applies changes it.
func (l *Ledger) fit(more int) {
	slots := l.known.fitted(more)
	if slots == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known.slots = slots
}

// know adds requests to those that have a record, or removes them.
func (l *Ledger) know(places []place, change func(*known, place)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range places {
		change(&l.known, p)
	}
}

// fillPools writes the pools that have changed, in the order of their keys: the database
// finds the place of one faster from that of the one before it.
func (w *work) fillPools(b *pebble.Batch) error {
	changed := w.changed[:0]
	defer func() { clear(changed); w.changed = changed[:0] }()
	prefix := w.ledger.key(recordPool)
	for n, p := range w.pools {
		if p.changed {
			w.ledger.recorded.add(n)
			p.key = appendName(append(p.key[:0], prefix...), n)
			changed = append(changed, p)
		}
	}
	slices.SortFunc(changed, func(p, q *heldPool) int { return bytes.Compare(p.key, q.key) })
	for _, p := range changed {
		w.buf = p.pool.AppendTo(w.buf[:0])
		if err := b.Set(p.key, w.buf, nil); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) fill(b *pebble.Batch) error {
	if err := errors.Join(w.fillPools(b), w.fillRequests(b)); err != nil {
		return err
	}
	for partition := range w.tenures {
		w.buf = binary.AppendUvarint(w.buf[:0], w.group.Tenure(partition))
		key := binary.BigEndian.AppendUint16(w.ledger.key(recordTenure), uint16(partition))
		if err := b.Set(key, w.buf, nil); err != nil {
			return err
		}
	}
	return nil
}

// purge deletes pools that nobody asks for any more. It comes behind fill, in case
// an entry changed one before a later entry moved the time.
func (w *work) purge(b *pebble.Batch) error {
	now := w.group.Time() / 1000
	if now < w.head.purged+purgeEvery {
		return nil
	}
	w.head.purged, w.purged = now, true
	w.ledger.recorded.purge(now)
	return b.DeleteRange(w.ledger.key(recordPool), append48(w.ledger.key(recordPool), now+1), nil)
}

func (w *work) writeHead(b *pebble.Batch) error {
	w.buf = appendHead(w.buf[:0], w.head, &w.group)
	return b.Set(w.ledger.key(recordHead), w.buf, nil)
}
