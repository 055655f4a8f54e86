package storage

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// small is a Config for tests.
func small(fs vfs.FS) Config {
	return Config{Dir: "data/store", FS: fs, CacheBytes: CacheBytesMin, MemTableBytes: MemTableBytesMin, SlowAfter: -1}
}

func mustOpen(t *testing.T, c Config) *DB {
	t.Helper()
	d, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustClose(t *testing.T, d *DB) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func put(d *DB, key, value string, opts *pebble.WriteOptions) error {
	b := d.NewBatch()
	if err := b.Set([]byte(key), []byte(value), nil); err != nil {
		return err
	}
	return d.Commit(b, opts)
}

func get(t *testing.T, d *DB, key string) string {
	t.Helper()
	var s string
	if _, err := d.Get([]byte(key), func(v []byte) error { s = string(v); return nil }); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhatWasWrittenIsThereAgain(t *testing.T) {
	fs := vfs.NewMem()
	c := small(fs)
	c.Node = "n1"
	d := mustOpen(t, c)
	id := d.Identity()
	if id.Node != "n1" || id.Format != FormatVersion || id.Store == [16]byte{} {
		t.Fatalf("identity %+v", id)
	}
	if err := errors.Join(put(d, "\x02a", "1", pebble.Sync), put(d, "\x02b", "2", pebble.NoSync)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, d)
	c.Node = ""
	d = mustOpen(t, c)
	if a, b := get(t, d, "\x02a"), get(t, d, "\x02b"); a != "1" || b != "2" || d.Identity() != id {
		t.Fatalf("%q %q %+v", a, b, d.Identity())
	}
	if found, err := d.Get([]byte("\x02c"), func([]byte) error { return errors.New("called") }); found || err != nil {
		t.Fatal(found, err)
	}
	mustClose(t, d)
}

func TestANodesIDIsRecordedOnceAndHolds(t *testing.T) {
	fs := vfs.NewMem()
	mustClose(t, mustOpen(t, small(fs)))
	c := small(fs)
	for _, node := range []string{"n1", "n1", ""} {
		c.Node = node
		d := mustOpen(t, c)
		if d.Identity().Node != "n1" {
			t.Fatalf("%+v", d.Identity())
		}
		mustClose(t, d)
	}
	c.Node = "n2"
	_, err := Open(c)
	if !errors.Is(err, ErrOtherNode) || !strings.Contains(err.Error(), `this node is "n2", the directory is of "n1"`) {
		t.Fatal(err)
	}
}

func TestANewerFormatIsRefusedAndNothingTouched(t *testing.T) {
	fs := vfs.NewMem()
	if err := fs.MkdirAll("data/store", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := write(fs, "data/store/STORE", "headgate store\nformat 3\nwhatever comes\n"); err != nil {
		t.Fatal(err)
	}
	_, err := Open(small(fs))
	if !errors.Is(err, ErrNewerFormat) || !strings.Contains(err.Error(), "it has format 3, this version reads up to 2") {
		t.Fatal(err)
	}
	if names, err := fs.List("data/store"); err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
}

// A newer version that ends before it has said so in the file has damaged nothing.
func TestANewerFormatOfTheDatabaseAloneIsNoDamage(t *testing.T) {
	fs := vfs.NewMem()
	d := mustOpen(t, small(fs))
	b := d.NewBatch()
	newer := d.Identity()
	newer.Format++
	if err := errors.Join(b.Set(storeKey(), newer.text(), nil), d.Commit(b, pebble.Sync), d.Close()); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if _, err := Open(small(fs)); !errors.Is(err, ErrNewerFormat) || errors.As(err, &damaged) {
		t.Fatal(err)
	}
}

// What is older is read, and then no older version's any more: also if a crash comes
// between the database, which says so first, and the file.
func TestAnOlderFormatIsRaisedWhenItIsOpened(t *testing.T) {
	for _, tt := range []struct{ file, database int }{{1, 1}, {1, FormatVersion}} {
		fs := vfs.NewMem()
		d := mustOpen(t, small(fs))
		id := d.Identity()
		id.Format = tt.database
		b := d.NewBatch()
		if err := errors.Join(b.Set(storeKey(), id.text(), nil), d.Commit(b, pebble.Sync), d.Close()); err != nil {
			t.Fatal(err)
		}
		id.Format = tt.file
		if err := writeIdentity(fs, "data/store", id); err != nil {
			t.Fatal(err)
		}
		id.Format = FormatVersion
		for range 2 {
			d = mustOpen(t, small(fs))
			inFile, _, err1 := readIdentity(fs, "data/store")
			inDatabase, _, err2 := d.recordedIdentity(small(fs))
			if err := errors.Join(err1, err2, d.Close()); err != nil || d.Identity() != id || inFile != id || inDatabase != id {
				t.Errorf("%+v: %v: %+v, %+v and %+v, want %+v", tt, err, d.Identity(), inFile, inDatabase, id)
			}
		}
	}
}

func write(fs vfs.FS, path, content string) error {
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(content))
	return errors.Join(err, f.Close())
}

func TestADamagedDirectoryIsRefusedWithWhatToDo(t *testing.T) {
	file := func(fs vfs.FS, suffix string) string {
		names, err := fs.List("data/store/db")
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(names)
		for _, name := range names {
			if strings.HasSuffix(name, suffix) {
				return "data/store/db/" + name
			}
		}
		t.Fatalf("no %s among %q", suffix, names)
		return ""
	}
	for name, tt := range map[string]struct {
		damage func(fs *vfs.MemFS) error
		want   string
	}{
		"the database is gone":       {func(fs *vfs.MemFS) error { return fs.RemoveAll("data/store/db") }, "the database db is gone"},
		"a table is gone":            {func(fs *vfs.MemFS) error { return fs.RemoveAll(file(fs, ".sst")) }, "sstable"},
		"the identity is unreadable": {func(fs *vfs.MemFS) error { return write(fs, "data/store/STORE", "headgate st") }, "STORE does not begin with"},
		"a table was overwritten":    {func(fs *vfs.MemFS) error { return write(fs, file(fs, ".sst"), "garbage") }, ".sst"},
		"a byte of a table is another": {func(fs *vfs.MemFS) error {
			b, err := fs.UnsafeGetFileDataBuffer(file(fs, ".sst"))
			b[3] ^= 1
			return err
		}, "checksum"},
		"the list of files is garbage": {func(fs *vfs.MemFS) error { return write(fs, file(fs, manifest(fs)), "garbage") }, "manifest"},
		"the identity is of another store": {func(fs *vfs.MemFS) error {
			return write(fs, "data/store/STORE", string(newIdentity("").text()))
		}, "not of the same store"},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			d := mustOpen(t, small(fs))
			if err := errors.Join(put(d, "\x02a", "1", pebble.Sync), d.pebble.Flush()); err != nil {
				t.Fatal(err)
			}
			mustClose(t, d)
			if err := tt.damage(fs); err != nil {
				t.Fatal(err)
			}
			d, err := Open(small(fs))
			if err == nil { // a table is read when it is needed
				_, err = d.Get([]byte("\x02a"), func([]byte) error { return nil })
			}
			if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(tt.want)) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			var damaged *DamagedError
			if !errors.As(err, &damaged) || !strings.Contains(err.Error(), "restore a backup") {
				t.Fatalf("%v does not say what to do", err)
			}
		})
	}
}

// manifest returns the name of the newest list of files.
func manifest(fs vfs.FS) string {
	names, _ := fs.List("data/store/db")
	slices.Sort(names)
	newest := ""
	for _, name := range names {
		if strings.HasPrefix(name, "MANIFEST-") {
			newest = name
		}
	}
	return newest
}

func TestOneProcessAtATime(t *testing.T) {
	c := small(vfs.Default)
	c.Dir = t.TempDir()
	d := mustOpen(t, c)
	if _, err := Open(c); err == nil || !strings.Contains(err.Error(), c.Dir) {
		t.Fatal(err)
	}
	mustClose(t, d)
	mustClose(t, mustOpen(t, c))
}

// heard collects events.
type heard struct {
	mu   sync.Mutex
	list []string
}

func (h *heard) add(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.list, fmt.Sprintf(format, args...))
}

func (h *heard) events() Events {
	return Events{
		Full:      func(err error) { h.add("full: %v", err) },
		Recovered: func() { h.add("recovered") },
		Failed:    func(err error) { h.add("failed: %v", err) },
		Slow:      func(op SlowOperation) { h.add("slow: %s %s %s", op.What, op.Path, op.Took) },
	}
}

func (h *heard) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.list)
}

// disk injects an error into the operations that fails names.
type disk struct {
	err   atomic.Pointer[error]
	fails func(errorfs.Op) bool
}

func (d *disk) String() string { return "disk" }

func (d *disk) MaybeError(op errorfs.Op) error {
	if err := d.err.Load(); err != nil && d.fails(op) {
		return *err
	}
	return nil
}

func TestAFullDiskStopsWritesUntilThereIsRoom(t *testing.T) {
	mem := vfs.NewMem()
	var told heard
	gone := func() bool { _, err := mem.Stat("data/store/ballast"); return err != nil }
	// There is no room while the ballast is there.
	dsk := &disk{fails: func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileWrite && !gone() }}
	c := small(errorfs.Wrap(mem, dsk))
	c.Events = told.events()
	d := mustOpen(t, c)
	full := error(syscall.ENOSPC)
	dsk.err.Store(&full)
	if err := put(d, "\x02a", "1", pebble.Sync); err != nil {
		t.Fatal("the ballast did not help:", err)
	}
	if err := d.Err(); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	for range 3 {
		if err := put(d, "\x02b", "1", pebble.Sync); !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
	}
	if err := put(d, "\x02c", "1", pebble.NoSync); err != nil {
		t.Fatal("what follows from what was acknowledged is refused:", err)
	}
	if a, b := get(t, d, "\x02a"), get(t, d, "\x02b"); a != "1" || b != "" {
		t.Fatal(a, b)
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20})
	if err := d.Recheck(); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	dsk.err.Store(nil)
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30})
	if err := errors.Join(d.Recheck(), d.Recheck(), put(d, "\x02b", "2", pebble.Sync)); err != nil || gone() {
		t.Fatal(err, gone())
	}
	mustClose(t, d)
	if list := told.all(); len(list) != 2 || !strings.Contains(list[0], "the disk is full") || list[1] != "recovered" {
		t.Fatalf("%q", list)
	}
}

func TestADiskWithoutRoomSaysSoFromTheStart(t *testing.T) {
	mem := vfs.NewMem()
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20})
	var told heard
	c := small(mem)
	c.Events = told.events()
	d := mustOpen(t, c)
	if err := d.Err(); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "1048576 bytes are free") || len(told.all()) != 1 {
		t.Fatal(err, told.all())
	}
	mustClose(t, d)
}

func TestRoomIsToldBeforeAnythingIsWritten(t *testing.T) {
	const mib = 1 << 20
	mem := vfs.NewMem()
	free := func(bytes uint64) error {
		mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: bytes})
		return Room(Config{Dir: "data/store", FS: mem})
	}
	if err := free(128*mib - 1); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "134217727 bytes are free, 134217728 are needed") {
		t.Error(err)
	}
	if err := free(128 * mib); err != nil {
		t.Error(err)
	}
	if list, err := mem.List(""); err != nil || len(list) > 0 {
		t.Error("it has made", list, err)
	}
	if err := errors.Join(mem.MkdirAll("data/store", 0o700), func() error {
		f, err := mem.Create("data/store/ballast", vfs.WriteCategoryUnspecified)
		if err != nil {
			return err
		}
		_, err = f.Write(make([]byte, mib))
		return errors.Join(err, f.Close())
	}()); err != nil {
		t.Fatal(err)
	}
	if err := free(127 * mib); err != nil {
		t.Error("the ballast is not counted as free:", err)
	}
}

func TestAFailedSyncEndsTheStoreForEveryWriter(t *testing.T) {
	mem := vfs.NewCrashableMem()
	var told heard
	dsk := &disk{fails: func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSync }}
	c := small(errorfs.Wrap(mem, dsk))
	c.Events = told.events()
	d := mustOpen(t, c)
	if err := put(d, "\x02a", "1", pebble.Sync); err != nil {
		t.Fatal(err)
	}
	broken := error(syscall.EIO)
	dsk.err.Store(&broken)
	var wg sync.WaitGroup
	var failed atomic.Int64
	for i := range 32 {
		wg.Go(func() {
			if err := put(d, fmt.Sprint("\x02b", i), "1", pebble.Sync); errors.Is(err, ErrFailed) {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	dsk.err.Store(nil) // the disk says that it is well again: too late
	if failed.Load() != 32 {
		t.Fatalf("%d of 32 were told", failed.Load())
	}
	_, err1 := d.Get([]byte("\x02a"), func([]byte) error { return nil })
	_, err2 := d.NewIter(nil)
	for _, err := range []error{put(d, "\x02c", "1", pebble.NoSync), d.Recheck(), d.Err(), d.Close(), err1, err2} {
		if !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
	}
	if list := told.all(); len(list) != 1 || !strings.Contains(list[0], "restart the node") {
		t.Fatalf("%q", list)
	}
	d = mustOpen(t, small(mem.CrashClone(vfs.CrashCloneCfg{})))
	if get(t, d, "\x02a") != "1" || get(t, d, "\x02c") != "" {
		t.Fatal("what was acknowledged is gone")
	}
	mustClose(t, d)
}

func TestADirectoryThatCouldNotBeMadeIsMadeTheNextTime(t *testing.T) {
	opened := 0
	for n := int64(1); n <= 40; n++ {
		mem := vfs.NewCrashableMem()
		var ops atomic.Int64
		d, err := Open(small(errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && ops.Add(1) == n {
				return syscall.EIO
			}
			return nil
		}))))
		if err == nil {
			opened++
			_ = d.Close() // by then it may have failed
		} else if !errors.Is(err, syscall.EIO) && !errors.Is(err, ErrFailed) {
			t.Fatalf("write %d: %v", n, err)
		}
		mustClose(t, mustOpen(t, small(mem.CrashClone(vfs.CrashCloneCfg{}))))
	}
	if opened == 40 || opened == 0 {
		t.Fatalf("%d of 40 were opened", opened)
	}
}

func TestASlowOperationIsToldOnce(t *testing.T) {
	var told heard
	h := newHealth(Config{Dir: "d", FS: vfs.NewMem(), Events: told.events()})
	for _, took := range []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, time.Second} {
		h.slowness(vfs.DiskSlowInfo{Path: "x", OpType: vfs.OpTypeSync, Duration: took})
	}
	if list := told.all(); len(list) != 2 || list[0] != "slow: sync x 1s" {
		t.Fatalf("%q", list)
	}
}

func TestWritersThatWaitTogetherShareAnFsync(t *testing.T) {
	const writers = 64
	var syncs atomic.Int64
	var gate atomic.Pointer[chan struct{}]
	entered := make(chan struct{}, writers)
	c := small(errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if g := gate.Load(); g != nil && op.Kind == errorfs.OpFileSyncData {
			syncs.Add(1)
			entered <- struct{}{}
			<-*g
		}
		return nil
	})))
	d := mustOpen(t, c)
	shut := make(chan struct{})
	gate.Store(&shut)
	var wg sync.WaitGroup
	writer := func(i int) {
		if err := put(d, fmt.Sprintf("\x02%02d", i), "1", pebble.Sync); err != nil {
			t.Error(err)
		}
	}
	wg.Go(func() { writer(-1) })
	<-entered // the first one's sync is under way: the others have to wait for the next
	for i := range writers {
		wg.Go(func() { writer(i) })
	}
	waiting := func() int {
		d.syncs.mu.Lock()
		defer d.syncs.mu.Unlock()
		return len(d.syncs.queue)
	}
	for waiting() < writers {
		runtime.Gosched()
	}
	close(shut)
	wg.Wait()
	if n := syncs.Load(); n != 2 {
		t.Fatalf("%d syncs for %d writers", n, writers+1)
	}
	for i := range writers {
		if get(t, d, fmt.Sprintf("\x02%02d", i)) != "1" {
			t.Errorf("what writer %d was acknowledged is not there", i)
		}
	}
	mustClose(t, d)
}

func TestWhatIsMergedIsBounded(t *testing.T) {
	d := mustOpen(t, small(vfs.NewMem()))
	s := syncs{mergeMax: 100}
	for i, n := range []int{1, 30, 50, 200, 10} { // bytes of a value
		b := d.NewBatch()
		if err := b.Set([]byte{2, byte(i)}, make([]byte, n), nil); err != nil {
			t.Fatal(err)
		}
		s.queue = append(s.queue, &waiting{b, make(chan error, 1)})
	}
	var merged []int
	for group := s.take(); len(group) > 0; group = s.take() {
		merged = append(merged, len(group))
		for _, w := range group {
			if err := w.batch.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if want := []int{2, 1, 1, 1}; !slices.Equal(merged, want) {
		t.Errorf("%d batches were merged, want %d: what is larger than the bound is written alone", merged, want)
	}
	mustClose(t, d)
}

func TestConfigReportsEveryField(t *testing.T) {
	if err := Default("d").Validate(); err != nil {
		t.Fatal(err)
	}
	err := Config{Node: "a b", CacheBytes: 1, MemTableBytes: 1, OpenFiles: 1, BallastBytes: -2, SlowAfter: 1}.Validate()
	for _, field := range []string{"Dir", "Node", "CacheBytes", "MemTableBytes", "OpenFiles", "BallastBytes", "SlowAfter"} {
		if err == nil || !strings.Contains(err.Error(), "storage: "+field) {
			t.Errorf("%s is not in %v", field, err)
		}
	}
	if _, err := Open(Config{}); err == nil {
		t.Error("opened")
	}
}

func TestSpansHoldTheirKindAndNothingElse(t *testing.T) {
	for _, g := range []Group{0, 1, 255, 256, 1<<32 - 1} {
		lower, upper := Span(g, KindLog)
		inside := append(AppendPrefix(nil, g, KindLog), 0xff, 0xff)
		if bytes.Compare(lower, inside) > 0 || bytes.Compare(inside, upper) >= 0 || len(lower) != PrefixBytes {
			t.Errorf("group %d: %x not in [%x, %x)", g, inside, lower, upper)
		}
		for _, outside := range [][]byte{AppendPrefix(nil, g, KindStable), AppendPrefix(nil, g+1, KindLog), storeKey()} {
			if bytes.Compare(lower, outside) <= 0 && bytes.Compare(outside, upper) < 0 {
				t.Errorf("group %d: %x in [%x, %x)", g, outside, lower, upper)
			}
		}
	}
}

func FuzzParseIdentity(f *testing.F) {
	f.Add(newIdentity("n1").text())
	f.Add([]byte("headgate store\nformat 3\nx"))
	f.Add([]byte("headgate store\nformat 1\nid 00\nnode \n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := parseIdentity(b)
		if err == nil && id.Format <= FormatVersion && !bytes.Equal(id.text(), b) {
			t.Fatalf("%q was read as %q", b, id.text())
		}
	})
}
