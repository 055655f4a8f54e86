package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage"
	"github.com/headgate/headgate/storage/backup"
	"github.com/headgate/headgate/storage/ledger"
)

const (
	// restoringName is the file that says that a restore has not ended.
	restoringName = "RESTORING"
	restoringText = "A backup was being restored into this directory. Until that has ended, no node starts with it.\n" +
		"If it was interrupted: empty the directory and restore again.\n"
	// tenuresAhead is how many processes the original may have had since the backup, of
	// which none may have a tenure of the restored node.
	tenuresAhead = 1 << 20
	// tenureMax is the highest there may be: with it, a policy's version has versionBits.
	tenureMax = 1<<30 - 1
)

// What Restore refuses, for errors.Is.
var (
	// ErrNotEmpty: there is something in the directory.
	ErrNotEmpty = errors.New("it must be empty")
	// ErrRestoring: a restore was interrupted.
	ErrRestoring = errors.New("a restore into it has not ended: empty it and restore again")
	// ErrBackup: the file is not one that can be restored.
	ErrBackup = errors.New("nothing was restored")
)

// IsNewerFormat reports whether err is about a file that a newer version wrote.
func IsNewerFormat(err error) bool { return errors.Is(err, storage.ErrNewerFormat) }

// A RestoreOrder says what is to be restored.
type RestoreOrder struct {
	// File is the backup, Dir the data directory, which is made if it is missing.
	File, Dir string
	// KeepOpenWindows says that the node whose backup it is granted nothing after it was
	// made. Else nothing is granted from periods that have begun.
	KeepOpenWindows bool
	Log             *slog.Logger
}

// A Restored is what a restore has made.
type Restored struct {
	From   *BackupManifest
	Store  string // the id of the new store
	Tenure uint64 // those of its processes are above it
	// Frozen is when the first period begins that is served again; zero: all are.
	Frozen time.Time
}

// Restore makes the data directory of a node from a backup, as a whole or not at all: one
// that was interrupted is refused by whoever starts with it.
func Restore(ctx context.Context, o RestoreOrder) (*Restored, error) {
	wrap := func(err error) error { return fmt.Errorf("restore %s into %s: %w", o.File, o.Dir, err) }
	if err := checkEmpty(o.Dir); err != nil {
		return nil, wrap(err)
	}
	m, damaged, err := VerifyBackup(o.File)
	switch {
	case damaged, errors.Is(err, storage.ErrNewerFormat):
		return nil, fmt.Errorf("%w: %w", ErrBackup, err)
	case err != nil:
		return nil, wrap(err)
	case len(m.Groups) != quota.Groups:
		return nil, wrap(fmt.Errorf("%w: it has %d groups, not %d", ErrBackup, len(m.Groups), quota.Groups))
	case m.Tenure()+tenuresAhead >= tenureMax:
		return nil, wrap(fmt.Errorf("%w: it has seen tenure %d, and the last one is %d", ErrBackup, m.Tenure(), tenureMax))
	}
	d, err := beginRestore(o.Dir)
	if err != nil {
		return nil, wrap(err)
	}
	out, err := d.restore(ctx, &o, m)
	if err == nil {
		err = d.endRestore()
	}
	if err = errors.Join(err, d.close()); err != nil {
		return nil, wrap(err)
	}
	return out, nil
}

// checkEmpty reports what is in dir, which need not be there. A file system's own
// lost+found does no harm.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		switch e.Name() {
		case "lost+found", lockName:
		case restoringName:
			return ErrRestoring
		default:
			return fmt.Errorf("%w: it has %s", ErrNotEmpty, e.Name())
		}
	}
	return err
}

// beginRestore makes dir, locks it and marks it.
func beginRestore(dir string) (*dataDir, error) {
	d, err := lockDataDir(dir)
	if err != nil {
		return nil, err
	}
	err = checkEmpty(dir)
	if err == nil {
		err = writeFile(d.file(restoringName), func(f *os.File) error {
			_, err := f.WriteString(restoringText)
			return err
		})
	}
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// endRestore removes the mark: all else is on the disk.
func (d *dataDir) endRestore() error {
	return errors.Join(os.Remove(d.file(restoringName)), syncDir(d.path))
}

// restore fills a directory that is marked.
func (d *dataDir) restore(ctx context.Context, o *RestoreOrder, m *BackupManifest) (*Restored, error) {
	if err := d.load(o.File); err != nil {
		return nil, err
	}
	out := &Restored{From: m}
	frozen := int64(0)
	if !o.KeepOpenWindows {
		frozen, out.Frozen = freezeAt(m.Clock())
	}
	err := d.withStore(ctx, o.Log, func(ctx context.Context, s *quotaStore) (err error) {
		out.Store = s.id
		out.Tenure, err = s.secure(ctx, frozen)
		return err
	})
	if err == nil {
		err = d.claim(out.Tenure)
	}
	return out, err
}

// load writes the secret and the ledgers of a backup.
func (d *dataDir) load(file string) error {
	f, err := os.Open(file) //nolint:gosec // the operator names the file
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read from
	db, err := storage.Open(storage.Default(filepath.Join(d.file(quotasName), storeName)))
	if err != nil {
		return err
	}
	_, err = backup.Read(f, backup.Use{
		Secret: func(secret [backup.SecretBytes]byte) error {
			return writeFile(d.file(secretName), func(f *os.File) error {
				_, err := f.Write(secret[:])
				return err
			})
		},
		Group: func(group int, from io.Reader) (s ledger.Summary, err error) {
			l, err := ledger.Open(ledger.Config{DB: db, Group: storage.Group(group)})
			if err != nil {
				return s, err
			}
			return l.Import(from)
		},
	})
	return errors.Join(err, db.Close())
}

// secure sees to it that nobody else has the tenures of the processes to come, and, if
// frozen is not 0, that nothing is granted from windows that start by then, in Unix
// seconds. It returns the tenure that is below theirs.
func (s *quotaStore) secure(ctx context.Context, frozen int64) (tenure uint64, err error) {
	if tenure, err = s.takeTenure(ctx, tenuresAhead); err != nil || frozen == 0 {
		return tenure, err
	}
	for group := range uint32(quota.Groups) {
		err := s.propose(ctx, group, quota.Command{Op: quota.OpFreeze, Window: quota.Window{Start: frozen, End: frozen + 1}})
		if err != nil {
			return tenure, fmt.Errorf("freeze group %d: %w", group, err)
		}
	}
	return tenure, nil
}
