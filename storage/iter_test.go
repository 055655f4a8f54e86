package storage

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// Where Pebble can't write its list of files, it stops with its lock: whoever closes what
// they read then must not wait for it.
func TestWhatIsReadIsClosedThoughTheStoreFailed(t *testing.T) {
	dsk := &disk{fails: func(op errorfs.Op) bool {
		return strings.Contains(op.Path, "MANIFEST") && op.Kind != errorfs.OpFileClose
	}}
	d := mustOpen(t, small(errorfs.Wrap(vfs.NewMem(), dsk)))
	if err := put(d, "\x02a", "1", pebble.Sync); err != nil {
		t.Fatal(err)
	}
	s, err := d.NewSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	i, err1 := s.NewIter(nil)
	j, err2 := d.NewIter(nil)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	eio := error(syscall.EIO)
	dsk.err.Store(&eio)
	value := strings.Repeat("v", 1<<10)
	for n := 0; d.Err() == nil && n < 100_000; n++ {
		_ = put(d, fmt.Sprint("\x02b", n), value, pebble.NoSync)
	}
	if !errors.Is(d.Err(), ErrFailed) {
		t.Fatal(d.Err())
	}
	ended := make(chan struct{})
	go func() {
		_, err := d.NewSnapshot()
		for _, err := range []error{i.Close(), j.Close(), s.Close(), err} {
			if !errors.Is(err, ErrFailed) {
				t.Errorf("%v, want %v", err, ErrFailed)
			}
		}
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("it waits for a store that has failed")
	}
}
