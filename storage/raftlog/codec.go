package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// appendEntry appends an entry without its index, which is in the key:
//
//	type(1) term(varint) appended(8: Unix ns, 0 = never) len(varint) extensions, data to the end
//
// The format version is the store's.
func appendEntry(dst []byte, e *raft.Log) []byte {
	dst = append(dst, byte(e.Type))
	dst = binary.AppendUvarint(dst, e.Term)
	var appended int64
	if !e.AppendedAt.IsZero() {
		appended = e.AppendedAt.UnixNano()
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(appended))
	dst = binary.AppendUvarint(dst, uint64(len(e.Extensions)))
	dst = append(dst, e.Extensions...)
	return append(dst, e.Data...)
}

// decodeEntry is the inverse of appendEntry. Nothing of value is kept.
func decodeEntry(value []byte, index uint64, e *raft.Log) error {
	if len(value) == 0 {
		return errors.New("it is empty")
	}
	*e = raft.Log{Index: index, Type: raft.LogType(value[0])}
	value = value[1:]
	term, n := binary.Uvarint(value)
	if n <= 0 || len(value) < n+8 {
		return errors.New("its head is cut off")
	}
	e.Term, value = term, value[n:]
	if appended := int64(binary.BigEndian.Uint64(value)); appended != 0 {
		e.AppendedAt = time.Unix(0, appended)
	}
	value = value[8:]
	length, n := binary.Uvarint(value)
	if n <= 0 || length > uint64(len(value)-n) {
		return fmt.Errorf("its extensions of %d bytes are cut off", length)
	}
	value = value[n:]
	if length > 0 {
		e.Extensions = slices.Clone(value[:length])
	}
	if data := value[length:]; len(data) > 0 {
		e.Data = slices.Clone(data)
	}
	return nil
}
