package policy

import (
	"slices"

	"github.com/headgate/headgate/limiter"
)

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
	InvalidOverride            // the request carries a limit that is out of bounds: an error
	LifetimeTooLong            // the request asks for slots that live longer than a limit of them says: an error
	NotRemembered              // no exact quota can say what became of a call with the request's id, since none that is enforced denies it alone: an error
	CarriedRefused             // no domain takes the limit that the request carries, see Request.Refusal: an error
)

// A Snapshot is one version of all policies, compiled. It is immutable and safe
// for concurrent use. The zero Snapshot has no domain and allows all requests.
type Snapshot struct {
	version  uint64
	hash     string
	unknown  Outcome
	hasher   limiter.KeyHasher
	domains  map[string]*domain
	limits   []*limiter.Limit
	origins  map[*limiter.Limit]origin
	carriers carriers
	plain    *Snapshot // this one without modes; nil: it is this one
}

// A domain is one compiled document. Rules with when and by are found by their
// attributes, rules with a descriptor in the tree.
type domain struct {
	name      string
	mode      limiter.Mode
	operator  Mode // what the operator wants
	headers   HeaderSet
	override  *limiter.Limit // stands for the limits that requests carry
	carriage  *carriage      // nil: no request of Gubernator's carries one
	replacing bool           // some term replaces others
	prefetch  func(limiter.Key, limiter.Partition)
	limits    []limiter.Limit
	mores     []ruleMore // the first is not used
	lists     []byList   // the first is not used
	selectors selectors
	tree      tree

	prefetchQuota func(limiter.Key) // nil if there is no quota, or prefetch is told
}

// A compactRule is what a match needs of most rules, in half a cache line:
// pointers into the domain's arrays would take twice the room.
type compactRule struct {
	id    limiter.LimitID // of the first term
	limit uint32          // of the first term: 1 + index to limits; 0: the rule owes nothing
	by    uint32          // index to lists, 0: none; see also recordKind and wildcards
	more  uint32          // index to mores; 0: nothing
	next  uint32          // of a tree: the number of a node, and leafBit …; see also recordKind
}

// A byList is the `by` of one or more rules.
type byList struct {
	attrs []uint32 // in alphabetical order of their names
	last  int      // index to attrs of the attribute that overrides are about
}

// A ruleMore is what fewer rules have: conditions that their index does not
// imply.
type ruleMore struct {
	first check // matchAlways: there is none
	rare  *ruleRare
}

// A ruleRare is what few rules have.
type ruleRare struct {
	checks    []check    // after the first
	overrides *overrides // of the first term; nil: none
	names     *termNames // of the first term; nil: it has none, or in the domain no term replaces others
	rest      []term     // terms after the first
}

// A term is one limit of a rule.
type term struct {
	id        limiter.LimitID
	limit     uint32 // 1 + index to limits
	overrides *overrides
	names     *termNames
}

// termNames are the names that decide what replaces what, as numbers.
type termNames struct {
	own      uint32 // the author's name; 0: none given
	replaces []uint32
}

// An origin is where a limit comes from.
type origin struct {
	rule     *LimitRule
	selector string
	path     string
}

// Version returns Options.Version.
func (s *Snapshot) Version() uint64 { return s.version }

// Hash returns a SHA-256 of the canonical text of all documents, in
// hexadecimal: equal policies have equal hashes, whatever their files, comments
// and spellings.
func (s *Snapshot) Hash() string { return s.hash }

// Domains returns the names of the domains, sorted.
func (s *Snapshot) Domains() []string {
	names := make([]string, 0, len(s.domains))
	for name := range s.domains {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Limits returns every limit that a match can owe, for a counter table to
// register: those of the rules, those of their overrides (which share the
// rule's LimitID), and for each domain one that stands for the limits that
// requests carry, whose Ref they copy. The caller must not change the slice.
func (s *Snapshot) Limits() []*limiter.Limit { return s.limits }

// A Rule says where a limit was written and whom it is for.
type Rule struct {
	Position
	Path     string // such as limits[3].limits[0]
	Selector string // such as "when plan: free by api_key"
	Labels   bool   // the matched values are kept as text
}

// Rule returns the rule of a limit that this snapshot's Match gave a charge.
// For a limit that the request carried itself, and for limits of other
// snapshots, the Rule has only a Selector.
func (s *Snapshot) Rule(l *limiter.Limit) Rule {
	o, ok := s.origins[l]
	if !ok {
		return Rule{Selector: "the request's own limit"}
	}
	return Rule{o.rule.Pos, o.path, o.selector, o.rule.Labels}
}

// A Label is an attribute and its value, as text.
type Label struct{ Key, Value string }

// Labels returns the values that chose the counter of a charge which Match
// owed for r: those of `by` in alphabetical order of attributes, or all entries
// of the descriptor. It allocates: for rules with labels and for explanations.
func (s *Snapshot) Labels(r *Request, ch *limiter.Charge) []Label {
	d := r.firstDescriptor(ch.Descriptors)
	if d == nil {
		return nil
	}
	o, ok := s.origins[ch.Limit]
	if !ok || len(o.rule.Descriptor) > 0 {
		labels := make([]Label, len(d.Entries))
		for i, e := range d.Entries {
			labels[i] = Label{string(e.Key), string(e.Value)}
		}
		return labels
	}
	labels := make([]Label, 0, len(o.rule.By))
	for _, attr := range slices.Sorted(slices.Values(o.rule.By)) {
		if i := slices.IndexFunc(d.Entries, func(e Entry) bool { return string(e.Key) == attr }); i >= 0 {
			labels = append(labels, Label{attr, string(d.Entries[i].Value)})
		}
	}
	return labels
}
