package storage

import "github.com/cockroachdb/pebble/v2"

// An Iterator is Pebble's. Its Close does not wait for a store that has failed.
type Iterator struct {
	*pebble.Iterator
	db *DB
}

// Close releases what i holds. It returns what went wrong while i was used.
func (i *Iterator) Close() error { return i.db.apart("close iterator", i.Iterator.Close) }

// A Snapshot is Pebble's: a view of the store at one moment. Neither its Close nor that
// of its iterators waits for a store that has failed.
type Snapshot struct {
	*pebble.Snapshot
	db *DB
}

// NewSnapshot returns a view of the store as it is now. Close it soon: while it
// is open, what is overwritten takes room. ErrFailed means that there is none.
func (d *DB) NewSnapshot() (*Snapshot, error) {
	made := make(chan *pebble.Snapshot, 1)
	if err := d.apart("snapshot", func() error { made <- d.pebble.NewSnapshot(); return nil }); err != nil {
		return nil, err
	}
	return &Snapshot{<-made, d}, nil
}

// NewIter returns an iterator over what was in the store then.
func (s *Snapshot) NewIter(o *pebble.IterOptions) (*Iterator, error) {
	return s.db.iterator(s.Snapshot.NewIter(o))
}

// Close releases what s holds.
func (s *Snapshot) Close() error { return s.db.apart("close snapshot", s.Snapshot.Close) }

func (d *DB) iterator(i *pebble.Iterator, err error) (*Iterator, error) {
	if err != nil {
		return nil, err
	}
	return &Iterator{i, d}, nil
}
