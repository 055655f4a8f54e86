package policy

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/headgate/headgate/limiter"
)

// Match appends to c the charges that r owes and sets c.Mode. Every rule with
// a descriptor and every rule with when and by is matched against each of r's
// descriptors. A counter that several descriptors reach through when and by is
// charged once for each operation, with the greatest cost; one that they reach
// through the tree is charged for each, as Envoy's service does. r keeps
// scratch memory for the next match; it must not be used by two at a time.
//
// A domain in ModeOff owes nothing.
//
// If the outcome is not Matched, c may hold charges that must not be decided.
func (s *Snapshot) Match(r *Request, c *limiter.Call) Outcome {
	if r.carried.Kind != 0 {
		return s.matchCarried(r, c)
	}
	d := s.domainOf(r)
	if d == nil {
		return max(s.unknown, UnknownDomainAllow)
	}
	c.Mode, r.Headers = d.mode, d.headers
	r.nr, r.exempt = 0, false
	if d.operator == ModeOff {
		return Matched
	}
	if r.foreseen {
		d.selectors.lookLater(r)
	} else {
		d.selectors.look(r, hasty)
	}
	r.foreseen = false // for the next match r may say something else
	for i, entry := 0, 0; i < r.nd; i++ {
		m := matching{s.hasher, d, r, c, &r.descriptors[i], entry, 1 << i}
		entry += len(m.desc.Entries)
		outcome := Matched
		if m.desc.Override != nil {
			outcome = m.override()
		} else if !m.tree() || !m.selectors() {
			outcome = TooManyCharges
		}
		if outcome != Matched {
			return outcome
		}
	}
	if d.replacing {
		dropReplaced(r, c)
	}
	if r.RequestID != nil {
		return name(s.hasher, r, c)
	}
	if r.Holder != nil {
		return hold(s.hasher, r, c)
	}
	return Matched
}

// domainOf returns r's domain, or nil. That of the last match is nearly always it.
func (s *Snapshot) domainOf(r *Request) *domain {
	if r.snapshot == s && r.domain.name == string(r.Domain) {
		return r.domain
	}
	d := s.domains[string(r.Domain)]
	if d != nil {
		r.snapshot, r.domain = s, d
	}
	r.foreseen = false
	return d
}

// name says under which id exact quotas are to remember c. Where the denial of another
// limit takes back what they charged, one of them has to say what became of the call: one
// that is enforced, and whose denial is enough.
func name(h limiter.KeyHasher, r *Request, c *limiter.Call) Outcome {
	c.Request = h.Key(r.RequestID)
	charges := c.Charges()
	if c.Mode == limiter.ChargeAll || len(charges) == 1 {
		return Matched
	}
	o := Matched
	for i := range charges {
		switch l := charges[i].Limit; {
		case !l.Exact():
		case l.DeniesAlone():
			return Matched
		default:
			o = NotRemembered
		}
	}
	return o
}

// hold says who is to hold the slots of c, and for how long.
func hold(h limiter.KeyHasher, r *Request, c *limiter.Call) Outcome {
	c.Holder, c.Lifetime = h.Key(r.Holder), r.Lifetime
	if r.Lifetime > 0 && ShortestLifetime(c) < r.Lifetime {
		return LifetimeTooLong
	}
	return Matched
}

// ShortestLifetime returns the shortest lifetime of the concurrency limits that c
// charges; the longest there can be if there is none.
func ShortestLifetime(c *limiter.Call) time.Duration {
	shortest := limiter.LifetimeMax
	charges := c.Charges()
	for i := range charges {
		if l := charges[i].Limit; l.Kind == limiter.KindConcurrency {
			shortest = min(shortest, l.Period)
		}
	}
	return shortest
}

// matching is the match of one descriptor.
type matching struct {
	hasher limiter.KeyHasher
	domain *domain
	req    *Request
	call   *limiter.Call
	desc   *Descriptor
	entry  int    // index of its first entry among the request's
	bit    uint32 // of the descriptor, in Charge.Descriptors
}

// startKey leaves room for a LimitID in the request's scratch memory.
func (m *matching) startKey() []byte {
	var room limiter.LimitID
	return append(m.req.key[:0], room[:]...)
}

// owe charges the terms of a rule, whose counters key tells apart after the
// LimitID. overrideValue is the value that overrides are about. It returns
// false if the call has no room.
func (m *matching) owe(r *compactRule, key, overrideValue []byte, merge bool) bool {
	m.req.key = key
	if r.limit == 0 {
		m.req.exempt = true
		return true
	}
	if r.more == 0 {
		copy(key, r.id[:])
		return m.charge(m.hasher.Key(key), &m.domain.limits[r.limit-1], nil, merge)
	}
	rare := m.domain.mores[r.more].rare
	if rare == nil {
		return m.oweTerm(&term{id: r.id, limit: r.limit}, key, nil, merge)
	}
	if !m.oweTerm(&term{r.id, r.limit, rare.overrides, rare.names}, key, overrideValue, merge) {
		return false
	}
	for i := range rare.rest {
		if !m.oweTerm(&rare.rest[i], key, overrideValue, merge) {
			return false
		}
	}
	return true
}

func (m *matching) oweTerm(t *term, key, overrideValue []byte, merge bool) bool {
	copy(key, t.id[:])
	limit := t.limit
	if t.overrides != nil {
		if o := t.overrides.find(overrideValue); o != 0 {
			limit = o
		}
	}
	return m.charge(m.hasher.Key(key), &m.domain.limits[limit-1], t.names, merge)
}

// charge adds one charge. With merge, a charge of an earlier descriptor for the
// same counter and operation takes it in.
func (m *matching) charge(key limiter.Key, limit *limiter.Limit, names *termNames, merge bool) bool {
	if m.desc.Op >= limiter.OpRenew && limit.Kind != limiter.KindConcurrency {
		return true
	}
	cost := m.desc.Cost
	if m.req.nc > 0 {
		cost = m.req.costOf(limit, cost)
	}
	if merge && m.bit > 1 {
		charges := m.call.Charges()
		for i := range charges {
			if ch := &charges[i]; ch.Key == key && ch.Op == m.desc.Op {
				ch.Cost = max(ch.Cost, cost)
				ch.Descriptors |= m.bit
				return true
			}
		}
	}
	n := len(m.call.Charges())
	ch := m.call.Next()
	if ch == nil {
		return false
	}
	m.req.names[n] = names
	ch.Key, ch.Limit, ch.Cost, ch.Op = key, limit, cost, m.desc.Op
	ch.Partition, ch.Descriptors = key.Partition(), m.bit
	switch d := m.domain; {
	case d.prefetchQuota != nil && limit.Kind == limiter.KindQuota:
		d.prefetchQuota(key)
	case d.prefetch != nil:
		d.prefetch(key, ch.Partition)
	}
	return true
}

// tree owes what the tree says of the descriptor.
func (m *matching) tree() bool {
	t := &m.domain.tree
	last := len(m.desc.Entries) - 1
	if last < 0 || last >= t.depth {
		return true
	}
	key, node := m.startKey(), t.root
	s := step{text: m.req.edge, room: &m.req.rule}
	for i := range m.desc.Entries {
		e := m.desc.Entries[i]
		ok := s.take(t, node, e)
		m.req.edge = s.text
		if !ok {
			break
		}
		node = s.rule.next
		key = s.appendKey(key, e)
		if i == last {
			return m.owe(s.rule, key, e.Value, false)
		}
		if node&leafBit != 0 {
			break
		}
	}
	m.req.key = key
	return true
}

// selectors owes what the rules with when and by say of the descriptor.
func (m *matching) selectors() bool {
	x := &m.domain.selectors
	for _, rule := range x.always {
		if !m.rule(&x.rules[rule]) {
			return false
		}
	}
	if len(x.byAttr) == 0 {
		return true
	}
	for i := range m.desc.Entries {
		at := m.entry + i
		if attr := m.req.attrs[at]; attr != 0 && !m.attribute(&x.byAttr[attr-1], &m.req.leads[at], m.desc.Entries[i].Value) {
			return false
		}
	}
	return true
}

// attribute tries the rules that an attribute's index finds for value, to which
// l leads.
func (m *matching) attribute(x *attrIndex, l *lead, value []byte) bool {
	if !m.rules(x.present) {
		return false
	}
	if l.exact != 0 {
		at := int(l.exact) - 1
		if !x.exact.has(at, value) {
			at = x.exact.find(value)
		}
		if at >= 0 && !m.place(&x.exact, at) {
			return false
		}
	}
	if l.prefix != 0 && !m.walk(x.prefixes.walkFrom(value, int(l.prefix)-1, int(l.length))) {
		return false
	}
	if l.network == 0 {
		return true
	}
	t := &x.ipv4
	if l.v6 {
		t = &x.ipv6
	}
	return m.walk(t.walkFrom(l.addressBytes(), int(l.network)-1, int(l.bits)))
}

// walk tries the rules of a walk.
func (m *matching) walk(w prefixWalk) bool {
	for at := w.next(); at >= 0; at = w.next() {
		if !m.place(&w.table.table, at) {
			return false
		}
	}
	return true
}

// place tries the rules of a place.
func (m *matching) place(t *textTable, at int) bool {
	if t.slots == nil {
		r := &t.records[at]
		return m.found(&r.rule, r.kind)
	}
	var room compactRule
	return m.found(t.rule(at, &room))
}

// found tries what a place says.
func (m *matching) found(r *compactRule, kind recordKind) bool {
	if kind == manyRules {
		return m.rules(span{r.by, r.next})
	}
	return m.rule(r)
}

// rules tries the rules of a span.
func (m *matching) rules(s span) bool {
	x := &m.domain.selectors
	if s.n == 1 {
		return m.rule(&x.rules[s.offset])
	}
	for _, rule := range x.found[s.offset : s.offset+s.n] {
		if !m.rule(&x.rules[rule]) {
			return false
		}
	}
	return true
}

// rule owes a rule's terms if the descriptor fulfils it. It returns false if
// the call has no room.
func (m *matching) rule(r *compactRule) bool {
	if r.more != 0 && !m.holds(&m.domain.mores[r.more]) {
		return true
	}
	key := m.startKey()
	if r.by == 0 {
		return m.owe(r, key, nil, true)
	}
	by := &m.domain.lists[r.by]
	var overrideValue []byte
	for i, attr := range by.attrs {
		value, present := m.value(attr)
		if !present {
			m.req.key = key
			return true
		}
		key = binary.AppendUvarint(key, uint64(len(value)))
		key = append(key, value...)
		if i == by.last {
			overrideValue = value
		}
	}
	return m.owe(r, key, overrideValue, true)
}

// holds reports whether the descriptor fulfils all conditions.
func (m *matching) holds(more *ruleMore) bool {
	if more.first.kind != matchAlways && !more.first.holds(m.value(more.first.attr)) {
		return false
	}
	if more.rare == nil {
		return true
	}
	for i := range more.rare.checks {
		c := &more.rare.checks[i]
		if !c.holds(m.value(c.attr)) {
			return false
		}
	}
	return true
}

// value returns the value of an attribute.
func (m *matching) value(attr uint32) (value []byte, present bool) {
	i := attrIndexOf(m.req.attrs[m.entry:m.entry+len(m.desc.Entries)], attr)
	if i < 0 {
		return nil, false
	}
	return m.desc.Entries[i].Value, true
}

// override owes the limit that the descriptor itself carries, instead of all
// that the policy says of it.
func (m *matching) override() Outcome {
	o := m.desc.Override
	unit := o.Unit.Duration()
	if unit == 0 || o.Multiplier == 0 || time.Duration(o.Multiplier) > math.MaxInt64/unit {
		return InvalidOverride
	}
	limit := m.call.Scratch()
	if limit == nil {
		return TooManyCharges
	}
	stands := m.domain.override
	spec := stands.Spec
	spec.Amount, spec.Period = o.Amount, unit*time.Duration(o.Multiplier)
	if limit.Init(spec) != nil {
		return InvalidOverride
	}
	limit.Ref = stands.Ref

	key := m.startKey()
	copy(key, spec.ID[:])
	key = binary.AppendUvarint(key, uint64(spec.Period))
	for _, e := range m.desc.Entries {
		key = binary.AppendUvarint(key, uint64(len(e.Key)))
		key = append(key, e.Key...)
		key = binary.AppendUvarint(key, uint64(len(e.Value)))
		key = append(key, e.Value...)
	}
	m.req.key = key
	if !m.charge(m.hasher.Key(key), limit, nil, false) {
		return TooManyCharges
	}
	return Matched
}

// dropReplaced removes the charges whose names others replace, and has r remember
// them. One that is
// replaced itself still replaces others, and what is unlimited stays, as in
// Envoy's service.
func dropReplaced(r *Request, c *limiter.Call) {
	n := len(c.Charges())
	for i := n - 1; i >= 0; i-- {
		t := r.names[i]
		if t == nil || t.own == 0 || c.Charges()[i].Limit.Kind == limiter.KindUnlimited {
			continue
		}
		if isReplaced(r.names[:n], t.own) {
			r.nr++
			r.replaced[len(r.replaced)-r.nr] = Replaced{c.Charges()[i].Key, c.Charges()[i].Limit}
			c.Remove(i)
		}
	}
}

func isReplaced(names []*termNames, name uint32) bool {
	for _, t := range names {
		if t != nil && slices.Contains(t.replaces, name) {
			return true
		}
	}
	return false
}
