package hold

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/headgate/headgate/limiter"
)

// A saved reservation is a savedRecord, then the domain and the two answers, each a varint
// length and its bytes, then a savedLeg for each leg, and at the end the units that the request named and no leg
// counts, each a varint length and its bytes. Integers are little-endian.

// ErrMalformed means that the bytes are not a saved reservation.
var ErrMalformed = errors.New("hold: malformed reservation")

// A savedRecord is what all records have, as it is written.
type savedRecord struct {
	ID, Content, End       limiter.Key
	Opened, Deadline, When limiter.Instant
	State                  state
	Late                   bool
	Legs                   uint8
}

// A savedLeg is a Leg as it is written: its limit by name.
type savedLeg struct {
	Key       limiter.Key
	ID        limiter.LimitID
	Def       limiter.DefHash
	Units     uint64
	Partition limiter.Partition
	Was       limiter.Instant
	Request   limiter.Key
	Holder    Holder
}

// A Saved is a reservation that was saved, for [Book.Restore].
type Saved struct {
	savedRecord
	domain       string
	made, settle []byte
	legs         []savedLeg
	units        []string
}

// Save yields each reservation that is open or remembered, in a form that [DecodeSaved] reads.
// The bytes are valid until the next one. What is being decided or ended is left out.
func (b *Book) Save() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		domains := make(map[*Counts]string, len(b.domains))
		for name, d := range b.domains {
			domains[d] = name
		}
		var buf []byte
		for _, r := range b.records {
			if r.state == deciding || r.state == ending {
				continue
			}
			if buf = r.append(buf[:0], domains[r.domain]); !yield(buf) {
				return
			}
		}
	}
}

func (r *record) append(b []byte, domain string) []byte {
	// The types have a fixed size: there are no errors.
	b, _ = binary.Append(b, binary.LittleEndian, &savedRecord{
		ID: r.id, Content: r.content, End: r.end, Opened: r.opened, Deadline: r.deadline, When: r.when,
		State: r.state, Late: r.late, Legs: uint8(len(r.legs)),
	})
	for _, v := range [...][]byte{[]byte(domain), r.made, r.settle} {
		b = limiter.AppendValue(b, v)
	}
	for i := range r.legs {
		l := &r.legs[i]
		b, _ = binary.Append(b, binary.LittleEndian, &savedLeg{
			Key: l.Key, ID: l.Limit.ID, Def: l.Limit.Def, Units: l.Units, Partition: l.Partition, Was: l.Was, Request: l.Request,
			Holder: l.Holder,
		})
	}
	return appendUnits(b, r.units)
}

// DecodeSaved reads one reservation of those that were saved at that moment. It keeps b. Errors wrap
// ErrMalformed.
func DecodeSaved(b []byte, at limiter.Instant) (s Saved, err error) {
	if s, err = decode(b); err == nil {
		err = s.check(at)
	}
	if err != nil {
		return Saved{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return s, nil
}

func decode(b []byte) (s Saved, err error) {
	n, err := binary.Decode(b, binary.LittleEndian, &s.savedRecord)
	if err != nil {
		return s, fmt.Errorf("%d bytes", len(b))
	}
	b = b[n:]
	var texts [3][]byte
	for i := range texts {
		var ok bool
		if texts[i], b, ok = cutValue(b); !ok {
			return s, fmt.Errorf("text %d is cut off", i)
		}
	}
	s.domain, s.made, s.settle = string(texts[0]), texts[1], texts[2]
	if s.Legs > limiter.ChargesMax || len(b) < int(s.Legs)*binary.Size(savedLeg{}) {
		return s, fmt.Errorf("%d bytes for %d legs, at most %d", len(b), s.Legs, limiter.ChargesMax)
	}
	s.legs = make([]savedLeg, s.Legs)
	for i := range s.legs {
		if n, err = binary.Decode(b, binary.LittleEndian, &s.legs[i]); err != nil {
			return s, err
		}
		b = b[n:]
		if l := &s.legs[i]; l.Units == 0 || l.Units > limiter.CostMax || l.Partition >= limiter.PartitionCount {
			return s, fmt.Errorf("leg %d has %d units, partition %d", i, l.Units, l.Partition)
		}
	}
	s.units, err = decodeUnits(b)
	return s, err
}

// cutValue takes what limiter.AppendValue has appended from the beginning of b.
func cutValue(b []byte) (v, rest []byte, ok bool) {
	length, n := binary.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return nil, b, false
	}
	return b[n : n+int(length)], b[n+int(length):], true
}

// check reports what no Book would have saved at that moment.
func (s *Saved) check(at limiter.Instant) error {
	if s.State != open && s.State != expired && s.State != ended {
		return fmt.Errorf("state %d", s.State)
	}
	const longest = LifetimeMax + RememberFor
	early := at.Add(-2 * longest)
	for _, when := range [...]limiter.Instant{s.Opened, s.Deadline, s.When} {
		if at < 0 || when < early || when.Sub(at) > longest {
			return fmt.Errorf("moment %d", when)
		}
	}
	return nil
}
