package table

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/slots"
)

// A saved table is the eight bytes "HGTABLE" and a format version, then
// frames:
//
//	type(1) length(4) payload crc(4)    integers little-endian; CRC-32C of all before it
//
//	frameHead     saved at (8)                        first
//	frameSpec     ref(4) limiter.AppendSpec           before all entries
//	frameStandIn  ref(4) domain                       likewise, for limits carried by requests
//	frameEntries  partition(2) {lo hi due word ref}…  8+8+8+8+4 bytes each; ref 0 is unknown
//	frameSlots    partition(2) {parent lo hi slot lo hi expiry weight ref}…
//	              8+8+8+8+8+4+4 bytes each; the slot is 0 0 if it is anonymous
//	frameEnd      entries and slots(8)                last
//
// Version 1 had no frameSlots.
const (
	saveMagic   = "HGTABLE"
	saveVersion = 2

	frameHead    = 1
	frameSpec    = 2
	frameStandIn = 3
	frameEntries = 4
	frameEnd     = 5
	frameSlots   = 6

	frameHeadBytes = 5
	entryBytes     = 36
	slotFrameBytes = 48

	// framePayloadMax bounds a frame: what the largest one that Save writes,
	// sweepHold entries, takes, with room to spare.
	framePayloadMax = 64 << 10

	// definitionsMax bounds the definitions of one file.
	definitionsMax = 1 << 20
)

// Errors of Load, and of Save for ErrTooMany.
var (
	// ErrDamaged means that the bytes are not a whole saved table.
	ErrDamaged = errors.New("table: not a saved table, or damaged")
	// ErrVersion means that another version of Headgate wrote the file.
	ErrVersion = errors.New("table: unknown version of a saved table")
	// ErrNotEmpty means that Load was called on a table that has counters.
	ErrNotEmpty = errors.New("table: load: the table is not empty")
	// ErrTooMany means that a table has more definitions than a file may have.
	ErrTooMany = errors.New("table: too many definitions")
)

// Save writes to w every counter that is not due by now, and the definitions
// that they were charged under. Its errors are w's, wrapped, or ErrTooMany. It
// holds a shard's mutex only to copy a bounded number of entries, so deciding
// may go on, but what is charged meanwhile may be missing.
func (t *Table) Save(w io.Writer, now limiter.Instant) error {
	f := frameWriter{w: w}
	if _, f.err = w.Write(append([]byte(saveMagic), saveVersion)); f.err == nil {
		f.frame(frameHead, binary.LittleEndian.AppendUint64(f.start(), uint64(now)))
	}
	refs, err := t.saveDefinitions(&f)
	if err != nil {
		return err
	}
	total := uint64(0)
	for i := range t.shards {
		s := &t.shards[i]
		t.scan(s, func(rs []record) bool {
			total += f.entries(s.id, rs, refs, now)
			for i := range rs {
				if rs[i].role == roleParent {
					total += t.saveSlots(&f, s, &rs[i], refs)
				}
			}
			return f.err == nil
		})
	}
	f.frame(frameEnd, binary.LittleEndian.AppendUint64(f.start(), total))
	if f.err != nil {
		return fmt.Errorf("table: save: %w", f.err)
	}
	return nil
}

// saveDefinitions writes the definitions that have entries and returns their refs.
func (t *Table) saveDefinitions(f *frameWriter) (map[uint32]bool, error) {
	refs := map[uint32]bool{}
	for ref, d := range *t.reg.defs.Load() {
		if ref == 0 || d == nil || d.live.Load() == 0 {
			continue
		}
		if len(refs) == definitionsMax {
			return nil, fmt.Errorf("%w: at most %d", ErrTooMany, definitionsMax)
		}
		refs[uint32(ref)] = true
		b := binary.LittleEndian.AppendUint32(f.start(), uint32(ref))
		if d.limit.Kind == 0 {
			f.frame(frameStandIn, append(b, d.domain.name...))
		} else {
			f.frame(frameSpec, limiter.AppendSpec(b, &d.limit.Spec))
		}
	}
	return refs, nil
}

// A frameWriter writes frames until the first error, then nothing.
type frameWriter struct {
	w   io.Writer
	buf []byte
	err error
}

// start returns where to append the payload of the next frame.
func (f *frameWriter) start() []byte {
	return append(f.buf[:0], make([]byte, frameHeadBytes)...)
}

// frame writes a frame; b is what start returned, with the payload appended.
func (f *frameWriter) frame(kind byte, b []byte) {
	b[0] = kind
	binary.LittleEndian.PutUint32(b[1:], uint32(len(b)-frameHeadBytes))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	f.buf = b
	if f.err == nil {
		_, f.err = f.w.Write(b)
	}
}

// entries writes those of rs that are not due by now and returns how many.
func (f *frameWriter) entries(p limiter.Partition, rs []record, refs map[uint32]bool, now limiter.Instant) (n uint64) {
	b := binary.LittleEndian.AppendUint16(f.start(), uint16(p))
	for i := range rs {
		r := &rs[i]
		if r.c.Due <= now || r.role != roleNone {
			continue
		}
		tag := r.tag
		if !refs[tag] {
			tag = 0
		}
		b = binary.LittleEndian.AppendUint64(b, r.lo)
		b = binary.LittleEndian.AppendUint64(b, r.hi)
		b = binary.LittleEndian.AppendUint64(b, uint64(r.c.Due))
		b = binary.LittleEndian.AppendUint64(b, r.c.Word)
		b = binary.LittleEndian.AppendUint32(b, tag)
		n++
	}
	if n > 0 {
		f.frame(frameEntries, b)
	}
	return n
}

// saveSlots writes the slots of a parent, at most sweepHold at a time, and
// returns how many. What has expired is left to Load.
func (t *Table) saveSlots(f *frameWriter, s *shard, parent *record, refs map[uint32]bool) (total uint64) {
	tag := parent.tag
	if !refs[tag] {
		tag = 0
	}
	var at slots.Cursor
	for {
		b := binary.LittleEndian.AppendUint16(f.start(), uint16(s.id))
		n := 0
		s.mu.Lock()
		if g := s.group(parent); g != 0 {
			for ; n < sweepHold; n++ {
				sl, ok := s.held.Next(g, &at)
				if !ok {
					break
				}
				for _, v := range [...]uint64{parent.lo, parent.hi, sl.Key.Lo, sl.Key.Hi, uint64(sl.Expiry)} {
					b = binary.LittleEndian.AppendUint64(b, v)
				}
				b = binary.LittleEndian.AppendUint32(b, sl.Weight)
				b = binary.LittleEndian.AppendUint32(b, tag)
			}
		}
		s.mu.Unlock()
		if n > 0 {
			f.frame(frameSlots, b)
		}
		if total += uint64(n); n < sweepHold || f.err != nil {
			return total
		}
	}
}
