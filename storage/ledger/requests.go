package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/headgate/headgate/limiter/quota"
)

const (
	// sweepEvery is how far the group's time has to get before requests are deleted again,
	// in seconds, and sweepMax about how many are deleted at once: those of a block are
	// together.
	sweepEvery = 10
	sweepMax   = 4096
)

// A heldRequest is a request as the entries so far left it.
type heldRequest struct {
	name    requestName
	request quota.Request
	was     quota.Request // as it is recorded,
	found   bool          // if it is,
	at      place         // and where
}

// A heldBlock is a block of which requests were read, as it is recorded: decoded, one takes
// several times as much, and a work may read all blocks that there are.
type heldBlock struct {
	value []byte
	taken []requestName // out of it
}

func (w *work) request(n requestName) (*heldRequest, error) {
	if q, ok := w.requests[n]; ok {
		return q, nil
	}
	h := n.hash()
	q := w.newRequest()
	*q = heldRequest{name: n, at: place{hash: h}}
	for _, at := range w.ledger.known.of(h) { // which nobody changes but who applies
		request, found, err := w.recorded(n, at)
		if err != nil {
			return nil, err
		}
		if found {
			*q = heldRequest{name: n, request: request, was: request, found: true, at: at}
			break
		}
	}
	w.requests[n] = q
	w.asked = append(w.asked, q)
	return q, nil
}

// newRequest returns room for one.
func (w *work) newRequest() *heldRequest {
	if n := len(w.asked); n < cap(w.asked) {
		if q := w.asked[:n+1][n]; q != nil {
			return q // of a work before
		}
	}
	return &heldRequest{}
}

// recorded returns what is recorded of a request, if it is at that place.
func (w *work) recorded(n requestName, at place) (q quota.Request, found bool, err error) {
	if at.block == 0 {
		return w.ledger.readRequest(n)
	}
	held, ok := w.blocks[at.block]
	if !ok {
		held = &heldBlock{}
		found, err := w.ledger.readBlock(at.block, func(value []byte) error {
			held.value = bytes.Clone(value)
			return nil
		})
		if err == nil && !found {
			err = fmt.Errorf("block %x is not there", at.block)
		}
		if err != nil {
			return q, false, err
		}
		w.blocks[at.block] = held
	}
	return requestInBlock(held.value, n)
}

// due returns when a request's record may be deleted, in Unix seconds.
func due(q *quota.Request) int64 { return q.Kept()/1000 + 1 }

// fillRequests writes the requests that have changed: spends that are new into blocks, what
// others have become into records of their own.
func (w *work) fillRequests(b *pebble.Batch) error {
	for _, q := range w.asked {
		if err := w.fillRequest(b, q); err != nil {
			return err
		}
	}
	for _, writer := range w.writers {
		if err := w.endBlock(b, writer); err != nil {
			return err
		}
	}
	w.writers = w.writers[:0]
	return w.fillBlocks(b)
}

func (w *work) fillRequest(b *pebble.Batch, q *heldRequest) error {
	switch {
	case q.request == q.was:
		return nil
	case q.found:
		return errors.Join(w.remove(b, q), w.record(b, q))
	case q.request.Op == quota.OpSpend:
		return w.pack(b, q)
	default:
		return w.record(b, q)
	}
}

// record writes a request's own record, and when it is due, if there is anything to record.
func (w *work) record(b *pebble.Batch, q *heldRequest) error {
	if q.request.Op == 0 {
		return nil
	}
	w.head.requests++
	w.made = append(w.made, place{hash: q.at.hash})
	w.buf = q.request.AppendTo(w.buf[:0])
	return errors.Join(
		b.Set(appendRequestName(w.ledger.key(recordRequest), q.name), w.buf, nil),
		b.Set(appendRequestName(append48(w.ledger.key(recordDue), due(&q.request)), q.name), nil, nil))
}

// remove takes a request out of where it is recorded.
func (w *work) remove(b *pebble.Batch, q *heldRequest) error {
	w.head.requests--
	w.deleted = append(w.deleted, q.at)
	if q.at.block == 0 {
		return w.deleteRecord(b, q.name, due(&q.was))
	}
	held := w.blocks[q.at.block]
	held.taken = append(held.taken, q.name)
	return nil
}

func (w *work) deleteRecord(b *pebble.Batch, n requestName, due int64) error {
	return errors.Join(
		b.Delete(appendRequestName(w.ledger.key(recordRequest), n), nil),
		b.Delete(appendRequestName(append48(w.ledger.key(recordDue), due), n), nil))
}

// pack adds a request that has no record to the block of those that are due when it is.
func (w *work) pack(b *pebble.Batch, q *heldRequest) error {
	writer := w.writer(due(&q.request))
	if writer.full() {
		if err := w.endBlock(b, writer); err != nil {
			return err
		}
		writer.begin(w.number(dueOf(writer.number)))
	}
	writer.add(q.name, &q.request)
	w.head.requests++
	w.made = append(w.made, place{q.at.hash, writer.number})
	return nil
}

// writer returns what writes the block of requests that are due then.
func (w *work) writer(due int64) *blockWriter {
	for _, writer := range w.writers {
		if writer.due == due {
			return writer
		}
	}
	n := len(w.writers)
	if n < cap(w.writers) && w.writers[:n+1][n] != nil {
		w.writers = w.writers[:n+1] // its room is used again
	} else {
		w.writers = append(w.writers, &blockWriter{})
	}
	w.writers[n].due = due
	w.writers[n].begin(w.number(due))
	return w.writers[n]
}

// number returns one that no block has. Those of one due are used up after four million
// blocks: what comes then is deleted a second later.
func (w *work) number(due int64) uint64 {
	for w.numbers[due] > sequenceMax {
		due++
	}
	w.numbers[due]++
	return uint64(due)<<sequenceBits | (w.numbers[due] - 1)
}

func (w *work) endBlock(b *pebble.Batch, writer *blockWriter) error {
	return b.Set(w.ledger.blockKey(writer.number), writer.value, nil)
}

// fillBlocks writes what is left of blocks out of which requests were taken.
func (w *work) fillBlocks(b *pebble.Batch) error {
	var writer blockWriter
	for number, held := range w.blocks {
		if len(held.taken) == 0 {
			continue
		}
		writer.begin(number)
		err := eachRecordInBlock(held.value, func(i *blockItem) error {
			if !slices.Contains(held.taken, i.name) {
				writer.addRecord(i.name, i.record)
			}
			return nil
		})
		if err == nil && len(writer.value) == 0 {
			err = b.Delete(w.ledger.blockKey(number), nil)
		} else if err == nil {
			err = w.endBlock(b, &writer)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sweep deletes requests that are due. Those of these entries are left: what is
// recorded of them may just have changed.
func (w *work) sweep(b *pebble.Batch) error {
	now := w.group.Time() / 1000
	if now < w.swept+sweepEvery {
		return nil
	}
	blocks, err1 := w.sweepBlocks(b, now)
	own, err2 := w.sweepRecords(b, now)
	if blocks < sweepMax && own < sweepMax {
		w.swept = now
	}
	return errors.Join(err1, err2)
}

// sweepBlocks deletes blocks that are due by now, and returns how many requests were in them.
func (w *work) sweepBlocks(b *pebble.Batch, now int64) (count int, err error) {
	it, err := w.ledger.config.DB.NewIter(&pebble.IterOptions{
		LowerBound: w.ledger.key(recordBlock), UpperBound: w.ledger.blockKey(uint64(now+1) << sequenceBits),
	})
	if err != nil {
		return 0, err
	}
	for valid := it.First(); valid && err == nil && count < sweepMax; valid = it.Next() {
		number := parseBlockKey(it.Key())
		if _, touched := w.blocks[number]; touched {
			continue
		}
		err = errors.Join(b.Delete(it.Key(), nil), eachRecordInBlock(it.Value(), func(i *blockItem) error {
			count++
			w.head.requests--
			w.deleted = append(w.deleted, place{i.name.hash(), number})
			return nil
		}))
	}
	if count < sweepMax { // no more of them come
		for due := range w.numbers {
			if due <= now {
				delete(w.numbers, due)
			}
		}
	}
	return count, errors.Join(err, it.Error(), it.Close())
}

// sweepRecords deletes requests that have their own records and are due by now, and returns
// how many there were.
func (w *work) sweepRecords(b *pebble.Batch, now int64) (count int, err error) {
	lower := w.ledger.key(recordDue)
	it, err := w.ledger.config.DB.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: append48(w.ledger.key(recordDue), now+1)})
	if err != nil {
		return 0, err
	}
	for valid := it.First(); valid && err == nil && count < sweepMax; valid = it.Next() {
		count++
		key := it.Key()[len(lower):]
		var n requestName
		if n, err = parseRequestName(key[6:]); err != nil {
			break
		}
		if _, touched := w.requests[n]; touched {
			continue
		}
		w.head.requests--
		w.deleted = append(w.deleted, place{hash: n.hash()})
		err = w.deleteRecord(b, n, uint48(key))
	}
	return count, errors.Join(err, it.Error(), it.Close())
}
