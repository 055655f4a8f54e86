package limiter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// A Spec travels and is saved as
//
//	version(1) kind(1) flags(1) on_unavailable(1) id(16) def(8, little-endian)
//	amount period burst              unsigned varints, shortest form
//	max_wait                         the same, in version 2 only
//	quota's terms                    in version 3 only: see appendQuota
//	domain name                      each a varint length and its bytes
//
// One Spec has one encoding: version 2 is that of a Spec with a MaxWait, version 3
// that of one with the terms of a quota.

const (
	specVersion = 1
	specWaits   = 2 // the version of a Spec with a MaxWait
	specQuota   = 3 // the version of a Spec with QuotaTerms, and the newest
)

// specFixed is the length of what precedes the varints.
const specFixed = 4 + len(LimitID{}) + 8

// The bits of the flags byte.
const (
	specShadow = 1 << iota
	specAnyOf
	specCountDenied
	specPeekUsed
	specCarried
	specFromFirst
	specFlagsEnd
)

// Errors of [DecodeSpec].
var (
	// ErrSpecVersion means that a newer Headgate wrote the definition.
	ErrSpecVersion = errors.New("limiter: unknown version of a definition")
	// ErrSpecMalformed means that the bytes are not a definition.
	ErrSpecMalformed = errors.New("limiter: malformed definition")
)

// AppendSpec appends s to b in a form that says where it ends. [DecodeSpec]
// reads it back if s passes the checks of [NewLimit].
func AppendSpec(b []byte, s *Spec) []byte {
	var flags byte
	for i, set := range [...]bool{s.Shadow, s.AnyOf, s.CountDenied, s.PeekUsed, s.Carried, s.FromFirst} {
		if set {
			flags |= 1 << i
		}
	}
	version := byte(specVersion)
	switch {
	case s.Quota != nil:
		version = specQuota
	case s.MaxWait != 0:
		version = specWaits
	}
	b = append(b, version, byte(s.Kind), flags, byte(s.OnUnavailable))
	b = append(b, s.ID[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.Def))
	b = binary.AppendUvarint(b, s.Amount)
	b = binary.AppendUvarint(b, uint64(s.Period))
	b = binary.AppendUvarint(b, s.Burst)
	switch version {
	case specWaits:
		b = binary.AppendUvarint(b, uint64(s.MaxWait))
	case specQuota:
		b = appendQuota(b, s.Quota)
	}
	b = append(binary.AppendUvarint(b, uint64(len(s.Domain))), s.Domain...)
	return append(binary.AppendUvarint(b, uint64(len(s.Name))), s.Name...)
}

// DecodeSpec reads the Spec that b starts with and returns what follows it.
// Nothing of b is kept, and nothing larger than TextMax is allocated. The Spec
// is only as valid as its writer made it: give it to [NewLimit].
//
// Errors wrap [ErrSpecVersion] or [ErrSpecMalformed].
func DecodeSpec(b []byte) (s Spec, rest []byte, err error) {
	if len(b) > 0 && (b[0] < specVersion || b[0] > specQuota) {
		return Spec{}, nil, fmt.Errorf("%w: %d, newest known is %d", ErrSpecVersion, b[0], specQuota)
	}
	if len(b) < specFixed {
		return Spec{}, nil, fmt.Errorf("%w: %d bytes, want at least %d", ErrSpecMalformed, len(b), specFixed)
	}
	flags := b[2]
	if flags >= specFlagsEnd {
		return Spec{}, nil, fmt.Errorf("%w: unknown flags %#x", ErrSpecMalformed, flags)
	}
	s = Spec{
		Kind:          Kind(b[1]),
		Shadow:        flags&specShadow != 0,
		AnyOf:         flags&specAnyOf != 0,
		CountDenied:   flags&specCountDenied != 0,
		PeekUsed:      flags&specPeekUsed != 0,
		Carried:       flags&specCarried != 0,
		FromFirst:     flags&specFromFirst != 0,
		OnUnavailable: OnUnavailable(b[3]),
		ID:            LimitID(b[4:20]),
		Def:           DefHash(binary.LittleEndian.Uint64(b[20:])),
	}
	r := specReader{b: b[specFixed:]}
	s.Amount = r.uvarint("amount")
	s.Period = time.Duration(r.uvarint("period"))
	s.Burst = r.uvarint("burst")
	switch b[0] {
	case specWaits:
		s.MaxWait = r.wait()
	case specQuota:
		s.Quota = r.quota()
	}
	s.Domain = r.text("domain")
	s.Name = r.text("name")
	if r.err != nil {
		return Spec{}, nil, r.err
	}
	return s, r.b, nil
}

// A specReader reads fields until the first error, then zeros.
type specReader struct {
	b   []byte
	err error
}

func (r *specReader) uvarint(field string) uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 || (n > 1 && r.b[n-1] == 0) { // cut off, above 64 bits, or padded
		r.err = fmt.Errorf("%w: %s is not a varint", ErrSpecMalformed, field)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// wait reads a MaxWait, which version 2 would not be there without.
func (r *specReader) wait() time.Duration {
	v := r.uvarint("max wait")
	if v == 0 && r.err == nil {
		r.err = fmt.Errorf("%w: max wait is 0 in version %d", ErrSpecMalformed, specWaits)
	}
	return time.Duration(v)
}

func (r *specReader) text(field string) string {
	n := r.uvarint(field + " length")
	switch {
	case r.err != nil:
		return ""
	case n > TextMax:
		r.err = fmt.Errorf("%w: %s has %d bytes, at most %d", ErrSpecMalformed, field, n, TextMax)
		return ""
	case n > uint64(len(r.b)):
		r.err = fmt.Errorf("%w: %s has %d bytes, only %d follow", ErrSpecMalformed, field, n, len(r.b))
		return ""
	}
	text := string(r.b[:n])
	r.b = r.b[n:]
	return text
}
