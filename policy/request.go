package policy

import (
	"math/bits"
	"time"

	"github.com/headgate/headgate/limiter"
)

// Bounds of a Request. The edge refuses what does not fit, with a clear error.
const (
	// DescriptorsMax is how many descriptors one request carries at most.
	DescriptorsMax = 32
	// EntriesMax is how many entries all descriptors of one request have at most.
	EntriesMax = 256
	// CostsMax is how many units one request names costs in at most.
	CostsMax = 16
)

// An Entry is one key/value pair that describes a call. The bytes belong to
// the request's buffer and are valid only while it is.
type Entry struct{ Key, Value []byte }

// A UnitCost is what a call costs the limits that count Unit. The bytes belong to the
// request's buffer.
type UnitCost struct {
	Unit  []byte
	Units uint64 // at most limiter.CostMax
}

// An Override is a limit that the request itself carries (Envoy's
// RateLimitOverride). It replaces what the policy says of the descriptor: a
// fixed window of Amount per Unit × Multiplier, enforced.
type Override struct {
	Amount     uint64
	Unit       Unit   // UnitSecond … UnitYear
	Multiplier uint32 // ≥ 1
}

// A Descriptor is an ordered list of entries and what to do with the counters
// that it reaches.
type Descriptor struct {
	Entries  []Entry
	Op       limiter.Op
	Cost     uint64    // units; 0 only with OpPeek
	Override *Override // nil: none. Points into Request.
}

// A Replaced is a charge that a request would owe if another limit did not replace
// its limit.
type Replaced struct {
	Key   limiter.Key
	Limit *limiter.Limit
}

// A Request is what a policy is matched against. It is reusable: Reset it,
// then set Domain and add descriptors. It has one owner at a time.
type Request struct {
	Domain []byte
	// Holder is the id that acquires, renews or releases slots of concurrency
	// limits, of at most limiter.HolderBytesMax; nil: slots are anonymous.
	Holder []byte
	// Lifetime is how long those slots are to live; 0: as long as their limits say.
	Lifetime time.Duration
	// RequestID is the id under which exact quotas remember what the request was
	// charged, of at most limiter.RequestBytesMax; nil: none.
	RequestID []byte
	// Headers is what the domain's policy says of response headers; set by a match.
	Headers HeaderSet

	costs [CostsMax]UnitCost
	nc    int // of costs

	carried Carried // a limit that is decided instead of the domain's
	refusal Refusal // why it was not

	descriptors [DescriptorsMax]Descriptor
	overrides   [DescriptorsMax]Override
	entries     [EntriesMax]Entry
	nd, ne      int

	replaced [limiter.ChargesMax]Replaced // the last nr, in the order of the policy
	nr       int
	exempt   bool // a descriptor ended at a rule that exempts

	// What a match works with; it is kept so that matching allocates nothing.
	snapshot *Snapshot // of the last match, and its domain
	domain   *domain
	foreseen bool                           // attrs and leads are those of this request
	later    bool                           // some lead is
	attrs    [EntriesMax]uint32             // interned keys of the entries, plus 1; 0: no rule names it, or an earlier one of its descriptor has it
	leads    [EntriesMax]lead               // of the entries with attrs
	names    [limiter.ChargesMax]*termNames // of the charges
	key      []byte                         // LimitID and values of a counter
	edge     []byte                         // what is looked up in the tree
	rule     compactRule                    // that was found there
}

// Reset empties r.
func (r *Request) Reset() {
	clear(r.descriptors[:r.nd])
	clear(r.entries[:r.ne])
	clear(r.overrides[:r.nd])
	clear(r.Replaced())
	r.Domain, r.Headers, r.nd, r.ne, r.nr = nil, 0, 0, 0, 0
	r.Holder, r.Lifetime, r.exempt, r.foreseen = nil, 0, false, false
	clear(r.costs[:r.nc])
	r.nc = 0
	r.RequestID = nil
	if r.carried.Kind != 0 {
		r.carried, r.refusal = Carried{}, Refusal{}
	}
}

// AddDescriptor starts the next descriptor and returns it, or nil if there is
// no room. Its Op is OpCharge and its Cost 1 until the caller says otherwise.
func (r *Request) AddDescriptor() *Descriptor {
	if r.nd == DescriptorsMax {
		return nil
	}
	d := &r.descriptors[r.nd]
	*d = Descriptor{Entries: r.entries[r.ne:r.ne:r.ne], Cost: 1}
	r.nd++
	r.foreseen = false
	return d
}

// AddEntry appends an entry to the descriptor that was added last and reports
// whether there was room. The slices are kept, not copied.
func (r *Request) AddEntry(key, value []byte) bool {
	if r.nd == 0 || r.ne == EntriesMax {
		return false
	}
	d := &r.descriptors[r.nd-1]
	start := r.ne - len(d.Entries)
	r.entries[r.ne] = Entry{key, value}
	r.ne++
	d.Entries = r.entries[start:r.ne:r.ne]
	r.foreseen = false
	return true
}

// AddCost says what the request costs in a unit, whatever its descriptors say, and
// reports whether there was room. A unit that is added twice costs what was added first.
func (r *Request) AddCost(unit []byte, units uint64) bool {
	if r.nc == CostsMax {
		return false
	}
	r.costs[r.nc] = UnitCost{unit, units}
	r.nc++
	return true
}

// Costs returns what AddCost has added. The slice is valid until the next AddCost or
// Reset.
func (r *Request) Costs() []UnitCost { return r.costs[:r.nc] }

// costOf returns what l is charged where the request's descriptor says cost.
func (r *Request) costOf(l *limiter.Limit, cost uint64) uint64 {
	if l.Costing == nil || l.Costing.Unit == "" {
		return cost
	}
	for i := range r.costs[:r.nc] {
		if string(r.costs[i].Unit) == l.Costing.Unit {
			return r.costs[i].Units
		}
	}
	return cost
}

// SetOverride gives the descriptor that was added last a limit of its own. It
// panics if there is no descriptor.
func (r *Request) SetOverride(o Override) {
	r.overrides[r.nd-1] = o
	r.descriptors[r.nd-1].Override = &r.overrides[r.nd-1]
}

// Descriptors returns the descriptors in order. The slice is valid until the
// next AddDescriptor or Reset.
func (r *Request) Descriptors() []Descriptor { return r.descriptors[:r.nd] }

// Replaced returns what the last match left out because another limit replaces it,
// in the order of the policy. The slice is valid until the next match or Reset.
func (r *Request) Replaced() []Replaced { return r.replaced[len(r.replaced)-r.nr:] }

// Exempt reports whether a descriptor of the last match ended at a rule that exempts
// it.
func (r *Request) Exempt() bool { return r.exempt }

// firstDescriptor returns the first of the descriptors in mask, or nil.
func (r *Request) firstDescriptor(mask uint32) *Descriptor {
	i := bits.TrailingZeros32(mask)
	if i >= r.nd {
		return nil
	}
	return &r.descriptors[i]
}
