package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

// A head is what the ledger itself records of a state.
type head struct {
	applied  uint64 // the index of the last entry that counts
	purged   int64  // pools that were kept until then are deleted, Unix seconds
	requests int64  // how many there are of exact mode
}

// appendHead appends the value of the head's record.
func appendHead(dst []byte, h head, g *quota.Group) []byte {
	dst = binary.AppendUvarint(dst, h.applied)
	dst = binary.AppendUvarint(dst, uint64(h.purged))
	dst = binary.AppendUvarint(dst, uint64(h.requests))
	return g.AppendHead(dst)
}

func parseHead(value []byte, h *head, g *quota.Group) error {
	var fields [3]uint64
	for i := range fields {
		v, n := binary.Uvarint(value)
		if n <= 0 || (i > 0 && v > 1<<48) {
			return errors.New("the head is damaged")
		}
		fields[i], value = v, value[n:]
	}
	*h = head{fields[0], int64(fields[1]), int64(fields[2])}
	return g.DecodeHead(value)
}

// readRecord reads one record, of which key is what follows the state's byte:
// heads and tenures into h and g, of others only whether they are well-formed.
func readRecord(key, value []byte, h *head, g *quota.Group) error {
	if len(key) == 0 {
		return errors.New("a record has no key")
	}
	kind, rest := key[0], key[1:]
	switch {
	case kind == recordHead && len(rest) == 0:
		return parseHead(value, h, g)
	case kind == recordTenure && len(key) == tenureKeyBytes:
		partition := binary.BigEndian.Uint16(rest)
		tenure, n := binary.Uvarint(value)
		if n <= 0 || n != len(value) || partition >= limiter.PartitionCount || tenure > quota.TotalMax {
			return fmt.Errorf("%x → %x is no tenure", key, value)
		}
		g.Raise(limiter.Partition(partition), tenure)
		return nil
	case kind == recordPool:
		var p quota.Pool
		_, err := parseName(rest)
		return errors.Join(err, quota.DecodePool(value, &p))
	default:
		return readRequestRecord(key, value)
	}
}

// readRequestRecord is readRecord of requests.
func readRequestRecord(key, value []byte) error {
	kind, rest := key[0], key[1:]
	switch {
	case kind == recordRequest:
		_, err1 := parseRequestName(rest)
		_, err2 := quota.DecodeRequest(value)
		return errors.Join(err1, err2)
	case kind == recordDue && len(key) == dueKeyBytes && len(value) == 0:
		_, err := parseRequestName(rest[6:])
		return err
	case kind == recordBlock && len(key) == blockKeyBytes:
		return eachInBlock(value, func(*blockItem) error { return nil })
	default:
		return fmt.Errorf("%x → %x is no record of a ledger", key, value)
	}
}
