package policy

import (
	"strconv"
	"time"

	"github.com/headgate/headgate/limiter"
)

// Bounds of a document. Parse reports what exceeds them.
const (
	// RulesMax is how many rules one domain has at most.
	RulesMax = 200_000
	// TermsMax is how many limits one rule has at most.
	TermsMax = 16
	// ConditionsMax is how many attributes one rule's `when` names at most, and
	// how many its `by` names.
	ConditionsMax = 16
	// DepthMax is how many entries a rule's `descriptor` has at most.
	DepthMax = 32
	// ValuesMax is how many values one matcher lists at most, and how many
	// overrides one limit has.
	ValuesMax = 100_000
	// UnitBytesMax bounds a limit's unit.
	UnitBytesMax = 64
	// NameBytesMax bounds the name of a limit, in printable ASCII.
	NameBytesMax = 128
	// TextBytesMax bounds a domain, an attribute or entry key, and a value.
	TextBytesMax = 1024
	// UnindexedMax is how many conditions of one domain must be tried one by
	// one: regular expressions, negations, and globs that begin with a wildcard.
	UnindexedMax = 64
)

// A Position is where something was written. The zero Position means nowhere:
// the thing was made by a program.
type Position struct {
	File         string
	Line, Column int // from 1; a column counts characters; 0: File is no text
}

// place returns the file and the line, if it has lines.
func (p Position) place() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line)
}

// A Document is the policy of one domain, as Parse reads it and Marshal writes
// it. Parse checks every field; a Document that a program made is checked when
// it is marshalled and parsed, which Compile does by itself if Pos is zero.
type Document struct {
	Domain string
	// Comment is written by Marshal above the document, one `#` a line. Parse
	// does not fill it.
	Comment string

	// Charge is what happens to the other charges of a request when one is
	// denied. A file that doesn't say means AllOrNothing.
	Charge limiter.Mode
	// CountDenied is what limits do that do not say themselves: a denied charge
	// still uses what it can.
	CountDenied bool
	// PeekUsed makes a peek pass iff used ≤ amount, as Envoy's service does
	// (`peek: used`). Otherwise it passes iff a cost of 1 would.
	PeekUsed bool
	// Headers are the response headers of answers (`headers`). 0: each door's default.
	Headers HeaderSet

	// Gubernator says which limits the domain takes from requests of Gubernator's
	// clients. nil: none.
	Gubernator *Gubernator

	Rules []LimitRule // `limits:`, in order: the order of wildcards matters

	Pos Position
}

// A LimitRule says which requests it is for (its selector) and what limits
// they have (its terms). The selector is either When and By or Descriptor; with
// none of them the rule is for every descriptor of the domain.
type LimitRule struct {
	// Comment is written by Marshal above the rule. Parse does not fill it.
	Comment string

	When       []Condition    // every one must hold; attributes are distinct
	By         []string       // one counter per combination of these attributes' values
	Descriptor []EntryPattern // Envoy's ordered tree: exactly these entries

	// Exempt means that a descriptor which reaches this rule owes nothing. It
	// hides later wildcards and the bare key, as a node without rate_limit does
	// in Envoy's tree. Only with Descriptor, and without Terms.
	Exempt bool
	// Labels keeps the matched values as text (`labels: true`).
	Labels bool

	// Terms are the limits: at least one unless Exempt. One is written in the
	// rule itself, several as the rule's own `limits:` list.
	Terms []Term

	Pos    Position
	listed bool // Terms were read from a list, also if there is one
}

// MaxWaitDefault is the MaxWait of a pace that says none.
const MaxWaitDefault = time.Second

// A Term is one limit of a rule.
type Term struct {
	// Name is printable ASCII, or empty: one is then derived from the selector.
	// Names are distinct in a domain, except among rules with a Descriptor.
	Name string

	Kind   limiter.Kind
	Amount uint64        // units per Every, or held at once; 0 bans (not rates); 0 if unlimited
	Every  time.Duration // of KindConcurrency its lifetime, of KindQuota its schedule's length; 0 if unlimited
	Burst  uint64        // KindRate only; 0 means Amount

	// MaxWait is how long a caller waits at most: KindPace only, in
	// [limiter.WaitMin, limiter.WaitMax]; 0 there means MaxWaitDefault.
	MaxWait time.Duration

	// Quota is what only a quota says: not nil for KindQuota, nil for the others.
	Quota *limiter.QuotaTerms

	// Unit is what Amount counts, such as "tokens": 1 to UnitBytesMax of a-z, 0-9, '_', '-'
	// and '.', or empty. A call that names a cost in it is charged that.
	Unit string
	// EstimateMax is how many units one reservation sets aside at most; 0: as many as
	// it asks for.
	EstimateMax uint64

	Shadow        bool
	AnyOf         bool                  // Envoy's quota_mode
	CountDenied   *bool                 // nil: the document's
	OnUnavailable limiter.OnUnavailable // of KindQuota always UnavailableDeny

	// Replaces drops the request's other limits that have one of these names.
	// Each must be the name of another limit of the document, not its own.
	Replaces []string

	// Overrides give other amounts to named values of the last attribute of By
	// or the last entry of Descriptor.
	Overrides []ValueOverride

	Pos Position
	at  Position // of the key that says the kind, for warnings
}

// A Condition is one line of `when`.
type Condition struct {
	Attr    string
	Matcher Matcher
}

// A MatchKind is how a Matcher compares. The zero MatchKind is MatchExact.
type MatchKind uint8

// The kinds of matchers.
const (
	MatchExact  MatchKind = iota // equals one of Values
	MatchAny                     // is present; no Values
	MatchPrefix                  // begins with one of Values
	MatchGlob                    // matches one of Values, in which `*` is any run of characters
	MatchCIDR                    // is an address in one of Values
	MatchRegex                   // matches Values[0] (RE2) from its first to its last character
)

// A Matcher says which values of an attribute are meant.
type Matcher struct {
	Kind   MatchKind
	Values []string
	// Not inverts the matcher; an absent attribute then matches too.
	Not bool
}

// An EntryPattern is one entry of an ordered descriptor.
type EntryPattern struct {
	Key string
	// Value may have `*` wildcards anywhere. Empty means any value, each with
	// a counter of its own.
	Value string
	// Shared makes all values that match Value's wildcards use one counter
	// (Envoy's share_threshold). Only with a `*`.
	Shared bool
}

// A ValueOverride gives named values another amount. The most specific one
// wins: exact, then the longest CIDR, then the longest prefix, then globs in
// order.
type ValueOverride struct {
	Values    Matcher // MatchExact, MatchPrefix, MatchGlob or MatchCIDR; not inverted
	Unlimited bool
	Amount    uint64 // per the term's Every; 0 bans (windows only)
	Burst     uint64 // KindRate only; 0 means Amount

	Pos Position
}
