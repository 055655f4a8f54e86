package obs

import "slices"

// A seriesName is what tells one series from another. Limits that share it
// share the series: a limit whose amount changed goes on counting.
type seriesName struct{ domain, limit string }

// A countedRef says under which name a Ref is counted.
type countedRef struct {
	ref  uint32
	name seriesName
}

// A seriesTable hands out series to limits, at most max of them besides series
// 0, which counts everything else. It has one owner at a time.
type seriesTable struct {
	max      int
	byName   map[seriesName]uint32
	names    []seriesName // by series; the zero name where a series is free
	free     []uint32
	previous []countedRef // of the last install
	freed    []uint32     // by the last install: their counts are to be zeroed
}

func newSeriesTable(limitsMax int) seriesTable {
	other := seriesName{"other", "other"} // a limit of that name shares series 0
	return seriesTable{
		max: limitsMax, byName: map[seriesName]uint32{other: 0}, names: []seriesName{other},
	}
}

// size is how many series there are room for, series 0 included.
func (t *seriesTable) size() int { return len(t.names) }

// install makes refs the current ones and returns the series by Ref, of the
// previous ones too: requests that were matched before are still under way.
func (t *seriesTable) install(refs []countedRef) []uint32 {
	both := slices.Concat(t.previous, refs) // refs last: where a Ref was reused, they win
	keep := map[seriesName]bool{}
	refMax := uint32(0)
	for _, r := range both {
		keep[r.name] = true
		refMax = max(refMax, r.ref)
	}
	t.freed = t.freed[:0]
	for name, series := range t.byName {
		if series > 0 && !keep[name] {
			delete(t.byName, name)
			t.names[series] = seriesName{}
			t.freed = append(t.freed, series)
		}
	}
	t.free = append(t.free, t.freed...)
	byRef := make([]uint32, refMax+1)
	for _, r := range both {
		byRef[r.ref] = t.assign(r.name)
	}
	byRef[0] = 0
	t.previous = refs
	return byRef
}

// assign returns the series of name, a new one if it has none, 0 if there are
// no more.
func (t *seriesTable) assign(name seriesName) uint32 {
	if series, ok := t.byName[name]; ok {
		return series
	}
	var series uint32
	switch {
	case len(t.free) > 0:
		series = t.free[len(t.free)-1]
		t.free = t.free[:len(t.free)-1]
		t.names[series] = name
	case len(t.names) <= t.max:
		series = uint32(len(t.names))
		t.names = append(t.names, name)
	default:
		return 0
	}
	t.byName[name] = series
	return series
}
