package quota

import "slices"

// SharesMax bounds the holders that a pool tells apart. Older ones are merged
// into [Pool.Past]: what they did not return by then counts as spent.
const SharesMax = 4

// A Pool is the ledger's record of one key in one window. The zero Pool is that of
// a counter that nobody has used yet. It has one owner: whoever applies the log of
// its group.
type Pool struct {
	// Version is the highest policy version seen, and Limit its amount.
	Version, Limit uint64
	// Correction is what the operator added to the amount, and Waived the use that was
	// waived, which is added, too. Revision counts how often they were set.
	Correction int64
	Waived     uint64
	Revision   uint64
	// Peak is the highest amount that was ever in force.
	Peak uint64
	// Changed is when the record was last changed, in Unix milliseconds.
	Changed int64
	// Past is the sum over holders that are no longer told apart.
	Past Past
	// Exact is the sum over the requests of exact mode: what they are charged, and owe.
	Exact Exact
	// Shares are the holders, at most SharesMax, in the order of partition,
	// tenure and life.
	Shares []Share

	// Beside is what sub-windows around this one take of the same amount, of a quota
	// that rolls. It is no part of the record: whoever applies the log sets it
	// before each command, to what [Beside] returns.
	Beside uint64
	// Behind is by how much the group's time is behind its clock, in milliseconds, which
	// it then passes faster than: [Pool.Decide] has requests remembered for longer. It is
	// no part of the record either.
	Behind int64
}

// A Past is the sum over former holders: what they may have spent, and owe.
type Past struct {
	Outstanding uint64
	Stranded    uint64 // of that: what they have not told to be spent
	Debt        uint64
}

// An Exact is the sum over what was decided in the log itself.
type Exact struct{ Charged, Owed uint64 }

// A Share is what a pool knows of one holder, all of it cumulative.
type Share struct {
	Holder Holder
	// Granted − Returned is what the holder may have spent.
	Granted, Returned uint64
	// Debt − Cleared is what it owes.
	Debt, Cleared uint64
	// Told is the most that it has told to have spent. It decides nothing: it says how
	// much is stranded when the holder is lost.
	Told uint64
	// Closed means that it spent exactly Granted − Returned and gets no more. What callers
	// give back of that later is returned, too.
	Closed bool
}

// Amount returns the amount in force, in units.
func (p *Pool) Amount() uint64 {
	if p.Correction < 0 && uint64(-p.Correction) > p.Limit {
		return p.Waived
	}
	return p.Limit + uint64(p.Correction) + p.Waived
}

// Outstanding returns the units that were granted and not returned: spent, held,
// or still to be spent. It is at most Peak.
func (p *Pool) Outstanding() uint64 {
	n := p.Past.Outstanding + p.Exact.Charged
	for i := range p.Shares {
		n += p.Shares[i].Granted - p.Shares[i].Returned
	}
	return n
}

// Stranded returns the units that count as spent though, as far as the pool was told,
// nobody has spent them: those of holders that are lost, which lost tells. What one of
// them spent after it told last is among them; what callers gave it back is not.
func (p *Pool) Stranded(lost func(Holder) bool) uint64 {
	n := p.Past.Stranded
	for i := range p.Shares {
		if lost(p.Shares[i].Holder) {
			n += p.Shares[i].untold()
		}
	}
	return n
}

// untold returns what a holder may have spent and has not told.
func (s *Share) untold() uint64 {
	if s.Closed {
		return 0
	}
	out := s.Granted - s.Returned
	return out - min(s.Told, out)
}

// Debt returns the post-paid units that are owed by all holders.
func (p *Pool) Debt() uint64 {
	n := p.Past.Debt + p.Exact.Owed
	for i := range p.Shares {
		n += p.Shares[i].Debt - p.Shares[i].Cleared
	}
	return n
}

// Use returns what the pool takes of the amount: what is outstanding, and owed.
func (p *Pool) Use() uint64 { return p.Outstanding() + p.Debt() }

// Free returns how many units can be granted now. What is owed is served first.
func (p *Pool) Free() uint64 {
	taken, amount := p.Use()+p.Beside, p.Amount()
	if taken >= amount {
		return 0
	}
	return amount - taken
}

// Apply applies a command that [Group.Receive] let pass, for this pool's key and
// window, at the group's time at (Unix milliseconds). It is deterministic.
func (p *Pool) Apply(at int64, c *Command) Result {
	changed := p.adopt(c)
	code, did := Unknown, false
	switch c.Op {
	case OpEnsure:
		code, did = p.ensure(c)
	case OpReturn:
		code, did = p.giveBack(c)
	case OpClose:
		code, did = p.close(c)
	case OpDebt:
		code, did = p.owe(c)
	case OpAdjust:
		code, did = p.adjust(c)
	default: // the group's, or one of exact mode
	}
	p.touch(at, changed || did)
	return p.result(code, c)
}

// touch notes that the record has changed.
func (p *Pool) touch(at int64, changed bool) {
	if changed {
		p.Changed = at
		p.Peak = max(p.Peak, p.Amount())
	}
}

// Answer returns what Apply would, if c would change nothing: a leader may then
// answer from what it has applied, without a log entry. It may be out of date: it
// then denies what has become free since, but never speaks of units that were not
// granted.
func (p *Pool) Answer(c *Command) (Result, bool) {
	if c.Op != OpEnsure || c.Version > p.Version {
		return Result{}, false
	}
	code, grant := p.decide(c)
	if grant > 0 {
		return Result{}, false
	}
	return p.result(code, c), true
}

func (p *Pool) result(code Code, c *Command) Result {
	r := Result{
		Code: code, Free: p.Free(), Limit: p.Amount(), Debt: p.Debt(), Revision: p.Revision,
	}
	if i, ok := p.find(c.Holder); ok {
		r.Granted, r.Returned = p.Shares[i].Granted, p.Shares[i].Returned
	}
	return r
}

// adopt goes over to a higher policy version.
func (p *Pool) adopt(c *Command) bool {
	if c.Version <= p.Version {
		return false
	}
	p.Version, p.Limit = c.Version, c.Limit
	return true
}

// decide returns what an OpEnsure comes to, and how many units it is granted.
func (p *Pool) decide(c *Command) (code Code, grant uint64) {
	if p.outlived(c.Holder) {
		return Fenced, 0
	}
	granted := uint64(0)
	if i, ok := p.find(c.Holder); ok {
		if p.Shares[i].Closed {
			return Closed, 0
		}
		granted = p.Shares[i].Granted
	}
	if granted >= c.Floor {
		return OK, 0
	}
	free := p.Free()
	if c.Floor-granted > free {
		return Exhausted, 0
	}
	return OK, min(max(c.Floor, c.Target)-granted, free)
}

func (p *Pool) ensure(c *Command) (Code, bool) {
	code, grant := p.decide(c)
	if grant == 0 {
		return code, false
	}
	s := p.share(c.Holder)
	s.Granted += grant
	s.Told = max(s.Told, c.Spent)
	return code, true
}

func (p *Pool) giveBack(c *Command) (Code, bool) {
	i, ok := p.find(c.Holder)
	switch {
	case !ok:
		return Unknown, false
	case c.Total <= p.Shares[i].Returned:
		return OK, false // done before
	case c.Total > p.Shares[i].Granted:
		return Unknown, false
	}
	s := &p.Shares[i]
	s.Returned, s.Told = c.Total, max(s.Told, c.Spent)
	return OK, true
}

func (p *Pool) close(c *Command) (Code, bool) {
	i, ok := p.find(c.Holder)
	switch {
	case !ok && c.Spent > 0:
		return Unknown, false
	case !ok && p.outlived(c.Holder):
		return OK, false // it gets no more grants anyhow
	case !ok: // keeps a late OpEnsure out
		p.share(c.Holder).Closed = true
		return OK, true
	}
	s := &p.Shares[i]
	switch {
	case s.Closed:
		return OK, false
	case c.Spent > s.Granted-s.Returned:
		return Unknown, false
	}
	s.Returned, s.Told, s.Closed = s.Granted-c.Spent, 0, true
	return OK, true
}

func (p *Pool) owe(c *Command) (Code, bool) {
	i, ok := p.find(c.Holder)
	if !ok && (p.outlived(c.Holder) || c.Total == 0) {
		return Unknown, false
	}
	var s Share
	if ok {
		s = p.Shares[i]
	}
	others := p.Debt() - (s.Debt - s.Cleared)
	before := s
	s.Cleared = max(s.Cleared, min(c.Cleared, max(s.Debt, c.Total)))
	room := uint64(0)
	if c.MaxDebt > others {
		room = c.MaxDebt - others
	}
	s.Debt = max(s.Debt, s.Cleared, min(c.Total, s.Cleared+room))
	if s == before {
		return OK, false
	}
	to := p.share(c.Holder)
	to.Debt, to.Cleared = s.Debt, s.Cleared
	return OK, true
}

func (p *Pool) adjust(c *Command) (Code, bool) {
	switch {
	case c.Revision == p.Revision:
		p.Correction, p.Waived = c.Correction, c.Waived
		p.Revision++
		return OK, true
	case c.Revision+1 == p.Revision && c.Correction == p.Correction && c.Waived == p.Waived:
		return OK, false // done before
	default:
		return Conflict, false
	}
}

// find returns the index of h's share, or where it would be.
func (p *Pool) find(h Holder) (int, bool) {
	return slices.BinarySearchFunc(p.Shares, h, func(s Share, h Holder) int { return s.Holder.compare(h) })
}

// outlived reports whether a newer holder of h's partition is known.
func (p *Pool) outlived(h Holder) bool {
	for i := range p.Shares {
		s := p.Shares[i].Holder
		if s.Partition == h.Partition && s.compare(h) > 0 {
			return true
		}
	}
	return false
}

// share returns the share of h, which is not outlived; a new one if it has none.
// Earlier lives of its tenure are merged into the past: a holder forgets a
// counter only when it holds nothing of it any more. So is the oldest share, when
// there are too many.
func (p *Pool) share(h Holder) *Share {
	if i, ok := p.find(h); ok {
		return &p.Shares[i]
	}
	p.Shares = slices.DeleteFunc(p.Shares, func(s Share) bool {
		same := s.Holder.Partition == h.Partition && s.Holder.Tenure == h.Tenure
		if same {
			p.Past.add(s, 0)
		}
		return same
	})
	if len(p.Shares) == SharesMax {
		p.Past.add(p.Shares[0], p.Shares[0].untold())
		p.Shares = slices.Delete(p.Shares, 0, 1)
	}
	i, _ := p.find(h)
	p.Shares = slices.Insert(p.Shares, i, Share{Holder: h})
	return &p.Shares[i]
}

// add merges a holder, of which so much may be stranded.
func (f *Past) add(s Share, stranded uint64) {
	f.Outstanding += s.Granted - s.Returned
	f.Stranded += stranded
	f.Debt += s.Debt - s.Cleared
}
