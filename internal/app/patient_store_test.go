package app

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/storage"
)

// fullStore has no room before a moment.
type fullStore struct {
	raft.StableStore
	until time.Time
	tries int
}

func (s *fullStore) SetUint64(key []byte, val uint64) error {
	if s.tries++; time.Now().Before(s.until) {
		return storage.ErrFull
	}
	return s.StableStore.SetUint64(key, val)
}

func (s *fullStore) Set(key, val []byte) error {
	if s.tries++; time.Now().Before(s.until) {
		return storage.ErrFull
	}
	return s.StableStore.Set(key, val)
}

func TestAVoteWaitsForRoomOnTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := &fullStore{StableStore: raft.NewInmemStore(), until: time.Now().Add(3 * time.Second)}
		s := patientStore{full}
		if err := s.SetUint64([]byte("term"), 7); err != nil {
			t.Error(err)
		}
		if v, err := s.GetUint64([]byte("term")); v != 7 || err != nil || full.tries != 4 {
			t.Errorf("%d, %v after %d tries, want 7 after 4", v, err, full.tries)
		}
		full.until = time.Now().Add(time.Second)
		if err := s.Set([]byte("vote"), []byte("self")); err != nil {
			t.Error(err)
		}
		if v, err := s.Get([]byte("vote")); string(v) != "self" || err != nil {
			t.Errorf("%q, %v", v, err)
		}
	})
}
