package bench

// phase returns the tally of a request that was due at start.
func (l *lane) phase(start int64) *tally {
	if start < l.measureFrom {
		return &l.tallies[0]
	}
	return &l.tallies[1]
}

func (l *lane) recordAnswer(start, now int64, o *outcome) {
	t := l.phase(start)
	t.requests++
	t.ok += uint64(o.ok)
	t.over += uint64(o.over)
	t.unknown += uint64(o.unknown)
	if l.workload.perItem {
		for i, n := range o.failed {
			t.codes[i] += uint64(n)
		}
	}
	if start >= l.measureFrom {
		observe(l.latency, now-start)
	}
	if now >= l.measureFrom && now < l.schedule.until {
		t.inWindow += uint64(o.ok) + uint64(o.over) + uint64(o.unknown)
		t.requestsInWindow++
	}
}

func (l *lane) recordStatus(start int64, code int) {
	t := l.phase(start)
	t.requests++
	t.codes[code] += uint64(l.workload.checks)
}

// recordHTTP records an answer without a verdict.
func (l *lane) recordHTTP(start int64, status int) {
	t := l.phase(start)
	t.requests++
	t.statuses[status]++
}

func (l *lane) recordFault(start int64, f fault) {
	if l.forget {
		return
	}
	t := l.phase(start)
	if f == faultConnect {
		t.faults[f]++
		return
	}
	t.requests++
	t.faults[f] += uint64(l.workload.checks)
}
