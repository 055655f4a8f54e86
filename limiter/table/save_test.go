package table_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
	"time"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
)

// saved returns a saved table of a few thousand counters: a rate's, a
// window's, and some of a limit that requests carried.
func saved(tb testing.TB) (file []byte, limits []*limiter.Limit) {
	tb.Helper()
	tab := newTable(tb, table.Config{})
	defer tab.Clear()
	limits = []*limiter.Limit{
		rate(tb, "shop", "rate", 100, time.Minute),
		window(tb, "blog", "window", 5, time.Hour),
		standIn(tb, "shop"),
	}
	tab.Install(limits)
	own := carried(tb, limits[2], 5, time.Hour)
	for i := range 3000 {
		ask(tab, start, limits[0], i, uint64(1+i%100))
		ask(tab, start, limits[1], 10_000+i, 5)
	}
	for i := range 10 {
		ask(tab, start, own, 20_000+i, 5)
	}
	var w bytes.Buffer
	if err := tab.Save(&w, start); err != nil {
		tb.Fatal(err)
	}
	return w.Bytes(), limits
}

func TestLoadAgesByWallTime(t *testing.T) {
	file, limits := saved(t)
	tests := []struct {
		name         string
		after        time.Duration
		loaded       int64
		rate, window uint64 // remaining, of key 59 (cost 60 of 100 a minute) and 10,000
		due, dropped int64
	}{
		{"at once", 0, 6010, 40, 0, 0, 0},
		{"half a minute later", 30 * time.Second, 6010 - 30*50, 90, 0, 30 * 50, 0},
		{"two hours later", 2 * time.Hour, 0, 100, 5, 6010, 0},
		{"after the clock went back a day", -24 * time.Hour, 6000, 0, 0, 0, 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tab := newTable(t, table.Config{})
			now := start.Add(tt.after)
			got, err := tab.Load(bytes.NewReader(file), now)
			if err != nil {
				t.Fatal(err)
			}
			if want := (table.Loaded{SavedAt: start, Entries: tt.loaded, Due: tt.due, Dropped: tt.dropped}); got != want {
				t.Errorf("loaded %+v, want %+v", got, want)
			}
			tab.Install(limits)
			if d := peek(tab, now, limits[0], 59); d.Remaining != tt.rate {
				t.Errorf("rate: %+v, want %d left", d, tt.rate)
			}
			if d := peek(tab, now, limits[1], 10_000); d.Remaining != tt.window || d.ResetAfter > time.Hour {
				t.Errorf("window: %+v, want %d left", d, tt.window)
			}
			check(t, tab)
		})
	}
}

func peek(t *table.Table, now limiter.Instant, l *limiter.Limit, i int) limiter.Decision {
	var c limiter.Call
	k := keyOf(i)
	c.Add(limiter.Charge{Key: k, Limit: l, Op: limiter.OpPeek, Partition: k.Partition()})
	t.Decide(now, &c)
	return c.Charges()[0].Decision
}

func TestDefinitionsChangedWhileStoppedAreConverted(t *testing.T) {
	file, _ := saved(t)
	for _, installFirst := range []bool{true, false} {
		tab := newTable(t, table.Config{})
		limits := []*limiter.Limit{rate(t, "shop", "rate", 1000, time.Minute), window(t, "blog", "window", 9, time.Hour)}
		if installFirst {
			tab.Install(limits)
		}
		if _, err := tab.Load(bytes.NewReader(file), start); err != nil {
			t.Fatal(err)
		}
		if !installFirst {
			tab.Install(limits)
		}
		if !tab.Stats().Converting {
			t.Fatalf("install first %v: not converting", installFirst)
		}
		d := peek(tab, start, limits[0], 59) // before the background has come to it
		for !tab.ConvertStep(start, 500) {
		}
		if d.Remaining != 940 || peek(tab, start, limits[0], 59) != d || peek(tab, start, limits[0], 79).Remaining != 920 {
			t.Errorf("install first %v: rate %+v, want 940 left", installFirst, d)
		}
		if d := peek(tab, start, limits[1], 10_000); d.Remaining != 4 {
			t.Errorf("install first %v: window %+v, want 4 left", installFirst, d)
		}
		if tab.Stats().Converting {
			t.Errorf("install first %v: still converting", installFirst)
		}
		check(t, tab)
	}
}

func TestLoadRefusesDamageAndChangesNothing(t *testing.T) {
	file, _ := saved(t)
	refused := func(name string, file []byte, want error) {
		t.Helper()
		tab := newTable(t, table.Config{})
		_, err := tab.Load(bytes.NewReader(file), start)
		if !errors.Is(err, want) {
			t.Errorf("%s: error %v, want %v", name, err, want)
		}
		if st := tab.Stats(); st.Entries != 0 || st.Bytes != 0 || len(st.Domains) != 0 {
			t.Errorf("%s: stats %+v", name, st)
		}
		check(t, tab)
	}
	for n := 0; n < len(file); n += 1 + n/7 {
		refused("cut", file[:n], table.ErrDamaged)
		bad := bytes.Clone(file)
		bad[n] ^= 0x10
		if n == 7 {
			continue // the version
		}
		refused("flipped", bad, table.ErrDamaged)
	}
	refused("one byte short", file[:len(file)-1], table.ErrDamaged)
	refused("one byte more", append(bytes.Clone(file), 0), table.ErrDamaged)
	newer := bytes.Clone(file)
	newer[7]++
	refused("a newer version", newer, table.ErrVersion)

	tab := newTable(t, table.Config{})
	ask(tab, start, rate(t, "shop", "a", 1, time.Hour), 1, 1)
	if _, err := tab.Load(bytes.NewReader(file), start); !errors.Is(err, table.ErrNotEmpty) {
		t.Errorf("a table in use: %v", err)
	}
}

func TestLoadDropsWhatDoesNotFit(t *testing.T) {
	file, _ := saved(t)
	tab := newTable(t, table.Config{EntriesMax: 100})
	got, err := tab.Load(bytes.NewReader(file), start)
	if err != nil || got.Entries != 100 || got.Dropped != 5910 {
		t.Errorf("%+v, %v", got, err)
	}
	check(t, tab)
}

// FuzzLoad feeds Load files whose frames have valid checksums, so that it gets
// past them.
func FuzzLoad(f *testing.F) {
	file, _ := saved(f)
	f.Add(file[8:200])
	f.Add([]byte{1, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, frames []byte) {
		file := []byte("HGTABLE\x01")
		for len(frames) >= 5 {
			n := min(int(binary.LittleEndian.Uint16(frames[1:])), len(frames)-5)
			at := len(file)
			file = append(file, frames[0])
			file = binary.LittleEndian.AppendUint32(file, uint32(n))
			file = append(file, frames[5:5+n]...)
			file = binary.LittleEndian.AppendUint32(file, crc32.Checksum(file[at:], crc32.MakeTable(crc32.Castagnoli)))
			frames = frames[5+n:]
		}
		tab := newTable(t, table.Config{EntriesMax: 1000})
		defer tab.Clear()
		if _, err := tab.Load(bytes.NewReader(file), start); err != nil && tab.Stats().Entries != 0 {
			t.Errorf("refused with %v, and kept %d entries", err, tab.Stats().Entries)
		}
		if err := tab.Check(); err != nil {
			t.Error(err)
		}
	})
}
