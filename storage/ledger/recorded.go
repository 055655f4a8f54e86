package ledger

import (
	"errors"
	"math/bits"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// A recorded tells which pools have no record, without the database, where that costs
// several microseconds: most commands that somebody waits for are of keys that nobody
// has asked for before. For each window it has a filter that every pool with a record
// is in. The records that there were when a window is first met are added bit by bit,
// those of all entries from then on at once. It may take a pool to have a record that
// has none, never the reverse.
//
// The goroutine that applies alone changes it, so that one reads without the lock.
type recorded struct {
	mu      sync.RWMutex // held to change what follows, and by others to read it
	windows map[quota.Window]*filter
	bytes   int // of all filters
}

const (
	// recordedWindows and recordedBytes bound it. Beyond them it forgets the window that ends
	// first, and of one that was too large it has nothing any more. A pool takes 12 bits: 5
	// million of a group, 40 of all.
	recordedWindows = 1024
	recordedBytes   = 8 << 20
	// scanMax is how many records are read at once that were there before.
	scanMax = 256
)

// absent reports whether the pool certainly has no record.
func (r *recorded) absent(n poolName) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	f := r.windows[n.window]
	return f != nil && f.whole && !f.has(n.key)
}

// clear forgets everything.
func (r *recorded) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.windows, r.bytes = nil, 0
}

// begin has the records of a window known from now on.
func (r *recorded) begin(w quota.Window) *filter {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.windows) >= recordedWindows {
		r.forget(r.first(func(*filter) bool { return true }))
	}
	if r.windows == nil {
		r.windows = map[quota.Window]*filter{}
	}
	f := &filter{}
	r.windows[w] = f
	return f
}

// add tells it of a pool that has a record, or will have one before anybody hears of it.
func (r *recorded) add(n poolName) {
	f := r.windows[n.window]
	if f == nil || f.large || f.has(n.key) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bytes += f.add(n.key)
	for r.bytes > recordedBytes {
		w := r.first(func(f *filter) bool { return f.parts != nil })
		r.forget(w)
		r.windows[w] = &filter{large: true} // or it would be read again, and forgotten again
	}
}

// first returns the window that ends first of those with such a filter. Its caller has
// the lock.
func (r *recorded) first(such func(*filter) bool) (first quota.Window) {
	for w, f := range r.windows {
		if such(f) && (first.End == 0 || w.End < first.End) {
			first = w
		}
	}
	return first
}

func (r *recorded) forget(w quota.Window) {
	r.bytes -= r.windows[w].bytes()
	delete(r.windows, w)
}

// purge forgets the windows whose pools are deleted by then, in Unix seconds.
func (r *recorded) purge(now int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for w := range r.windows {
		if kept(w) <= now {
			r.forget(w)
		}
	}
}

// meet is told of a window of which pools are read. Once in a work it reads some of the
// records that it had when it was first met.
func (w *work) meet(window quota.Window) error {
	r := &w.ledger.recorded
	f := r.windows[window]
	if w.scanned || f != nil && (f.whole || f.large) {
		return nil
	}
	w.scanned = true
	if f == nil {
		f = r.begin(window)
	}
	lower := appendName(w.ledger.key(recordPool), poolName{window: window})
	upper := appendName(w.ledger.key(recordPool), poolName{limiter.Key{Hi: ^uint64(0), Lo: ^uint64(0)}, window})
	if f.next != nil {
		lower = f.next
	}
	it, err := w.ledger.config.DB.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: append(upper, 0)})
	if err != nil {
		return err
	}
	valid := it.First()
	for count := 0; valid && count < scanMax && !r.windows[window].large; count++ {
		key := it.Key()
		r.add(poolName{parseID(key[len(key)-idBytes:]), window})
		valid = it.Next()
	}
	if valid {
		f.next = append([]byte(nil), it.Key()...)
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil || valid {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f.whole, f.next = true, nil
	return nil
}

// A filter is a Bloom filter that grows (Almeida et al., Scalable Bloom Filters, 2007)
// and reads a cache line of each of its parts (Putze et al., Cache-, Hash- and
// Space-Efficient Bloom Filters, 2007). Of keys that are not in it, it takes 1 in 100
// to be, for each part.
type filter struct {
	parts []part
	room  int    // how many more the last part takes
	large bool   // there was no room for it, and nothing is in it
	whole bool   // it has all records of its window,
	next  []byte // or those before this key, and all that were written since it began
}

// A part is lines of 512 bits.
type part [][8]uint64

const (
	lineBytes   = 64
	keysPerLine = 42 // 12 bits each
	bitsPerKey  = 6
	// The first part has linesMin lines, and each one four times as many as the one
	// before, up to linesMax.
	linesMin = 16
	linesMax = 1 << 14
)

// spread returns what chooses the line of a key, and the bits in it.
func spread(k limiter.Key) (line, set uint64) {
	line = fold(k.Lo^0x9e37_79b9_7f4a_7c15, k.Hi^0xbf58_476d_1ce4_e5b9)
	return line, fold(line, 0x94d0_49bb_1331_11eb)
}

// fold returns both halves of a product as one.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func (f *filter) has(k limiter.Key) bool {
	line, set := spread(k)
	for i := len(f.parts) - 1; i >= 0; i-- {
		if f.parts[i].has(line, set) {
			return true
		}
	}
	return false
}

func (p part) at(line uint64) *[8]uint64 { return &p[line%uint64(len(p))] }

func (p part) has(line, set uint64) bool {
	words := p.at(line)
	for range bitsPerKey {
		if words[set>>6&7]>>(set&63)&1 == 0 {
			return false
		}
		set >>= 9
	}
	return true
}

// add adds a key and returns by how many bytes the filter grew.
func (f *filter) add(k limiter.Key) (grown int) {
	if f.room == 0 {
		lines := linesMin
		if n := len(f.parts); n > 0 {
			lines = min(4*len(f.parts[n-1]), linesMax)
		}
		f.parts = append(f.parts, make(part, lines))
		f.room, grown = lines*keysPerLine, lines*lineBytes
	}
	f.room--
	line, set := spread(k)
	words := f.parts[len(f.parts)-1].at(line)
	for range bitsPerKey {
		words[set>>6&7] |= 1 << (set & 63)
		set >>= 9
	}
	return grown
}

func (f *filter) bytes() (n int) {
	for _, p := range f.parts {
		n += len(p) * lineBytes
	}
	return n
}
