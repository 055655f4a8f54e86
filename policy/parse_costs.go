package policy

import (
	"fmt"
	"strings"

	"github.com/headgate/headgate/limiter"
)

// costKeys are the keys of a limit that are about what its charges cost.
func costKeys() keys[*termReader] {
	return keys[*termReader]{
		{
			"unit", "What the amount counts, such as tokens: 1 to 64 of a-z, 0-9, _, - and . A call that names a cost in this unit is charged that, any other its cost. Part of the limit's identity.", formUnit,
			func(t *termReader, f *field) { t.term.Unit = t.unit(&f.node) },
		},
		{
			"max_estimate", "How many units one reservation sets aside at most: a larger estimate counts as this.", func() schema { return formNumber(1) },
			func(t *termReader, f *field) { t.term.EstimateMax = t.estimateMax(&f.node) },
		},
	}
}

// unit reads what an amount counts.
func (t *termReader) unit(n *node) string {
	s, ok := t.text(n)
	if ok && !isUnit(s) {
		t.fail(n, &flaw{message: "not a unit", expected: fmt.Sprintf("1 to %d of a-z, 0-9, _, - and .", UnitBytesMax)})
	}
	return s
}

// isUnit reports whether s may name a unit.
func isUnit(s string) bool {
	return s != "" && len(s) <= UnitBytesMax && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.'
	})
}

// estimateMax reads `max_estimate`.
func (t *termReader) estimateMax(n *node) uint64 {
	v, _ := t.positive(n)
	if v > limiter.CostMax {
		t.fail(n, &flaw{message: "is too large", expected: fmt.Sprintf("at most %d", uint64(limiter.CostMax))})
	}
	return v
}
