package policy

import (
	"fmt"
	"strings"

	"github.com/headgate/headgate/limiter"
)

// EnvoyLines says what s limits as the reference service's /rlconfig does: a line
// for each limit with its keys and values, domains by name, rules as they were
// written. What that service does not know follows on the line: other kinds than
// fixed windows, periods that are no unit, selectors that are no descriptor. The
// amount of an override has a line of its own.
func EnvoyLines(s *Snapshot) string {
	var b strings.Builder
	for _, name := range s.Domains() {
		limits := s.domains[name].limits
		for i := range limits {
			if o, ok := s.origins[&limits[i]]; ok { // the others are for limits that requests carry
				writeEnvoyLine(&b, &limits[i], o)
			}
		}
	}
	return b.String()
}

func writeEnvoyLine(b *strings.Builder, l *limiter.Limit, o origin) {
	b.WriteString(l.Domain)
	for _, e := range o.rule.Descriptor {
		b.WriteString("." + e.Key)
		if e.Value != "" {
			b.WriteString("_" + e.Value)
		}
	}
	unit, n := UnitOf(l.Period)
	name := "UNKNOWN"
	if n > 0 {
		name = [...]string{
			UnitSecond: "SECOND", UnitMinute: "MINUTE", UnitHour: "HOUR", UnitDay: "DAY",
			UnitWeek: "WEEK", UnitMonth: "MONTH", UnitYear: "YEAR",
		}[unit]
	}
	fmt.Fprintf(b, ": unit=%s requests_per_unit=%d, shadow_mode: %t, quota_mode: %t", name, l.Amount, l.Shadow, l.AnyOf)
	if l.Kind != limiter.KindFixed {
		b.WriteString(", kind: " + l.Kind.String())
	}
	if l.Period > 0 && n != 1 {
		b.WriteString(", every: " + formatEvery(l.Period))
	}
	if len(o.rule.Descriptor) == 0 {
		b.WriteString(", for: " + o.selector)
	}
	b.WriteByte('\n')
}
