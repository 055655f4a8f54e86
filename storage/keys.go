package storage

import "encoding/binary"

// A Group is one replicated log with its state, of the several that a node has.
// The number is fixed for the life of a cluster and is in every key.
type Group uint32

// A Kind says what a record of a group is. The numbers are on disk.
type Kind byte

// The kinds.
const (
	KindLog    Kind = 1 // an entry of the group's log, by index
	KindStable Kind = 2 // what the group's consensus has to remember: term, vote
	KindLedger Kind = 3 // which state of the ledger counts
	KindState  Kind = 4 // the ledger's state, and one that is being restored
)

// The first byte of each key.
const (
	spaceStore = 1 // the store's own records
	spaceGroup = 2 // a group's
)

// PrefixBytes is how many bytes of a key of a group say which group and kind.
const PrefixBytes = 6

// AppendPrefix appends the first PrefixBytes bytes of the keys of g's records of
// kind k: space, group and kind, big-endian, so that the records of one kind of
// one group are neighbours.
func AppendPrefix(dst []byte, g Group, k Kind) []byte {
	dst = append(dst, spaceGroup)
	dst = binary.BigEndian.AppendUint32(dst, uint32(g))
	return append(dst, byte(k))
}

// Span returns the bounds [lower, upper) of g's records of kind k.
func Span(g Group, k Kind) (lower, upper []byte) {
	return AppendPrefix(nil, g, k), AppendPrefix(nil, g, k+1)
}

// storeKey returns the key of the record that says whose store this is.
func storeKey() []byte { return []byte{spaceStore, 1} }
