package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/headgate/headgate/limiter/quota"
)

const (
	// placeName is the file that is another one in a copy of the directory.
	placeName   = "place"
	placeFormat = "headgate data directory\nborn %d\ninode %d\nsecret %s\ntenure %020d\n"
	placeBytes  = 1 << 10
	// tenureBytes are the last ones, which are overwritten in place.
	tenureBytes = 20 + 1
)

// ErrCopied means that a data directory with quotas is not where it was made.
var ErrCopied = errors.New("it is a copy, or was moved by copying, and two nodes that spend from copies of one store exceed its quotas: " +
	"if the original is never started again, tell so with headgate adopt")

// ErrOlder means that the store of quotas is not the one that was served last.
var ErrOlder = errors.New("an older store was put back, which does not have what was granted since: " +
	"headgate adopt lets a node start with it, and grants nothing more from periods that have begun")

// ErrOtherSecret means that the key secret is not the one that quotas were counted with.
var ErrOtherSecret = errors.New("it is not the one that the quotas were counted with: with it they would all begin anew; " +
	"put the right one there, or restore a backup, which has it, into an empty directory (headgate restore FILE --data-dir DIR)")

// A place tells a file from copies of it, and stays what it is when the file system is
// mounted elsewhere. A zero means that the file system does not say.
type place struct {
	born  int64 // when the file was made, in Unix nanoseconds
	inode uint64
}

// is reports whether two places are one, as far as can be told. When a file was made is
// all that counts where it is known: some network file systems number files anew.
func (p place) is(q place) bool {
	if p.born != 0 && q.born != 0 {
		return p.born == q.born
	}
	return p.inode == q.inode || p.inode == 0 || q.inode == 0
}

// settle sees to it that the directory is where it was made, and has the secret that it
// had then. One that has no quotas yet may be anywhere. It returns a tenure that the store
// has seen, if it is the one that was served last.
func (d *dataDir) settle() (tenure uint64, err error) {
	if err := d.checkGone(); err != nil {
		return 0, err
	}
	if !d.hasQuotas() {
		return 0, d.claim(0)
	}
	f, err := os.Open(d.file(placeName))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("app: data directory %s has quotas, and no file %s, which versions before there was headgate backup did not write: %w", d.path, placeName, ErrCopied)
	}
	if err != nil {
		return 0, fmt.Errorf("app: data directory: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	r, err := readPlace(f)
	if err != nil {
		return 0, fmt.Errorf("app: data directory %s: its file %s says nothing (%w): %w", d.path, placeName, err, ErrCopied)
	}
	here, err := placeOf(f)
	if err != nil {
		return 0, fmt.Errorf("app: data directory: %w", err)
	}
	if !here.is(r.place) {
		return 0, fmt.Errorf("app: data directory %s: %w", d.path, ErrCopied)
	}
	return r.tenure, d.checkSecret(r.secret)
}

// A placeRecord is what the file says.
type placeRecord struct {
	place  place
	secret string // the sum of the key secret
	tenure uint64 // of the process that served the store last
}

// readPlace reads what claim has written.
func readPlace(f io.Reader) (r placeRecord, err error) {
	b, err := io.ReadAll(io.LimitReader(f, placeBytes))
	if err == nil {
		_, err = fmt.Sscanf(string(b), placeFormat, &r.place.born, &r.place.inode, &r.secret, &r.tenure)
	}
	return r, err
}

// serve takes the tenure of this process, if the store is not older than the one that was
// served, of which the directory knows.
func (d *dataDir) serve(ctx context.Context, s *quotaStore, served uint64) (uint64, error) {
	if seen := s.tenure(); seen < served {
		return 0, fmt.Errorf("data directory %s: its store has seen tenure %d, and %d was served: %w", d.path, seen, served, ErrOlder)
	}
	tenure, err := s.takeTenure(ctx, 1)
	if err == nil {
		err = d.noteTenure(tenure)
	}
	return tenure, err
}

// noteTenure records that a process of this tenure serves the store, in the same file.
func (d *dataDir) noteTenure(tenure uint64) error {
	f, err := os.OpenFile(d.file(placeName), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("app: data directory: %w", err)
	}
	info, err := f.Stat()
	if err == nil {
		_, err = f.WriteAt(fmt.Appendf(nil, "%020d\n", tenure), info.Size()-tenureBytes)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("app: data directory: %w", err)
	}
	return nil
}

// checkSecret compares the key secret with what was recorded of it.
func (d *dataDir) checkSecret(recorded string) error {
	sum, err := d.secretSum()
	if err == nil && sum != recorded {
		err = fmt.Errorf("app: key secret %s: %w", d.file(secretName), ErrOtherSecret)
	}
	return err
}

// secretSum returns what tells the key secret from another, and does not tell it.
func (d *dataDir) secretSum() (string, error) {
	secret, err := d.keySecret()
	sum := sha256.Sum256(secret[:])
	return hex.EncodeToString(sum[:]), err
}

// claim records that the directory is where it is now, with its present secret, and a
// tenure that its store has seen.
func (d *dataDir) claim(tenure uint64) error {
	sum, err := d.secretSum()
	if err != nil {
		return err
	}
	return writeFile(d.file(placeName), func(f *os.File) error {
		p, err := placeOf(f)
		if err == nil {
			_, err = fmt.Fprintf(f, placeFormat, p.born, p.inode, sum, tenure)
		}
		return err
	})
}

// checkCopy looks whether a copy has the secret that the original had, as far as it was
// recorded.
func (d *dataDir) checkCopy() error {
	f, err := os.Open(d.file(placeName))
	if err != nil {
		return nil // adopting makes it anew
	}
	defer f.Close() //nolint:errcheck // only read from
	if r, err := readPlace(f); err == nil {
		return d.checkSecret(r.secret)
	}
	return nil
}

// An AdoptOrder says which data directory is to be used where it is now.
type AdoptOrder struct {
	Dir string
	// KeepOpenWindows says that it was copied after its node had stopped for good. Else
	// nothing is granted from periods that have begun.
	KeepOpenWindows bool
	Log             *slog.Logger
}

// An Adopted is what Adopt has made of a directory.
type Adopted struct {
	Tenure uint64 // those of its processes are above it
	// Frozen is when the first period begins that is served again; zero: all are.
	Frozen time.Time
}

// Adopt has a copy of a data directory be one that a node can start with. The original
// must not be started again.
func Adopt(ctx context.Context, o AdoptOrder) (*Adopted, error) {
	d, err := openStopped(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := d.checkCopy(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	out := new(Adopted)
	err = d.withStore(ctx, o.Log, func(ctx context.Context, s *quotaStore) (err error) {
		frozen := int64(0)
		if !o.KeepOpenWindows {
			frozen, out.Frozen = freezeAt(s.clock())
		}
		out.Tenure, err = s.secure(ctx, frozen)
		return err
	})
	if err == nil {
		err = d.claim(out.Tenure)
	}
	if err = errors.Join(err, d.close()); err != nil {
		return nil, fmt.Errorf("adopt %s: %w", o.Dir, err)
	}
	return out, nil
}

// freezeAt returns the last start of a window that somebody may have granted from by now,
// and when the first one begins that nobody has. latest is the latest moment that a group
// has seen, in Unix milliseconds.
func freezeAt(latest int64) (frozen int64, serves time.Time) {
	frozen = quota.OpenBy(max(time.Now().Unix(), latest/1000))
	return frozen, time.Unix(frozen+1, 0).UTC()
}

// clock returns the latest moment that a group has seen, in Unix milliseconds.
func (s *quotaStore) clock() (latest int64) {
	for _, l := range s.ledgers {
		latest = max(latest, l.Clock())
	}
	return latest
}
