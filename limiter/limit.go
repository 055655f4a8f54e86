package limiter

import (
	"math"
	"time"
)

// A Kind is the algorithm of a limit. The zero Kind is not valid.
type Kind uint8

// The kinds that exist. All but KindQuota are kept in memory.
const (
	KindRate        Kind = iota + 1 // token bucket, as GCRA
	KindFixed                       // counter per window aligned to the Unix epoch
	KindSliding                     // weighted counter over two such windows
	KindUnlimited                   // always allowed, keeps no counter
	KindConcurrency                 // units that are held, each until it is released or expires
	KindPace                        // a queue that nobody stands in: callers are told when to start
	KindQuota                       // a durable counter per period of a calendar
)

// String returns the kind's name as answers and metrics spell it.
func (k Kind) String() string {
	switch k {
	case KindRate:
		return "rate"
	case KindFixed:
		return "window"
	case KindSliding:
		return "sliding_window"
	case KindUnlimited:
		return "unlimited"
	case KindConcurrency:
		return "concurrency"
	case KindPace:
		return "pace"
	case KindQuota:
		return "quota"
	default:
		return "invalid"
	}
}

// Bounds of a Spec.
const (
	// PeriodMin and PeriodMax bound Period: one millisecond to 366 days.
	PeriodMin = time.Millisecond
	PeriodMax = 366 * 24 * time.Hour
	// RateMax bounds a rate's and a pace's Amount: 10⁹ a second, whatever the period.
	RateMax = 1_000_000_000
	// AmountMax bounds a fixed window's and a quota's Amount and every Burst.
	AmountMax = 1 << 55
	// SlidingAmountMax bounds a sliding window's Amount: two counts share a word.
	SlidingAmountMax = 1<<32 - 1
	// ConcurrencyAmountMax bounds a concurrency limit's Amount.
	ConcurrencyAmountMax = 1<<32 - 1
	// LifetimeMax bounds the Period of a concurrency limit, which is how long one
	// of its slots lives at most without a renewal.
	LifetimeMax = 24 * time.Hour
	// HolderBytesMax bounds the id under which slots are acquired; it has at
	// least one byte.
	HolderBytesMax = 256
	// RequestBytesMax bounds the id under which exact quotas remember a charge; it has
	// at least one byte.
	RequestBytesMax = 256
	// CostMax bounds the cost of one charge. No capacity is larger, so a cost
	// above it never passes.
	CostMax = 1 << 55
	// WaitMin and WaitMax bound MaxWait: one millisecond to a day.
	WaitMin = time.Millisecond
	WaitMax = 24 * time.Hour
	// TextMax bounds Domain and Name, each, in bytes.
	TextMax = 4096
)

// An OnUnavailable says what a limit decides when its counter can't be reached.
type OnUnavailable uint8

// The choices of on_unavailable. The zero value allows: rates favour
// availability.
const (
	UnavailableAllow OnUnavailable = iota
	UnavailableDeny
	UnavailableLocal // decide with a local counter and this node's share
)

// CostTerms are what a limit says of the costs of its charges.
type CostTerms struct {
	Unit        string // of its amount; "": none. A call's cost in this unit is charged, if it names one
	EstimateMax uint64 // units that one reservation sets aside at most, up to CostMax; 0: as many as it asks for
}

// A Spec is what a policy says of one limit.
type Spec struct {
	ID     LimitID
	Def    DefHash
	Domain string // at most TextMax bytes
	Name   string // at most TextMax bytes; never empty: a policy derives one where the author gave none

	Kind   Kind
	Amount uint64        // units per Period, or held at once; 0 bans (not rates); 0 for KindUnlimited
	Period time.Duration // in [PeriodMin, PeriodMax]; of KindConcurrency the lifetime, at most LifetimeMax; of KindQuota its Schedule's Length; 0 for KindUnlimited
	Burst  uint64        // KindRate only: capacity in units, refilled within HorizonMax; 0 means Amount

	// MaxWait is how long a caller is told to wait at most: KindPace only, in
	// [WaitMin, WaitMax].
	MaxWait time.Duration

	// Quota is what only a quota says: not nil for KindQuota, nil for the others.
	// It is not changed any more, and Specs share it.
	Quota *QuotaTerms

	// Costing says what a charge of the limit costs, and nil: the cost of its call. It is
	// not changed any more, and Specs share it. What is counted so far doesn't depend on
	// it, so it is not part of a Spec's encoding.
	Costing *CostTerms

	// FromFirst has a window begin with the first charge that finds none open,
	// instead of at a multiple of Period: KindFixed only. A denied charge that
	// counts (CountDenied) then fills the window and no more.
	FromFirst bool

	Shadow        bool // evaluated and reported, not enforced
	AnyOf         bool // denies only if all AnyOf limits of the call deny (Envoy's quota_mode)
	CountDenied   bool // a denied charge still uses what it can: a window counts it, a bucket drains, a pace knows no such thing
	PeekUsed      bool // a peek is allowed iff used ≤ amount, as Envoy's service does
	OnUnavailable OnUnavailable

	// Carried marks limits that requests bring themselves: what one says of
	// amount and period holds for its request only. A policy has one for each
	// domain that stands for them: it decides nothing, and they copy the Ref
	// that the counter table gives it.
	Carried bool
}

// Unit returns the unit of the amount; "" means that it has no name.
func (s *Spec) Unit() string {
	if s.Costing == nil {
		return ""
	}
	return s.Costing.Unit
}

// A Limit is a Spec ready to decide with. It is immutable, except for Ref and
// Shared, which the counter table sets before the limit is first used. The zero
// Limit decides nothing until Init.
type Limit struct {
	Spec

	// Ref is the slot of this definition in the counter table's registry;
	// 0 is the slot of definitions that were never registered.
	Ref uint32
	// Shared says that another definition has the same LimitID, as overrides for
	// named values have: a counter may have been charged under that one.
	Shared bool

	rate rateTerms
}

// NewLimit checks s and returns it as a Limit. See [Limit.Init] for errors.
func NewLimit(s Spec) (*Limit, error) {
	l := new(Limit)
	if err := l.Init(s); err != nil {
		return nil, err
	}
	return l, nil
}

// Init makes l the limit that s describes, in place: with [Call.Scratch], for
// limits that a request carries. It allocates nothing if s is valid.
//
// The error joins one [*BoundError] for each bound that s breaks; l is then
// the zero Limit.
func (l *Limit) Init(s Spec) error {
	*l = Limit{}
	if err := s.check(); err != nil {
		return err
	}
	l.Spec = s
	switch s.Kind { //nolint:exhaustive // the others have no terms
	case KindRate:
		l.rate = newRateTerms(s)
	case KindPace:
		l.rate = newPaceTerms(s)
	}
	return nil
}

// DeniesAlone reports whether a call that l denies is denied, whatever its other limits
// say: l is enforced, and none of several of which one is enough.
func (l *Limit) DeniesAlone() bool { return !l.Shadow && !l.AnyOf }

// Exact reports whether l is a quota that is spent in exact mode.
func (l *Limit) Exact() bool { return l.Quota != nil && l.Quota.Exact }

// Capacity returns how many units a fresh counter admits at once: a rate's
// burst, a window's amount, what a pace queues within MaxWait, the largest uint64 for an unlimited limit, 0 for
// the zero Limit.
func (l *Limit) Capacity() uint64 {
	switch l.Kind {
	case KindRate, KindPace:
		return l.rate.burst
	case KindUnlimited:
		return math.MaxUint64
	default:
		return l.Amount
	}
}
