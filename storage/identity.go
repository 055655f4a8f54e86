package storage

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FormatVersion is the layout of keys and values that this version writes, and
// the newest that it reads. It reads older ones as they are: Open makes the directory one of
// this format, which no older version opens. Format 1 has no blocks of requests: see package
// ledger.
const FormatVersion = 2

// identityFile is read before anything else is touched, also by people; the
// database holds the same text.
const (
	identityFile     = "STORE"
	identityBytesMax = 1 << 10
)

// An Identity says whose directory it is.
type Identity struct {
	// Store is drawn at random when the directory is made. Two directories with the
	// same Store are copies of each other, of which one at most may run.
	Store [16]byte
	// Node is the id of the node that it belongs to; "" while none was given.
	Node string
	// Format is the layout of its keys and values.
	Format int
}

// newIdentity draws the identity of a new store.
func newIdentity(node string) Identity {
	id := Identity{Node: node, Format: FormatVersion}
	_, _ = rand.Read(id.Store[:]) // never fails: crypto/rand ends the process instead
	return id
}

// text returns id as it stands in the file and in the database.
func (id Identity) text() []byte {
	return []byte("headgate store\nformat " + strconv.Itoa(id.Format) + "\nid " + hex.EncodeToString(id.Store[:]) + "\nnode " + id.Node + "\n")
}

// parseIdentity is the inverse of text. Of a newer format it reads the number only.
func parseIdentity(b []byte) (Identity, error) {
	var id Identity
	rest, ok := strings.CutPrefix(string(b), "headgate store\nformat ")
	number, rest, found := strings.Cut(rest, "\n")
	if !ok || !found {
		return id, errors.New(`does not begin with "headgate store" and a format`)
	}
	format, err := strconv.Atoi(number)
	if err != nil || format < 1 || strconv.Itoa(format) != number {
		return id, fmt.Errorf("format %q is no version", number)
	}
	if id.Format = format; format > FormatVersion {
		return id, nil
	}
	idLine, rest, found := strings.Cut(rest, "\n")
	digits, ok := strings.CutPrefix(idLine, "id ")
	store, err := hex.DecodeString(digits)
	if !found || !ok || err != nil || len(store) != len(id.Store) || strings.ToLower(digits) != digits {
		return id, errors.New("has no line with its id")
	}
	copy(id.Store[:], store)
	nodeLine, rest, found := strings.Cut(rest, "\n")
	if id.Node, ok = strings.CutPrefix(nodeLine, "node "); !ok || !found || rest != "" {
		return id, errors.New("does not end with a line that names its node")
	}
	return id, checkNode(id.Node)
}

// readIdentity reads dir's identity file; found is false if there is none.
func readIdentity(fs vfs.FS, dir string) (id Identity, found bool, err error) {
	f, err := fs.Open(fs.PathJoin(dir, identityFile))
	if errors.Is(err, os.ErrNotExist) {
		return id, false, nil
	} else if err != nil {
		return id, false, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, identityBytesMax+1))
	if err != nil {
		return id, false, err
	}
	if len(b) > identityBytesMax {
		return id, false, &DamagedError{Dir: dir, Cause: fmt.Errorf("%s has more than %d bytes", identityFile, identityBytesMax)}
	}
	if id, err = parseIdentity(b); err != nil {
		return id, false, &DamagedError{Dir: dir, Cause: fmt.Errorf("%s %w", identityFile, err)}
	}
	return id, true, nil
}

// writeIdentity replaces dir's identity file: after a crash it is the old one or
// the new one.
func writeIdentity(fs vfs.FS, dir string, id Identity) error {
	return writeDurably(fs, dir, identityFile, id.text())
}

// writeDurably makes the file name in dir: after a crash it is the old one or the new
// one.
func writeDurably(fs vfs.FS, dir, name string, text []byte) error {
	path := fs.PathJoin(dir, name)
	f, err := fs.Create(path+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fs.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

// makeDir makes dir, and what is missing above it, so that it outlives a crash.
func makeDir(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(dir); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	above := fs.PathDir(dir)
	if above == dir {
		return nil
	}
	if err := makeDir(fs, above); err != nil {
		return err
	}
	if err := fs.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return syncDir(fs, above)
}

// syncDir makes dir's entries last.
func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
