package backup

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/headgate/headgate/storage/ledger"
)

// Format is the version of the format that Write writes, and the newest that Read reads. In
// version 1 a ledger has a record for each request, and no blocks.
const Format = 2

// SecretBytes is the length of the secret.
const SecretBytes = 16

const (
	magic = "headgate backup\nformat "
	// chunkBytes is how long a chunk is at most, and manifestBytesMax a manifest.
	chunkBytes       = 64 << 10
	manifestBytesMax = 1 << 20
	// GroupsMax bounds how many groups there are.
	GroupsMax = 1024
)

// The kinds of sections.
const (
	sectionEnd      = 0
	sectionSecret   = 1
	sectionGroup    = 2
	sectionManifest = 3
)

// A Manifest says what a backup is of.
type Manifest struct {
	MadeAt time.Time        `json:"made_at"`
	Build  string           `json:"headgate"` // the version that made it
	Store  string           `json:"store"`    // the id of the store
	Groups []ledger.Summary `json:"groups"`
}

// Counters returns how many counters there are in all groups.
func (m *Manifest) Counters() (n int64) {
	for i := range m.Groups {
		n += m.Groups[i].Counters
	}
	return n
}

// Tenure returns the highest tenure that any group has seen.
func (m *Manifest) Tenure() (highest uint64) {
	for i := range m.Groups {
		highest = max(highest, m.Groups[i].Tenure)
	}
	return highest
}

// Clock returns the latest moment that a group has seen, in Unix milliseconds.
func (m *Manifest) Clock() (latest int64) {
	for i := range m.Groups {
		latest = max(latest, m.Groups[i].Clock)
	}
	return latest
}

// A DamagedError says that a file is not what Write wrote.
type DamagedError struct {
	// Part is what was being read, and At how many bytes had been.
	Part string
	At   int64
	// Cause says what is wrong with it.
	Cause error
}

// Error says what is damaged, and where.
func (e *DamagedError) Error() string {
	return fmt.Sprintf("backup: %s is damaged, at byte %d or before: %v", e.Part, e.At, e.Cause)
}

// Unwrap returns the cause.
func (e *DamagedError) Unwrap() error { return e.Cause }

// errCut is the cause of an end that comes too early.
var errCut = errors.New("the file ends here: it was cut off, or never finished")

// cut turns an end of the file into errCut.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errCut
	}
	return err
}
