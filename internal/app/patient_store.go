package app

import (
	"time"

	"github.com/hashicorp/raft"
)

// recheckEvery is how often a full disk is looked at again.
const recheckEvery = time.Second

// A patientStore is a stable store whose writes wait for the disk instead of
// failing: raft panics if its term can't be written, and a full disk must not end
// what a node decides in memory. Meanwhile the group has no leader, and its quotas
// get no units. Of a disk that has failed for good, it waits as long as the process
// runs.
type patientStore struct{ raft.StableStore }

// Set is of raft.StableStore.
func (s patientStore) Set(key, val []byte) error {
	insist(func() error { return s.StableStore.Set(key, val) })
	return nil
}

// SetUint64 is of raft.StableStore.
func (s patientStore) SetUint64(key []byte, val uint64) error {
	insist(func() error { return s.StableStore.SetUint64(key, val) })
	return nil
}

func insist(write func() error) {
	for write() != nil {
		time.Sleep(recheckEvery)
	}
}
