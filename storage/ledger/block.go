package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/headgate/headgate/limiter/quota"
)

// A blockItem is a request in a block.
//
// A block is one record with several requests that entries made and that nothing has
// happened to since, as to almost all: spends, which are forgotten in the same second. So a
// decision writes its counter and a few bytes of a block, and what is forgotten together is
// deleted together. What a request has become goes into a record of its own, and out of
// its block, which is written anew: there are never two that say something of one request.
//
// Its number is due(42 bits) sequence(22 bits), where due is when it may be deleted, in Unix
// seconds, and no two blocks of a state have the same. A number is each node's own, as is
// which requests share a block.
//
// The value is one item after the other, each
//
//	0 start(5) end(5) rolling(1)   the window of what follows, if it is another one
//	length(1) key(16) id(16) quota's request, of that length
type blockItem struct {
	name    requestName
	record  []byte // quota's request, as it is recorded,
	request quota.Request
}

const (
	sequenceBits = 22
	sequenceMax  = 1<<sequenceBits - 1
	// blockBytes is how long a block is at most: some 40 requests, of which one that
	// changes has all others written anew.
	blockBytes = 2 << 10
	// blockItemBytesMax bounds an item, its window included.
	blockItemBytesMax = 1 + 5 + 5 + 1 + 1 + 2*idBytes + requestBytesMax
	// requestBytesMax bounds quota's request; it is above 0, so that 0 says window.
	requestBytesMax = 2 + 7*binary.MaxVarintLen64
	windowBytes     = 5 + 5 + 1
)

// dueOf returns when the block with a number may be deleted, in Unix seconds.
func dueOf(number uint64) int64 { return int64(number >> sequenceBits) }

// blockKey returns the key of a block of the state that counts.
func (l *Ledger) blockKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64(l.key(recordBlock), number)
}

// parseBlockKey returns the number of the block that has a key.
func parseBlockKey(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }

// A blockWriter appends items to a block.
type blockWriter struct {
	due     int64 // of what it is given; that of the number may be later
	number  uint64
	value   []byte
	window  quota.Window
	request []byte // room
}

// begin begins another block.
func (w *blockWriter) begin(number uint64) { w.number, w.value = number, w.value[:0] }

func (w *blockWriter) add(n requestName, q *quota.Request) {
	w.request = q.AppendTo(w.request[:0])
	w.addRecord(n, w.request)
}

func (w *blockWriter) addRecord(n requestName, record []byte) {
	if window := n.pool.window; len(w.value) == 0 || window != w.window {
		w.window = window
		w.value = append40(append40(append(w.value, 0), window.Start), window.End)
		w.value = append(w.value, window.Rolling)
	}
	w.value = appendID(appendID(append(w.value, byte(len(record))), n.pool.key), n.id)
	w.value = append(w.value, record...)
}

// full reports whether there may be no room for another item.
func (w *blockWriter) full() bool { return len(w.value)+blockItemBytesMax > blockBytes }

// eachInBlock calls use with each request of a block. The item is used again for the next.
func eachInBlock(value []byte, use func(*blockItem) error) error {
	return eachRecordInBlock(value, func(i *blockItem) (err error) {
		if i.request, err = quota.DecodeRequest(i.record); err != nil {
			return err
		}
		return use(i)
	})
}

// requestInBlock returns what a block has of a request.
func requestInBlock(value []byte, n requestName) (q quota.Request, found bool, err error) {
	err = eachRecordInBlock(value, func(i *blockItem) (err error) {
		if i.name == n {
			found = true
			q, err = quota.DecodeRequest(i.record)
		}
		return err
	})
	return q, found, err
}

// eachRecordInBlock is eachInBlock without the request, which takes longer to read than all
// the rest.
func eachRecordInBlock(value []byte, use func(*blockItem) error) error {
	var item blockItem
	rest := value
	for len(rest) > 0 {
		var err error
		if rest, err = item.parse(rest); err == nil {
			err = use(&item)
		}
		if err != nil {
			return fmt.Errorf("block: behind byte %d: %w", len(value)-len(rest), err)
		}
	}
	return nil
}

// parse reads the next item; its window is that of the one before, unless b says another.
func (i *blockItem) parse(b []byte) (rest []byte, err error) {
	if b[0] == 0 {
		if len(b) < 1+windowBytes+1 {
			return b, errors.New("it is cut off")
		}
		if i.name.pool.window, err = parseWindow(b[1:]); err != nil {
			return b, err
		}
		b = b[1+windowBytes:]
	}
	length := int(b[0])
	if i.name.pool.window.End == 0 || length == 0 {
		return b, errors.New("a request has no window")
	}
	if b = b[1:]; len(b) < 2*idBytes+length {
		return b, errors.New("it is cut off")
	}
	i.name.pool.key, i.name.id = parseID(b), parseID(b[idBytes:])
	i.record = b[2*idBytes : 2*idBytes+length]
	return b[2*idBytes+length:], nil
}
