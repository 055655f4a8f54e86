package headers

import (
	"time"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// Bounds of a List.
const (
	// ItemsMax is how many limits RateLimit and RateLimit-Policy list at most, the
	// strictest first.
	ItemsMax = 8
	// fieldsMax is how many fields all families have together.
	fieldsMax = 9
	// textMax holds all values: ItemsMax names of policy.NameBytesMax, quoted, twice.
	textMax = 2*ItemsMax*(2*policy.NameBytesMax+64) + 256
)

// integerMax is the largest integer of a structured field (RFC 9651).
const integerMax = 999_999_999_999_999

// A List is the response headers of one answer. The zero List is empty.
type List struct {
	fields [fieldsMax]field
	n      int
	text   [textMax]byte
	used   int
}

type field struct {
	name     string
	from, to int
}

// Len returns how many fields there are.
func (l *List) Len() int { return l.n }

// Field returns field i. Names are in lower case; the value is l's own.
func (l *List) Field(i int) (name string, value []byte) {
	f := &l.fields[i]
	return f.name, l.text[f.from:f.to]
}

// Fill makes l the headers of x, which is decided, that set asks for.
func (l *List) Fill(x *api.Exchange, set policy.HeaderSet) {
	l.n, l.used = 0, 0
	var items [ItemsMax]*limiter.Charge
	charges := x.Call.Charges()
	n := strictest(&items, charges)
	if set&policy.HeadersDraft != 0 && n > 0 {
		l.begin("ratelimit-policy")
		for i, ch := range items[:n] {
			l.item(i, ch.Limit.Name)
			l.policy(ch.Limit)
		}
		l.begin("ratelimit")
		for i, ch := range items[:n] {
			l.item(i, ch.Limit.Name)
			l.parameter(";r=", ch.Decision.Remaining)
			l.parameter(";t=", Seconds(ch.Decision.ResetAfter))
		}
	}
	if n > 0 {
		if set&policy.HeadersXRateLimit != 0 {
			l.triple(items[0], "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
		}
		if set&policy.HeadersRateLimit != 0 {
			l.triple(items[0], "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")
		}
	}
	if set&policy.HeadersRetryAfter != 0 {
		if s, ok := RetryAfter(x); ok {
			l.begin("retry-after")
			l.parameter("", s)
		}
	}
}

// strictest fills items with the enforced limits that count, the strictest
// first, and returns how many there are.
func strictest(items *[ItemsMax]*limiter.Charge, charges []limiter.Charge) (n int) {
	for i := range charges {
		ch := &charges[i]
		if ch.Limit.Shadow || ch.Limit.Kind == limiter.KindUnlimited {
			continue
		}
		at := n
		for at > 0 && Stricter(ch, items[at-1]) {
			at--
		}
		if at == ItemsMax {
			continue
		}
		n = min(n+1, ItemsMax)
		copy(items[at+1:n], items[at:n-1])
		items[at] = ch
	}
	return n
}

// policy appends what a limit says of itself: q units in each window of w
// seconds, or q at once, which has no window. A period of no whole number of seconds is told as what passes in one.
func (l *List) policy(lim *limiter.Limit) {
	if lim.Kind == limiter.KindConcurrency {
		l.parameter(";q=", lim.Amount)
		l.put(`;qu="concurrent-requests"`)
		return
	}
	amount, window := lim.Amount, uint64(lim.Period/time.Second)
	if lim.Period%time.Second != 0 {
		amount, window = uint64(min(float64(amount)*float64(time.Second)/float64(lim.Period), integerMax)), 1
	}
	l.parameter(";q=", amount)
	if window > 0 {
		l.parameter(";w=", window)
	}
}

// triple appends the older headers, which tell of one limit.
func (l *List) triple(ch *limiter.Charge, limit, remaining, reset string) {
	l.begin(limit)
	l.parameter("", ch.Limit.Capacity())
	l.begin(remaining)
	l.parameter("", ch.Decision.Remaining)
	l.begin(reset)
	l.parameter("", Seconds(ch.Decision.ResetAfter))
}

// begin starts the next field.
func (l *List) begin(name string) {
	l.fields[l.n] = field{name, l.used, l.used}
	l.n++
}

// put appends bytes to the field that was begun last; textMax has room for all.
func (l *List) put(s string) {
	l.used += copy(l.text[l.used:], s)
	l.fields[l.n-1].to = l.used
}

// item appends the name of list item i as a string of a structured field. What
// such a string can't hold becomes '?'.
func (l *List) item(i int, name string) {
	if i > 0 {
		l.put(", ")
	}
	l.put(`"`)
	for j := range min(len(name), policy.NameBytesMax) {
		switch c := name[j]; {
		case c == '"' || c == '\\':
			l.put(`\`)
			l.put(name[j : j+1])
		case c < ' ' || c > '~':
			l.put("?")
		default:
			l.put(name[j : j+1])
		}
	}
	l.put(`"`)
}

// parameter appends key and n.
func (l *List) parameter(key string, n uint64) {
	l.put(key)
	n = min(n, integerMax)
	var digits [20]byte
	i := len(digits)
	for {
		i--
		digits[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			break
		}
	}
	l.used += copy(l.text[l.used:], digits[i:])
	l.fields[l.n-1].to = l.used
}
