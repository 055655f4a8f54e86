package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrQuotas means that the store of durable quotas can't be opened or served. Nothing is
// wrong with the policies that ask for it.
var ErrQuotas = errors.New("the store of durable quotas can't be used")

// ErrGone means that a data directory had quotas, and has none any more: with a new store
// all that was used would be granted again.
var ErrGone = errors.New("with a new store all that was used would be granted again, so none is made: put it back, or restore a backup into an empty directory " +
	"(headgate restore FILE --data-dir DIR)")

// checkGone reports a store that was served from this directory and is not there.
func (d *dataDir) checkGone() error {
	name := d.file(placeName)
	if _, err := os.Stat(name); d.hasQuotas() || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	evidence := fmt.Sprintf("the file %s says nothing, and is there since quotas were served", name)
	switch r, err := d.recorded(); {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("app: data directory: %w", err)
	case err == nil && r.tenure == 0: // its first start ended before it had a store
		return nil
	case err == nil:
		evidence = fmt.Sprintf("the file %s says that they were served, last by process %d", name, r.tenure)
	}
	return fmt.Errorf("app: data directory %s: its quotas are gone: there is no %s, and %s: %w; where every quota may begin anew, remove %s, too",
		d.path, filepath.Join(quotasName, storeName), evidence, ErrGone, name)
}

// served returns the tenure of the process that served quotas from this directory last, as
// far as it is recorded; 0: none.
func (d *dataDir) served() uint64 {
	r, err := d.recorded()
	if err != nil {
		return 0
	}
	return r.tenure
}

// recorded reads the directory's file that says where it was made.
func (d *dataDir) recorded() (placeRecord, error) {
	f, err := os.Open(d.file(placeName))
	if err != nil {
		return placeRecord{}, err
	}
	defer f.Close() //nolint:errcheck // only read from
	return readPlace(f)
}
