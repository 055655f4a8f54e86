package reservations_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
	"time"

	"github.com/headgate/headgate/cluster/reservations"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/hold"
)

// saved returns the file of a node with two reservations, of which one is settled.
func saved(tb testing.TB) (file []byte, n *node) {
	tb.Helper()
	n = newNode(tb)
	n.reserve(1, 10)
	n.reserve(2, 20)
	n.settle(1, 5)
	var w bytes.Buffer
	if got, err := n.Save(&w, n.now); got != 2 || err != nil {
		tb.Fatalf("%d were saved: %v", got, err)
	}
	return w.Bytes(), n
}

func TestASavedReservationIsSettledElsewhere(t *testing.T) {
	file, before := saved(t)
	s, err := reservations.Read(bytes.NewReader(file))
	if err != nil || s.Len() != 2 || s.At != before.now {
		t.Fatalf("%d were read, of %v: %v", s.Len(), s.At, err)
	}
	n := newNode(t)
	find := func(id limiter.LimitID, _ limiter.DefHash) *limiter.Limit {
		return []*limiter.Limit{n.rate, n.window, n.slots, n.quota}[id[0]-1]
	}
	got := n.Restore(n.now, s, &hold.Terms{Limit: find, Counters: true, Tenure: 1})
	if want := (hold.Restored{Open: 1, Remembered: 1}); got != want {
		t.Errorf("restored %+v, want %+v", got, want)
	}
	if _, _, o := n.settle(1, 5); o != hold.Again {
		t.Errorf("one that was settled: %v", o)
	}
	rows, late, o := n.settle(2, 5)
	if o != hold.Done || late || rows["window"].Returned != 15 || rows["quota"].Returned != 0 {
		t.Errorf("one that was open: %v, late %v, %+v; want all of the window, and nothing of a quota of another store", o, late, rows)
	}
	if _, _, o := n.settle(2, 5); o != hold.Again {
		t.Errorf("the same once more: %v", o)
	}
}

func TestReadRefusesDamage(t *testing.T) {
	file, _ := saved(t)
	refused := func(name string, file []byte, want error) {
		t.Helper()
		if s, err := reservations.Read(bytes.NewReader(file)); !errors.Is(err, want) || s != nil {
			t.Errorf("%s: read %v, %v, want %v", name, s != nil, err, want)
		}
	}
	for n := range file {
		refused("cut", file[:n], reservations.ErrDamaged)
		if n == 7 {
			continue // the version
		}
		bad := bytes.Clone(file)
		bad[n] ^= 0x10
		refused("flipped", bad, reservations.ErrDamaged)
	}
	refused("one byte more", append(bytes.Clone(file), 0), reservations.ErrDamaged)
	newer := bytes.Clone(file)
	newer[7]++
	refused("a newer version", newer, reservations.ErrVersion)
}

// FuzzRead feeds Read files whose head and checksum are right.
func FuzzRead(f *testing.F) {
	file, n := saved(f)
	f.Add(file[16 : len(file)-4])
	f.Add([]byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, records []byte) {
		b := binary.LittleEndian.AppendUint64([]byte("HGHOLDS\x01"), uint64(noon))
		b = append(b, records...)
		b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
		s, err := reservations.Read(bytes.NewReader(b))
		if err != nil {
			if !errors.Is(err, reservations.ErrDamaged) || s != nil {
				t.Fatalf("read %v, %v", s != nil, err)
			}
			return
		}
		r, err := reservations.New(reservations.Config{Decider: &n.router, Now: func() limiter.Instant { return noon }, Max: 1000})
		if err != nil {
			t.Fatal(err)
		}
		none := func(limiter.LimitID, limiter.DefHash) *limiter.Limit { return nil }
		got := r.Restore(noon, s, &hold.Terms{Limit: none})
		if n := r.Stats().Records; n != got.Open+got.Remembered || n+got.Forgotten+got.NoRoom != s.Len() {
			t.Errorf("%d records of %d: %+v", n, s.Len(), got)
		}
		for r.Sweep(noon.Add(48 * time.Hour)) {
		}
		if n := r.Stats().Records; n != 0 {
			t.Errorf("%d records are never forgotten", n)
		}
	})
}

// BenchmarkSaveAndRead saves as many open reservations of three limits as there are by default, and
// reads them.
func BenchmarkSaveAndRead(b *testing.B) {
	many := uint64(262_144)
	if testing.Short() {
		many = 1000
	}
	n := plenty(b)
	for i := range many {
		c := n.call(limiter.Charge{Limit: n.rate, Cost: 2}, limiter.Charge{Limit: n.window, Cost: 2}, limiter.Charge{Limit: n.quota, Cost: 2})
		n.Reserve(n.wait(), n.now, c, hold.Ask{ID: id(i), Lifetime: lifetime}, func() []byte { return make([]byte, 300) })
		if v, by := c.Verdict(); v != limiter.Allowed {
			b.Fatalf("%d is denied by %d", i, by)
		}
	}
	for b.Loop() {
		var w bytes.Buffer
		began := time.Now()
		if _, err := n.Save(&w, n.now); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(began).Nanoseconds())/float64(many), "ns-save/reservation")
		b.ReportMetric(float64(w.Len())/float64(many), "B/reservation")
		began = time.Now()
		if s, err := reservations.Read(&w); err != nil || s.Len() != int(many) {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(began).Nanoseconds())/float64(many), "ns-read/reservation")
	}
}
