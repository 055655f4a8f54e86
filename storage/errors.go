package storage

import (
	"errors"
	"fmt"
	"os"
)

// What Open and the operations of a DB report, for errors.Is.
var (
	// ErrNewerFormat: a later version of Headgate wrote the directory.
	ErrNewerFormat = errors.New("written by a newer version of Headgate")
	// ErrOtherNode: the directory is another node's.
	ErrOtherNode = errors.New("the directory belongs to another node")
	// ErrFull: the disk has no room. Reads go on; see [DB.Recheck].
	ErrFull = errors.New("the disk is full: free space and writes go on by themselves")
	// ErrFailed: a write that had to last did not. It stays until another
	// process opens the directory.
	ErrFailed = errors.New("the disk failed: nothing is written any more; repair or replace it and restart the node")
	// ErrPermission: the system does not let this process use a file. Nothing is lost.
	ErrPermission = errors.New("the system does not let this process use a file of it: " +
		"run it as the user who owns the directory, or let it read and write all that is there (chown -R, chmod -R u+rwX); nothing is lost")
)

// A DamagedError says that a directory's content can't be what was written.
type DamagedError struct {
	// Dir is the directory, as in Config.Dir.
	Dir string
	// Cause says what is damaged.
	Cause error
}

// Error says what is damaged and how to go on.
func (e *DamagedError) Error() string {
	return fmt.Sprintf("storage: %s is damaged: %v; keep a copy of it, and restore a backup into an empty directory (headgate restore FILE --data-dir DIR)", e.Dir, e.Cause)
}

// forbidden returns err as what the system does not permit, if it is that.
func forbidden(dir string, err error) (error, bool) {
	if !errors.Is(err, os.ErrPermission) {
		return err, false
	}
	return fmt.Errorf("storage: open %s: %w (%w)", dir, ErrPermission, err), true
}

// Unwrap returns the cause.
func (e *DamagedError) Unwrap() error { return e.Cause }
