package limiter

// A Counter is the state of one counter in 16 bytes. The zero Counter, and
// every counter whose Due is not after now, equals a fresh one: nothing used.
type Counter struct {
	// Due is when the counter equals a fresh one if nobody acts, rounded up to
	// a whole nanosecond. A table may forget a counter that is due.
	Due Instant
	// Word is the rest of the state; its meaning depends on the kind.
	Word uint64
}

// rateTerms are what NewLimit works out for KindRate.
type rateTerms struct{}

// NewLimit checks s, reporting all problems at once, and works out what
// deciding needs.
func NewLimit(s Spec) (*Limit, error) { return &Limit{Spec: s}, nil }

// Apply does op with cost to c at now and reports the outcome.
func (l *Limit) Apply(c *Counter, now Instant, op Op, cost uint64) Decision { return Decision{} }
