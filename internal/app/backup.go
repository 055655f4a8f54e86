package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/headgate/headgate/api/admin"
	"github.com/headgate/headgate/internal/audit"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/storage/backup"
)

const (
	backupAction = "backup"
	// backupStall is for how long who takes a backup may take nothing of it.
	backupStall = 30 * time.Second
	// offlineWait bounds how long the store of a node that is stopped may take to open.
	offlineWait = 5 * time.Minute
)

// A BackupManifest says what a backup is of.
type BackupManifest = backup.Manifest

// ErrNothingDurable means that a node has no quotas yet.
var ErrNothingDurable = errors.New("there are no durable quotas yet: there is nothing to back up or to adopt")

// backups makes backups of a node that runs, one at a time.
type backups struct {
	quotas *quotas
	secret func() ([16]byte, error)
	build  string
	audit  *audit.Log
	now    func() limiter.Instant
	log    *slog.Logger

	running atomic.Bool
}

// outside returns the store, to be read without q.mu until done is called, which has
// to be soon after q.ending is closed.
func (q *quotas) outside() (s *quotaStore, done func(), err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.store != nil:
		q.readers.Add(1)
		return q.store, q.readers.Done, nil
	case q.stopped:
		return nil, nil, &admin.Refusal{Status: http.StatusServiceUnavailable, Text: "the node is stopping"}
	case q.waiting:
		return nil, nil, errWaiting
	default:
		return nil, nil, &admin.Refusal{Status: http.StatusConflict, Text: ErrNothingDurable.Error()}
	}
}

// begin returns what writes a backup of the node. It must be called.
func (b *backups) begin(who admin.Caller, in *admin.BackupRequest) (admin.Stream, error) {
	if err := checkReason(in.Reason); err != nil {
		return nil, err
	}
	if !b.running.CompareAndSwap(false, true) {
		return nil, &admin.Refusal{Status: http.StatusConflict, Text: "another backup of this node is under way"}
	}
	secret, err := b.secret()
	if err != nil {
		b.running.Store(false)
		return nil, err
	}
	store, done, err := b.quotas.outside()
	if err != nil {
		b.running.Store(false)
		return nil, err
	}
	return func(w http.ResponseWriter) error {
		defer b.running.Store(false)
		defer done()
		c := store.contents(secret, b.build)
		m, err := backup.Write(&patientWriter{w, http.NewResponseController(w), b.quotas.ending}, c)
		if err != nil {
			b.log.Warn("a backup was not finished", slog.String("error", err.Error()))
			return err
		}
		b.log.Info("a backup was made", slog.Int64("counters", m.Counters()), slog.String("remote", who.Remote))
		writeDown(b.log, b.audit, &audit.Record{
			Time: b.now().Time().UTC(), Action: backupAction, Detail: fmt.Sprintf("%d counters of store %.8s", m.Counters(), m.Store),
			Reason: in.Reason, User: who.User, Remote: who.Remote,
		})
		return nil
	}, nil
}

// contents are what a backup of the store has.
func (s *quotaStore) contents(secret [16]byte, build string) *backup.Contents {
	c := &backup.Contents{MadeAt: time.Now(), Build: build, Store: s.id, Secret: secret}
	for _, l := range s.ledgers {
		c.Groups = append(c.Groups, l.Export)
	}
	return c
}

// A patientWriter lets an answer take as long as it needs, while who takes it goes on.
type patientWriter struct {
	to     http.ResponseWriter
	conn   *http.ResponseController
	ending <-chan struct{}
}

func (w *patientWriter) Write(b []byte) (int, error) {
	select {
	case <-w.ending:
		return 0, errEnding
	default:
	}
	if err := w.conn.SetWriteDeadline(time.Now().Add(backupStall)); err != nil {
		return 0, err
	}
	return w.to.Write(b)
}

// BackupFile makes the file of a backup that fill writes, and reads it back: it is whole,
// on the disk, and in place of an older one, or not there. Its mode is 0600.
func BackupFile(file string, fill func(io.Writer) error) (m *BackupManifest, err error) {
	err = writeFile(file, func(f *os.File) error {
		w := bufio.NewWriterSize(f, savedBuffer)
		if err := errors.Join(fill(w), w.Flush()); err != nil {
			return err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		var err error
		m, err = backup.Read(f, backup.Use{})
		return err
	})
	return m, err
}

// VerifyBackup reads a backup to its end and says what is in it. damaged says that err is
// about what the file says rather than about reading it.
func VerifyBackup(file string) (m *BackupManifest, damaged bool, err error) {
	f, err := os.Open(file) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, false, err
	}
	defer f.Close() //nolint:errcheck // only read from
	m, err = backup.Read(f, backup.Use{})
	var damage *backup.DamagedError
	if err != nil {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return m, errors.As(err, &damage), err
}

// BackupDir returns what writes a backup of the data directory of a node that is stopped.
func BackupDir(ctx context.Context, dir, build string, log *slog.Logger) func(io.Writer) error {
	return func(to io.Writer) error {
		data, err := openStopped(dir)
		if err != nil {
			return err
		}
		err = data.withStore(ctx, log, func(_ context.Context, s *quotaStore) error {
			secret, err := data.keySecret()
			if err == nil {
				_, err = backup.Write(to, s.contents(secret, build))
			}
			return err
		})
		return errors.Join(err, data.close())
	}
}

// openStopped locks the data directory of a node that is stopped, and has quotas.
func openStopped(dir string) (*dataDir, error) {
	if _, err := os.Stat(dir); err != nil { // it is not to be made
		return nil, fmt.Errorf("app: data directory: %w", err)
	}
	data, err := openDataDir(dir)
	if err != nil {
		return nil, err
	}
	if err := data.checkGone(); err != nil {
		return nil, errors.Join(err, data.close())
	}
	if !data.hasQuotas() {
		return nil, errors.Join(fmt.Errorf("app: data directory %s: %w", dir, ErrNothingDurable), data.close())
	}
	return data, nil
}

// hasQuotas reports whether there is a store of quotas. One that can't be looked at is there.
func (d *dataDir) hasQuotas() bool {
	_, err := os.Stat(filepath.Join(d.file(quotasName), storeName))
	return err == nil || errors.Is(err, fs.ErrPermission)
}

// withStore calls use with the store of quotas, which has applied its log.
func (d *dataDir) withStore(ctx context.Context, log *slog.Logger, use func(context.Context, *quotaStore) error) error {
	s, err := openQuotaStore(d.file(quotasName), d.served() > 0, log, new(quotaGrowth)) //nolint:contextcheck // what it starts ends with close
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, offlineWait)
	defer cancel()
	if err = s.lead(ctx); err == nil {
		err = use(ctx, s)
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	return errors.Join(err, s.close(ending))
}
