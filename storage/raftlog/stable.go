package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/headgate/headgate/storage"
)

// Set records val under key and returns when it would outlive a power cut.
func (l *Log) Set(key, val []byte) error {
	b := l.db.NewBatch()
	if err := b.Set(l.stableKey(key), val, nil); err != nil {
		return errors.Join(err, b.Close())
	}
	if err := l.db.Commit(b, pebble.Sync); err != nil {
		return fmt.Errorf("raftlog: group %d: set %q: %w", l.group, key, err)
	}
	return nil
}

// Get returns the value under key, or nil and ErrKeyNotFound.
func (l *Log) Get(key []byte) ([]byte, error) {
	var val []byte
	found, err := l.db.Get(l.stableKey(key), func(value []byte) error {
		val = slices.Clone(value)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("raftlog: group %d: get %q: %w", l.group, key, err)
	}
	if !found {
		return nil, ErrKeyNotFound
	}
	return val, nil
}

// SetUint64 is Set of a number.
func (l *Log) SetUint64(key []byte, val uint64) error {
	return l.Set(key, binary.BigEndian.AppendUint64(nil, val))
}

// GetUint64 is Get of a number.
func (l *Log) GetUint64(key []byte) (uint64, error) {
	val, err := l.Get(key)
	if err != nil {
		return 0, err
	}
	if len(val) != 8 {
		return 0, fmt.Errorf("raftlog: group %d: get %q: %d bytes are no number", l.group, key, len(val))
	}
	return binary.BigEndian.Uint64(val), nil
}

func (l *Log) stableKey(key []byte) []byte {
	return append(storage.AppendPrefix(nil, l.group, storage.KindStable), key...)
}
