package backup

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage"
	"github.com/headgate/headgate/storage/ledger"
)

// ledgers are those of two groups, the first with so many counters.
func ledgers(tb testing.TB, counters int) []*ledger.Ledger {
	tb.Helper()
	db, err := storage.Open(storage.Config{
		Dir: "store", FS: vfs.NewMem(), CacheBytes: storage.CacheBytesMin, MemTableBytes: storage.MemTableBytesMin, SlowAfter: -1,
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	var list []*ledger.Ledger
	for group := range storage.Group(2) {
		l, err := ledger.Open(ledger.Config{DB: db, Group: group})
		if err != nil {
			tb.Fatal(err)
		}
		list = append(list, l)
	}
	for i := range counters {
		b := quota.Batch{At: 5_000_000, Commands: []quota.Command{{
			Op: quota.OpEnsure, Key: limiter.Key{Lo: uint64(i)}, Window: quota.Window{Start: 3600, End: 7200},
			Holder: quota.Holder{Tenure: 7}, Version: 1, Limit: 100, Floor: 5,
		}}}
		list[0].Apply(&raft.Log{Index: uint64(i + 1), Type: raft.LogCommand, Data: b.AppendTo(nil)})
	}
	return list
}

func contents(list []*ledger.Ledger) *Contents {
	c := &Contents{MadeAt: time.Unix(6000, 0), Build: "v1", Store: "cafe", Secret: [SecretBytes]byte{1, 2, 3}}
	for _, l := range list {
		c.Groups = append(c.Groups, l.Export)
	}
	return c
}

func written(tb testing.TB, counters int) []byte {
	tb.Helper()
	var b bytes.Buffer
	if _, err := Write(&b, contents(ledgers(tb, counters))); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func TestABackupIsReadAsItWasWritten(t *testing.T) {
	for _, counters := range []int{0, 1, 3000} {
		var b bytes.Buffer
		made, err := Write(&b, contents(ledgers(t, counters)))
		if err != nil {
			t.Fatal(err)
		}
		read, err := Read(iotest.HalfReader(bytes.NewReader(b.Bytes())), Use{})
		if err != nil || !read.MadeAt.Equal(time.Unix(6000, 0)) || read.Build != "v1" || read.Store != "cafe" || len(read.Groups) != 2 {
			t.Fatalf("%+v, %v", read, err)
		}
		if read.Counters() != int64(counters) || read.Counters() != made.Counters() {
			t.Errorf("%d counters, want %d", read.Counters(), counters)
		}
		if counters > 0 && (read.Tenure() != 7 || read.Clock() != 5_000_000) {
			t.Errorf("tenure %d, clock %d", read.Tenure(), read.Clock())
		}

		var secret [SecretBytes]byte
		to := ledgers(t, 0)
		_, err = Read(bytes.NewReader(b.Bytes()), Use{
			Secret: func(s [SecretBytes]byte) error { secret = s; return nil },
			Group:  func(group int, from io.Reader) (ledger.Summary, error) { return to[group].Import(from) },
		})
		found := 0
		if err := to[0].Each(func(*ledger.Counter) error { found++; return nil }); err != nil {
			t.Fatal(err)
		}
		if err != nil || secret != [SecretBytes]byte{1, 2, 3} || found != counters {
			t.Errorf("restored %d of %d counters, secret %x: %v", found, counters, secret, err)
		}
	}
}

func TestDamageIsFoundWhereverItIs(t *testing.T) {
	whole := written(t, 40)
	for i := range whole {
		broken := bytes.Clone(whole)
		broken[i] ^= 1 << (i % 8)
		_, err := Read(bytes.NewReader(broken), Use{})
		var damaged *DamagedError
		if !errors.As(err, &damaged) && !errors.Is(err, storage.ErrNewerFormat) {
			t.Fatalf("byte %d of %d: %v", i, len(whole), err)
		}
		if i%5 > 0 {
			continue
		}
		_, err = Read(bytes.NewReader(whole[:i]), Use{})
		if err == nil || i > len(magic) && !strings.Contains(err.Error(), "cut off") {
			t.Fatalf("the first %d bytes of %d: %v", i, len(whole), err)
		}
	}
	for name, b := range map[string][]byte{
		"something behind it": append(bytes.Clone(whole), 0),
		"twice":               append(bytes.Clone(whole), whole...),
		"nothing":             nil,
		"something else":      []byte("a file of another program, which is long enough"),
	} {
		var damaged *DamagedError
		if _, err := Read(bytes.NewReader(b), Use{}); !errors.As(err, &damaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDamageIsSaidToBeWhereItIs(t *testing.T) {
	whole := written(t, 3000)
	for part, at := range map[string]int{"group 0": len(whole) / 2, "the manifest": bytes.LastIndex(whole, []byte(`:7`)) + 1, "the file": len(magic) + 2 + 5} {
		broken := bytes.Clone(whole)
		broken[at] ^= 4
		_, err := Read(bytes.NewReader(broken), Use{})
		var damaged *DamagedError
		if !errors.As(err, &damaged) || damaged.Part != part || damaged.At < int64(at) {
			t.Errorf("byte %d: %v, want %s", at, err, part)
		}
	}
}

func TestANewerFormatIsNotCalledDamaged(t *testing.T) {
	whole := written(t, 0)
	newer := bytes.Replace(whole, []byte("format 2"), []byte("format 3"), 1)
	var damaged *DamagedError
	if _, err := Read(bytes.NewReader(newer), Use{}); !errors.Is(err, storage.ErrNewerFormat) || errors.As(err, &damaged) || !strings.Contains(err.Error(), "format 3") {
		t.Errorf("%v", err)
	}
}

func TestAnOlderFormatIsRead(t *testing.T) {
	older := bytes.Replace(written(t, 3), []byte("format 2"), []byte("format 1"), 1)
	sum := sha256.Sum256(older[:len(older)-sha256.Size])
	older = append(older[:len(older)-sha256.Size], sum[:]...)
	if m, err := Read(bytes.NewReader(older), Use{}); err != nil || len(m.Groups) == 0 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestWhatFailsBesideTheFileIsNoDamage(t *testing.T) {
	whole, failed := written(t, 40), errors.New("out of order")
	for name, read := range map[string]func() error{
		"the disk that it is read from": func() error {
			_, err := Read(io.MultiReader(bytes.NewReader(whole[:200]), iotest.ErrReader(failed)), Use{})
			return err
		},
		"who takes the secret": func() error {
			_, err := Read(bytes.NewReader(whole), Use{Secret: func([SecretBytes]byte) error { return failed }})
			return err
		},
		"who takes a group": func() error {
			_, err := Read(bytes.NewReader(whole), Use{Group: func(int, io.Reader) (ledger.Summary, error) { return ledger.Summary{}, failed }})
			return err
		},
		"where it is written to": func() error {
			_, err := Write(failingWriter{failed}, contents(ledgers(t, 3000)))
			return err
		},
	} {
		var damaged *DamagedError
		if err := read(); !errors.Is(err, failed) || errors.As(err, &damaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// FuzzRead: whatever is in a file, it is refused or it is what Write writes.
func FuzzRead(f *testing.F) {
	whole := written(f, 3)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(bytes.Replace(whole, []byte("format 2"), []byte("format 3"), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Read(bytes.NewReader(b), Use{})
		if (m == nil) == (err == nil) {
			t.Fatalf("%+v, %v", m, err)
		}
		var damaged *DamagedError
		if err != nil && !errors.As(err, &damaged) && !errors.Is(err, storage.ErrNewerFormat) {
			t.Errorf("%v is not said to be damage", err)
		}
		if err == nil && (!bytes.HasPrefix(b, []byte(magic)) || len(m.Groups) > GroupsMax) {
			t.Errorf("%+v of %q", m, b)
		}
	})
}
