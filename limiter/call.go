package limiter

import "time"

// ChargesMax is how many charges one Call carries at most.
const ChargesMax = 32

// An Op is what a charge does to its counter.
type Op uint8

// The operations of the in-memory kinds. The zero value charges.
const (
	OpCharge   Op = iota // charge Cost units if they fit
	OpPeek               // look only; allowed iff Cost would pass, for 0 iff 1 would (see Spec.PeekUsed)
	OpGiveBack           // undo Cost units already charged, never above full; always allowed
	OpRenew              // KindConcurrency only: have the holder's slot live for another lifetime; denied iff it has none
	OpRelease            // KindConcurrency only: end the holder's slot; always allowed
)

// A Mode says what happens to the other charges of a call when one is denied.
type Mode uint8

// The modes.
const (
	ChargeAll    Mode = iota // each limit is charged on its own, whatever the others say
	AllOrNothing             // if an enforced limit denies, nothing stays charged
)

// A Charge asks Cost units of one counter.
type Charge struct {
	Key       Key
	Limit     *Limit
	Cost      uint64 // units; 0 looks only, as OpPeek does
	Op        Op
	Partition Partition // decides the lock and, in a cluster, the owner

	// Descriptors has bit i set if descriptor i of the request asked for this
	// charge. A policy match sets it; deciders ignore it.
	Descriptors uint32

	// Was is the Decider's own: what undoing the charge takes.
	Was Instant

	Decision Decision // set by the Decider
}

// Ends reports whether the denial of ch alone denies its call: see [Limit.DeniesAlone].
func (ch *Charge) Ends() bool { return ch.Decision.Verdict == Denied && ch.Limit.DeniesAlone() }

// A Call is what a gateway asked in one request: its charges and, once
// decided, their decisions. Calls are pooled: Reset before use. A Call has one
// owner at a time: the edge until it calls Decide, then, if Decide returned
// false, the Decider until it calls Finish.
type Call struct {
	// Mode is the domain's `charge` setting.
	Mode Mode

	// Holder is the hash of the id that acquires, renews or releases slots of
	// concurrency limits. The zero Key has none: slots are then anonymous.
	Holder Key
	// Lifetime is how long the slots of Holder live from now on; 0: as long as
	// their limit says, which is also the most.
	Lifetime time.Duration

	// Request is the hash of the id under which exact quotas remember what this call
	// was charged, so that it is charged once however often it is asked. The zero
	// Key has none.
	Request Key
	// Reused is set by the Decider if Request stands for another charge, or for one
	// that was given back: then the call is not decided.
	Reused bool
	// Ticket is the Decider's own: it names the call to the ledger if Request does
	// not, or not alone.
	Ticket Key

	// Until says that what the call costs is not known yet: exact quotas hold what they
	// charge, to be settled, until then, and charge it in full if it is not. 0: they
	// charge it.
	Until Instant

	// Deadline is when an answer stops being useful. The zero value means
	// none was set; the in-memory table never waits and ignores it.
	Deadline Instant

	// Patience is how long the caller can wait between the answer and its start:
	// what a pace may ask of it, see Decision.Wait. The zero value can't wait.
	Patience time.Duration

	// Done is called by Finish. The edge sets it if it can wait; it must not
	// block and may be called from any goroutine.
	Done func(*Call)

	n         int
	charges   [ChargesMax]Charge
	overrides []Limit
}

// Reset empties c for another use. Done stays.
func (c *Call) Reset() {
	for i := range c.charges[:c.n] {
		c.charges[i] = Charge{}
	}
	c.n, c.Mode, c.Deadline, c.Patience = 0, ChargeAll, 0, 0
	c.Holder, c.Lifetime = Key{}, 0
	c.Request, c.Ticket, c.Reused, c.Until = Key{}, Key{}, false, 0
	c.overrides = c.overrides[:0]
}

// TicketOf returns the name that Ticket gives charge i.
func (c *Call) TicketOf(i int) Key { return Key{Hi: c.Ticket.Hi, Lo: c.Ticket.Lo + uint64(i)} }

// Next appends an empty charge and returns it for the caller to fill in, or nil
// if there is no room. It is valid until the next Remove or Reset.
func (c *Call) Next() *Charge {
	if c.n == ChargesMax {
		return nil
	}
	c.n++
	return &c.charges[c.n-1]
}

// Add appends ch and reports whether there was room. Next spares the copy.
func (c *Call) Add(ch Charge) bool {
	next := c.Next()
	if next == nil {
		return false
	}
	*next = ch
	return true
}

// Remove drops charge i and keeps the order of the others. It panics if i is
// out of range.
func (c *Call) Remove(i int) {
	copy(c.charges[i:c.n], c.charges[i+1:c.n])
	c.n--
	c.charges[c.n] = Charge{}
}

// Charges returns the charges in the order in which they were added. The slice
// is the call's own: it is valid until the next Add, Remove or Reset.
func (c *Call) Charges() []Charge { return c.charges[:c.n] }

// Scratch returns an empty Limit that lives as long as the call's present use,
// for a limit that the request itself carries, or nil if ChargesMax were
// handed out. The first use allocates; a pooled call then keeps the room.
func (c *Call) Scratch() *Limit {
	if c.overrides == nil {
		c.overrides = make([]Limit, 0, ChargesMax)
	}
	n := len(c.overrides)
	if n == ChargesMax {
		return nil
	}
	c.overrides = c.overrides[:n+1]
	c.overrides[n] = Limit{}
	return &c.overrides[n]
}

// Finish hands a call back that Decide did not finish. The Decider must not
// touch c afterwards.
func (c *Call) Finish() { c.Done(c) }

// Verdict merges the decisions: the call is Denied if an enforced ordinary
// limit denied it, or if it has AnyOf limits and all of them did; a shadow one
// never denies, so beside it they never all do (as in Envoy's service).
// A call without charges is Allowed. by is the index of the charge that
// decides a denial, the one with the longest RetryAfter, and −1 otherwise.
func (c *Call) Verdict() (v Verdict, by int) {
	by = -1
	earliest := -1 // of the AnyOf limits that deny: it is enough to pass
	passes := false
	for i := range c.charges[:c.n] {
		ch := &c.charges[i]
		switch {
		case ch.Limit.Shadow || ch.Decision.Verdict != Denied:
			passes = passes || ch.Limit.AnyOf
		case ch.Limit.AnyOf:
			if earliest < 0 || c.wait(i) < c.wait(earliest) {
				earliest = i
			}
		case by < 0 || c.wait(i) > c.wait(by):
			by = i
		}
	}
	if earliest >= 0 && !passes && (by < 0 || c.wait(earliest) > c.wait(by)) {
		by = earliest
	}
	if by < 0 {
		return Allowed, -1
	}
	return Denied, by
}

// Wait returns how long the call's caller is to wait before it starts: as long as
// the limit that asks it to wait longest. It is 0 unless the call is Allowed; a
// shadow limit makes nobody wait.
func (c *Call) Wait() (wait time.Duration) {
	for i := range c.charges[:c.n] {
		if d := &c.charges[i].Decision; d.Wait > wait && !c.charges[i].Limit.Shadow {
			wait = d.Wait
		}
	}
	if wait > 0 {
		if v, _ := c.Verdict(); v == Denied {
			return 0
		}
	}
	return wait
}

func (c *Call) wait(i int) time.Duration { return c.charges[i].Decision.RetryAfter }
