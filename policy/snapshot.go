package policy

import "github.com/headgate/headgate/limiter"

// An Outcome says what a match found. The zero value means that the request
// owes what the Call now carries (perhaps nothing: no rule matched, allow it).
type Outcome uint8

// The outcomes.
const (
	Matched            Outcome = iota
	UnknownDomainAllow         // no such domain: allow (on_unknown_domain: allow)
	UnknownDomainDeny          // no such domain: an enforced denial
	UnknownDomainError         // no such domain: an error
	TooManyCharges             // the request owes more than limiter.ChargesMax charges: an error
)

// A Snapshot is one version of all policies, compiled. It is immutable.
type Snapshot struct{}

// Match appends to c the charges that r owes and sets c.Mode.
func (s *Snapshot) Match(r *Request, c *limiter.Call) Outcome { return Matched }
