package policy

import "strings"

// An envoyDomain is one domain of the reference service: its forest of
// descriptors, in the order of the files.
type envoyDomain struct {
	name  string
	at    Position
	roots []*envoyNode
	notes []string
}

// An envoyNode is one descriptor of the reference service's tree.
type envoyNode struct {
	at         Position
	key, value string // value is empty if the descriptor has none
	limit      *envoyLimit
	children   []*envoyNode
	path       string // the composite keys from the root, joined by " / "

	shadow, quota, share    bool
	detailed, valueToMetric bool
	metadata                *Position // nil: none

	notes []string // what the reference does here that a reader may not expect
}

// An envoyLimit is a rate_limit block.
type envoyLimit struct {
	at        Position
	unit      Unit // 0 only if unlimited
	amount    uint64
	unlimited bool
	name      string
	replaces  []string
}

// composite is the name under which the reference service files a descriptor
// beside its siblings: the key alone, or key and value joined by "_".
func (n *envoyNode) composite() string {
	if n.value == "" {
		return n.key
	}
	return n.key + "_" + n.value
}

// wildcard reports whether the reference matches n as a pattern.
func (n *envoyNode) wildcard() bool { return strings.Contains(n.composite(), "*") }

// envoyUnit returns the unit that the reference service knows as name, which
// it compares without regard to case, or 0.
func envoyUnit(name string) Unit {
	switch strings.ToUpper(name) {
	case "SECOND":
		return UnitSecond
	case "MINUTE":
		return UnitMinute
	case "HOUR":
		return UnitHour
	case "DAY":
		return UnitDay
	case "WEEK":
		return UnitWeek
	case "MONTH":
		return UnitMonth
	case "YEAR":
		return UnitYear
	default:
		return 0
	}
}
