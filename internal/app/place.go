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
	placeFormat = "headgate data directory\nborn %d\ninode %d\nsecret %s\n"
	placeBytes  = 1 << 10
)

// ErrCopied means that a data directory with quotas is not where it was made.
var ErrCopied = errors.New("it is a copy, or was moved by copying, and two nodes that spend from copies of one store exceed its quotas: " +
	"if the original is never started again, tell so with headgate adopt")

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
// had then. One that has no quotas yet may be anywhere.
func (d *dataDir) settle() error {
	if !d.hasQuotas() {
		return d.claim()
	}
	f, err := os.Open(d.file(placeName))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("app: data directory %s has quotas, and no file %s: %w", d.path, placeName, ErrCopied)
	}
	if err != nil {
		return fmt.Errorf("app: data directory: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	recorded, secret, err := readPlace(f)
	if err != nil {
		return fmt.Errorf("app: data directory %s: its file %s says nothing (%w): %w", d.path, placeName, err, ErrCopied)
	}
	here, err := placeOf(f)
	if err != nil {
		return fmt.Errorf("app: data directory: %w", err)
	}
	if !here.is(recorded) {
		return fmt.Errorf("app: data directory %s: %w", d.path, ErrCopied)
	}
	return d.checkSecret(secret)
}

// readPlace reads what claim has written.
func readPlace(f io.Reader) (p place, secret string, err error) {
	b, err := io.ReadAll(io.LimitReader(f, placeBytes))
	if err == nil {
		_, err = fmt.Sscanf(string(b), placeFormat, &p.born, &p.inode, &secret)
	}
	return p, secret, err
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

// claim records that the directory is where it is now, with its present secret.
func (d *dataDir) claim() error {
	sum, err := d.secretSum()
	if err != nil {
		return err
	}
	return writeFile(d.file(placeName), func(f *os.File) error {
		p, err := placeOf(f)
		if err == nil {
			_, err = fmt.Fprintf(f, placeFormat, p.born, p.inode, sum)
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
	if _, secret, err := readPlace(f); err == nil {
		return d.checkSecret(secret)
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
		err = d.claim()
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
