package table

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/headgate/headgate/limiter"
)

// Loaded says what Load found in a file.
type Loaded struct {
	SavedAt limiter.Instant
	Entries int64 // counters that the table has now
	Due     int64 // counters that became due while they were saved, and were left out
	Dropped int64 // counters that there was no room for, or that could not be aged
}

// Load puts the counters that Save wrote into t, which must be empty and not
// in use yet. It may come before the first Install or after: counters of a
// definition that was changed since are converted (see Install).
//
// Instants are wall-clock times, so counters age by what the wall clock says
// has passed. If it went back, a counter that is further ahead of now than its
// definition allows is taken for as used as can be; one of a limit that a
// request carried, whose definition is not saved, is dropped.
//
// An error wraps ErrDamaged, ErrVersion, limiter.ErrSpecVersion, ErrNotEmpty or
// what r returned; the table is then as empty as before.
func (t *Table) Load(r io.Reader, now limiter.Instant) (Loaded, error) {
	if t.entries.Load() != 0 {
		return Loaded{}, ErrNotEmpty
	}
	l := loader{t: t, r: bufio.NewReader(r), now: now, refs: map[uint32]uint32{}, edit: t.reg.edit()}
	err := l.load()
	l.publish()
	if err != nil {
		t.Clear()
		return Loaded{}, err
	}
	if t.reg.relink() {
		t.startConverting()
	}
	return l.Loaded, nil
}

// relink is edit.relink for definitions that came with a load.
func (r *registry) relink() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.edit().relink()
}

// A loader reads one file.
type loader struct {
	Loaded
	t    *Table
	r    *bufio.Reader
	now  limiter.Instant
	edit *edit             // definitions read; published before the entries that name them
	refs map[uint32]uint32 // the file's refs → ours
	read uint64            // entries in the file so far
	buf  []byte
}

func (l *loader) load() error {
	var head [len(saveMagic) + 1]byte
	if _, err := io.ReadFull(l.r, head[:]); err != nil {
		return cut(err)
	}
	if string(head[:len(saveMagic)]) != saveMagic {
		return fmt.Errorf("%w: no %q at its beginning", ErrDamaged, saveMagic)
	}
	if v := head[len(saveMagic)]; v < 1 || v > saveVersion {
		return fmt.Errorf("%w: %d, this is version %d", ErrVersion, v, saveVersion)
	}
	for n := 0; ; n++ {
		kind, payload, err := l.frame()
		if err != nil {
			return err
		}
		if (n == 0) != (kind == frameHead) {
			return fmt.Errorf("%w: frame %d of type %d", ErrDamaged, n, kind)
		}
		done, err := l.apply(kind, payload)
		if err != nil || done {
			return err
		}
	}
}

// cut returns the error for a file that ends early or can't be read.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends early", ErrDamaged)
	}
	return fmt.Errorf("table: load: %w", err)
}

// frame reads the next frame. The payload is valid until the next call.
func (l *loader) frame() (kind byte, payload []byte, err error) {
	var head [frameHeadBytes]byte
	if _, err := io.ReadFull(l.r, head[:]); err != nil {
		return 0, nil, cut(err)
	}
	n := binary.LittleEndian.Uint32(head[1:])
	if n > framePayloadMax {
		return 0, nil, fmt.Errorf("%w: a frame of %d bytes", ErrDamaged, n)
	}
	l.buf = append(append(l.buf[:0], head[:]...), make([]byte, n+4)...)
	if _, err := io.ReadFull(l.r, l.buf[frameHeadBytes:]); err != nil {
		return 0, nil, cut(err)
	}
	body, sum := l.buf[:frameHeadBytes+n], l.buf[frameHeadBytes+n:]
	if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(sum) {
		return 0, nil, fmt.Errorf("%w: checksum", ErrDamaged)
	}
	return head[0], body[frameHeadBytes:], nil
}

// apply does what a frame says and reports whether it was the last.
func (l *loader) apply(kind byte, b []byte) (done bool, err error) {
	switch {
	case kind == frameHead && len(b) == 8:
		l.SavedAt = limiter.Instant(binary.LittleEndian.Uint64(b))
		return false, nil
	case (kind == frameSpec || kind == frameStandIn) && len(b) >= 4:
		return false, l.definition(kind, binary.LittleEndian.Uint32(b), b[4:])
	case isList(kind, frameEntries, b, entryBytes):
		return false, l.entries(limiter.Partition(binary.LittleEndian.Uint16(b)), b[2:])
	case isList(kind, frameSlots, b, slotFrameBytes):
		return false, l.slots(limiter.Partition(binary.LittleEndian.Uint16(b)), b[2:])
	case kind == frameEnd && len(b) == 8:
		if n := binary.LittleEndian.Uint64(b); n != l.read {
			return false, fmt.Errorf("%w: %d counters, want %d", ErrDamaged, l.read, n)
		}
		if _, err := l.r.ReadByte(); !errors.Is(err, io.EOF) {
			return false, fmt.Errorf("%w: more follows its end", ErrDamaged)
		}
		return true, nil
	default:
		return false, fmt.Errorf("%w: frame of type %d with %d bytes", ErrDamaged, kind, len(b))
	}
}

// isList reports whether a frame is of the type want: a partition and items.
func isList(kind, want byte, b []byte, itemBytes int) bool {
	return kind == want && len(b) >= 2 && (len(b)-2)%itemBytes == 0
}

// publish makes the definitions read so far known to the registry.
func (l *loader) publish() {
	defs := slices.Clone(l.edit.defs)
	l.t.reg.mu.Lock()
	l.t.reg.defs.Store(&defs)
	l.t.reg.mu.Unlock()
}

func (l *loader) definition(kind byte, ref uint32, b []byte) error {
	if _, ok := l.refs[ref]; ok || ref == 0 || l.read > 0 || len(l.refs) == definitionsMax {
		return fmt.Errorf("%w: definition %d", ErrDamaged, ref)
	}
	if kind == frameStandIn {
		if len(b) > limiter.TextMax {
			return fmt.Errorf("%w: a domain of %d bytes", ErrDamaged, len(b))
		}
		l.refs[ref] = l.edit.domain(string(b)).overrides
		return nil
	}
	spec, rest, err := limiter.DecodeSpec(b)
	if err == nil && len(rest) > 0 {
		err = ErrDamaged
	}
	if err != nil {
		return fmt.Errorf("table: load: definition %d: %w", ref, err)
	}
	lim, err := limiter.NewLimit(spec)
	if err != nil {
		return fmt.Errorf("%w: definition %d: %w", ErrDamaged, ref, err)
	}
	l.refs[ref] = l.edit.intern(lim)
	return nil
}

// shard returns the shard of p, which entries follow for.
func (l *loader) shard(p limiter.Partition) (*shard, error) {
	if p >= limiter.PartitionCount {
		return nil, fmt.Errorf("%w: partition %d", ErrDamaged, p)
	}
	if l.read == 0 {
		l.publish()
	}
	return l.t.shard(p), nil
}

func (l *loader) entries(p limiter.Partition, b []byte) error {
	s, err := l.shard(p)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; len(b) > 0; b = b[entryBytes:] {
		l.read++
		k := limiter.Key{Lo: binary.LittleEndian.Uint64(b), Hi: binary.LittleEndian.Uint64(b[8:])}
		c := limiter.Counter{
			Due:  limiter.Instant(binary.LittleEndian.Uint64(b[16:])),
			Word: binary.LittleEndian.Uint64(b[24:]),
		}
		ref, ok := l.refs[binary.LittleEndian.Uint32(b[32:])]
		if k.Lo == 0 || (!ok && binary.LittleEndian.Uint32(b[32:]) != 0) {
			return fmt.Errorf("%w: counter %d", ErrDamaged, l.read)
		}
		l.entry(s, k, c, ref)
	}
	return nil
}

// entry stores one counter in s, which is locked.
func (l *loader) entry(s *shard, k limiter.Key, c limiter.Counter, ref uint32) {
	d := l.t.reg.def(ref)
	switch {
	case d.limit.Kind != 0:
		c = limiter.Convert(c, &d.limit, &d.limit, l.now)
	case l.now < l.SavedAt:
		l.Dropped++
		return
	}
	if c.Due <= l.now {
		l.Due++
		return
	}
	if _, _, ok := s.find(k); ok {
		return // saved while it was being moved
	}
	if l.t.store(s, l.now, slot{k.Lo, k.Hi, c}, ref) != limiter.NotDegraded {
		l.Dropped++
		return
	}
	l.Entries++
}

func (l *loader) slots(p limiter.Partition, b []byte) error {
	s, err := l.shard(p)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; len(b) > 0; b = b[slotFrameBytes:] {
		l.read++
		u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
		k := taking{
			parent: limiter.Key{Lo: u64(0), Hi: u64(8)}, slot: limiter.Key{Lo: u64(16), Hi: u64(24)},
			expiry: limiter.Instant(u64(32)), weight: binary.LittleEndian.Uint32(b[40:]),
		}
		saved := binary.LittleEndian.Uint32(b[44:])
		ref, ok := l.refs[saved]
		def := l.t.reg.def(ref)
		if k.parent.Lo == 0 || k.weight == 0 || (!ok && saved != 0) || (ok && def.limit.Kind != limiter.KindConcurrency) {
			return fmt.Errorf("%w: slot %d", ErrDamaged, l.read)
		}
		k.ref = ref
		l.slot(s, k, &def.limit)
	}
	return nil
}

// slot takes one slot of s, which is locked, again. No slot lives longer than
// its limit says, whatever the clock says now.
func (l *loader) slot(s *shard, k taking, lim *limiter.Limit) {
	if lim.Kind == 0 && l.now < l.SavedAt {
		l.Dropped++
		return
	}
	lifetime := lim.Period
	if lim.Kind == 0 {
		lifetime = limiter.LifetimeMax
	}
	k.expiry = min(k.expiry, l.now.Add(lifetime))
	if k.expiry <= l.now {
		l.Due++
		return
	}
	if k.slot.Lo != 0 {
		if _, _, ok := s.find(k.slot); ok {
			return // renewed while it was saved
		}
	}
	if _, why := l.t.take(s, l.now, k); why != limiter.NotDegraded {
		l.Dropped++
		return
	}
	l.Entries++
}
