package app

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Names in the data directory.
const (
	lockName   = "lock"
	secretName = "key-secret"
	savedName  = "counters"
	heldName   = "reservations"
	quotasName = "quotas"
	storeName  = "store"     // in quotasName
	unfinished = ".tmp-"     // after a file's name: it is being written
	damaged    = ".damaged-" // after a file's name: it is set aside
)

// ErrLocked means that another process uses the data directory.
var ErrLocked = errors.New("another headgate process uses it: stop that one, or give this one its own with --data-dir")

// A dataDir is the directory of a node's own files, locked for this process.
type dataDir struct {
	path string
	lock *os.File
}

// openDataDir is lockDataDir for a directory that is whole.
func openDataDir(path string) (*dataDir, error) {
	d, err := lockDataDir(path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(d.file(restoringName)); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = ErrRestoring
		}
		return nil, errors.Join(fmt.Errorf("app: data directory %s: %w", path, err), d.close())
	}
	return d, nil
}

// lockDataDir makes the directory if there is none, and locks it. The caller closes it.
func lockDataDir(path string) (*dataDir, error) {
	wrap := func(err error) error {
		return fmt.Errorf("app: data directory %s: %w", path, err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, wrap(fmt.Errorf("%w (choose another with --data-dir or HEADGATE_DATA_DIR)", err))
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator names the directory
	if err != nil {
		return nil, wrap(fmt.Errorf("%w (it must be writable; choose another with --data-dir or HEADGATE_DATA_DIR)", err))
	}
	if err := tryLock(lock); err != nil {
		holder := holderOf(lock)
		return nil, wrap(errors.Join(fmt.Errorf("%w%s", err, holder), lock.Close()))
	}
	// Who holds it is only for people: the lock is the kernel's.
	if err := lock.Truncate(0); err == nil {
		_, _ = lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err := removeAll(path, isUnfinished); err != nil {
		return nil, wrap(errors.Join(err, lock.Close()))
	}
	return &dataDir{path: path, lock: lock}, nil
}

// isUnfinished reports whether name is of a file that writeFile had not
// finished when its process was killed.
func isUnfinished(name string) bool {
	return strings.HasPrefix(name, savedName+unfinished) || strings.HasPrefix(name, heldName+unfinished) ||
		strings.HasPrefix(name, secretName+unfinished) ||
		strings.HasPrefix(name, restoringName+unfinished) || strings.HasPrefix(name, placeName+unfinished)
}

// removeAll removes the files in dir whose names are unwanted.
func removeAll(dir string, unwanted func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if unwanted(e.Name()) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

func holderOf(lock *os.File) string {
	b := make([]byte, 20)
	n, _ := lock.ReadAt(b, 0) // a short file is expected
	if pid := strings.TrimSpace(string(b[:n])); pid != "" {
		return " (process " + pid + ")"
	}
	return ""
}

func (d *dataDir) file(name string) string { return filepath.Join(d.path, name) }

// close unlocks the directory. The lock file stays: removing it would let two
// processes lock two files of the same name.
func (d *dataDir) close() error { return d.lock.Close() }

// keySecret returns the secret of the key hash and makes it first if there is
// none.
func (d *dataDir) keySecret() (secret [16]byte, err error) {
	name := d.file(secretName)
	b, err := os.ReadFile(name) //nolint:gosec // a file of ours
	switch {
	case (d.hasQuotas() || d.served() > 0) && (errors.Is(err, fs.ErrNotExist) || err == nil && len(b) != len(secret)):
		return secret, fmt.Errorf("app: key secret %s is gone or damaged: %w", name, ErrOtherSecret)
	case errors.Is(err, fs.ErrNotExist):
		if _, err := rand.Read(secret[:]); err != nil {
			return secret, fmt.Errorf("app: make key secret: %w", err)
		}
		return secret, writeFile(name, func(f *os.File) error {
			_, err := f.Write(secret[:])
			return err
		})
	case err != nil:
		return secret, fmt.Errorf("app: read key secret: %w", err)
	case len(b) != len(secret):
		return secret, fmt.Errorf("app: key secret %s has %d bytes, not %d: restore it, or remove it and %s to start with fresh counters",
			name, len(b), len(secret), d.file(savedName))
	default:
		return [16]byte(b), nil
	}
}

// writeFile makes the file name with what write writes, whole or not at all,
// and on disk when it returns. Its mode is 0600.
func writeFile(name string, write func(*os.File) error) error {
	wrap := func(err error) error { return fmt.Errorf("app: write %s: %w", name, err) }
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+unfinished+"*")
	if err != nil {
		return wrap(err)
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return wrap(errors.Join(err, os.Remove(f.Name())))
	}
	if err := syncDir(filepath.Dir(name)); err != nil {
		return wrap(err)
	}
	return nil
}

// syncDir makes renames and removals in path last.
func syncDir(path string) error {
	d, err := os.Open(path) //nolint:gosec // the data directory
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
