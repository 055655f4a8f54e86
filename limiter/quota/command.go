package quota

import (
	"encoding/binary"
	"errors"

	"github.com/headgate/headgate/limiter"
)

// An Op says what a [Command] does.
type Op uint8

// The operations. Their numbers are part of the log's format.
const (
	// OpEnsure raises what Holder was granted to at least Floor, at best Target,
	// within the amount.
	OpEnsure Op = 1
	// OpReturn says that Holder has given back Total units so far. The holder
	// lowers its balance before it proposes this. Of a holder whose process has ended,
	// what callers give back of its charges is returned by the one that came after it.
	OpReturn Op = 2
	// OpClose says that Holder is done with this window for good, and that of what
	// it was granted and did not return it spent Spent.
	OpClose Op = 3
	// OpDebt says that post-paid use of Total units did not fit at Holder so far,
	// of which Cleared were given back since, or served by units that a hold set free.
	OpDebt Op = 4
	// OpAdjust sets the operator's correction of the amount to Correction, and the use
	// that is waived to Waived, if the pool's revision is Revision.
	OpAdjust Op = 5
	// OpFence raises the highest tenure of Holder.Partition to Holder.Tenure. It
	// concerns the group, no pool.
	OpFence Op = 6
	// OpFreeze refuses, from then on, grants from every window that starts at
	// Window.Start or before: after a backup was restored, nobody knows what was
	// granted from those. It concerns the group, no pool.
	OpFreeze Op = 7

	// The operations of exact mode, where the decision itself is the entry: see
	// [Pool.Decide].

	// OpSpend charges Cost, once for each Request. With Cost 0 it changes nothing: the
	// answer says what is free, and what Request is charged.
	OpSpend Op = 16
	// OpHold charges Cost until it is settled: in full, if it is not by Until.
	OpHold Op = 17
	// OpSettle ends the OpHold of Request, or corrects its OpSpend, once: it cost
	// Cost.
	OpSettle Op = 18
	// OpExtend moves the end of the OpHold of Request to Until, if that is later.
	OpExtend Op = 19
	// OpConclude says what becomes of the OpPropose of Request in a Round: with Cost 0 it is
	// let go, otherwise it is kept. The first one counts. Told of an OpJoin, with Cost 0, it
	// lets go of what Request is charged in that Round or an earlier one.
	OpConclude Op = 20
	// OpPropose charges Cost as OpSpend does, for a call that other counters decide too:
	// OpConclude says what becomes of it. Who asks again for what was let go has a new Round.
	OpPropose Op = 21
	// OpJoin charges Cost for a call that is proposed at another counter, in a Round there.
	// What was charged in an earlier Round, which was let go, is charged no more.
	OpJoin Op = 22
)

// Begins reports whether the operation makes a request of exact mode.
func (o Op) Begins() bool { return o == OpSpend || o == OpHold || o == OpPropose || o == OpJoin }

// Corrects reports whether the operation is about a request of exact mode that was made
// before: it has to come behind it, and is answered by an entry alone.
func (o Op) Corrects() bool { return o >= OpSpend && !o.Begins() }

// String returns the operation's name.
func (o Op) String() string {
	switch o {
	case OpEnsure:
		return "ensure"
	case OpReturn:
		return "return"
	case OpClose:
		return "close"
	case OpDebt:
		return "debt"
	case OpAdjust:
		return "adjust"
	case OpFence:
		return "fence"
	case OpFreeze:
		return "freeze"
	case OpSpend:
		return "spend"
	case OpHold:
		return "hold"
	case OpSettle:
		return "settle"
	case OpExtend:
		return "extend"
	case OpConclude:
		return "conclude"
	case OpPropose:
		return "propose"
	case OpJoin:
		return "join"
	default:
		return "unknown"
	}
}

// A Command is one change that a holder or an operator asks of the ledger. All
// amounts are in units, at most TotalMax, and cumulative since the window began:
// a command that is applied again, or after a later one, changes nothing.
// Fields that Op does not name are not sent.
type Command struct {
	Op     Op
	Key    limiter.Key // not for OpFence, OpFreeze
	Window Window      // not for OpFence
	Holder Holder      // not for OpAdjust, OpFreeze, exact mode

	// Version and Limit are the policy version that the sender decides by and the
	// counter's amount in it; the pool goes by the highest Version that it has
	// seen. Version 0 says nothing about the amount. Not for OpFence, OpFreeze.
	Version uint64
	Limit   uint64 // at most limiter.AmountMax

	Floor, Target uint64 // OpEnsure; Target below Floor means Floor
	Total         uint64 // OpReturn, OpDebt
	Cleared       uint64 // OpDebt, at most Total
	MaxDebt       uint64 // OpDebt, OpSettle: how much the pool may owe, at most limiter.AmountMax
	Spent         uint64 // OpClose; OpEnsure, OpReturn: what the holder has spent so far, as far as it tells

	Correction int64  // OpAdjust, within ±limiter.AmountMax
	Waived     uint64 // OpAdjust, at most limiter.AmountMax
	Revision   uint64 // OpAdjust: the pool's, before

	Request limiter.Key // exact mode: a hash of the caller's request id
	Cost    uint64      // all but OpExtend, at most limiter.CostMax
	Until   int64       // OpHold, OpExtend, in Unix milliseconds
	Credit  bool        // OpSettle: a hold that is settled late for less is credited
	Round   uint64      // OpConclude, OpJoin: of the call

	// Deadline is when nobody waits for the answer any more, on the sender's clock; 0:
	// never. It stays with the sender, who then does not send the command: see [ErrLate].
	Deadline limiter.Instant
}

// ErrLate means that a command was not sent, since its Deadline was over: it has not been
// done, and will not be.
var ErrLate = errors.New("quota: the command was not sent before its deadline")

// exact reports whether the operation is one of exact mode.
func (o Op) exact() bool { return o >= OpSpend && o <= OpJoin }

// ofGroup reports whether the operation concerns a group and no pool.
func (o Op) ofGroup() bool { return o == OpFence || o == OpFreeze }

// AppendTo appends c to b in a form that says where it ends.
func (c *Command) AppendTo(b []byte) []byte {
	b = append(b, byte(c.Op))
	switch c.Op {
	case OpFence:
		return appendHolder(b, c.Holder)
	case OpFreeze:
		return appendWindow(b, c.Window)
	default:
	}
	b = appendWindow(appendKey(b, c.Key), c.Window)
	b = binary.AppendUvarint(binary.AppendUvarint(b, c.Version), c.Limit)
	if c.Op.exact() {
		return c.appendExact(appendKey(b, c.Request))
	}
	if c.Op != OpAdjust {
		b = appendHolder(b, c.Holder)
	}
	switch c.Op {
	case OpEnsure:
		b = binary.AppendUvarint(b, c.Floor)
		b = binary.AppendUvarint(b, c.Target)
		b = binary.AppendUvarint(b, c.Spent)
	case OpReturn:
		b = binary.AppendUvarint(b, c.Total)
		b = binary.AppendUvarint(b, c.Spent)
	case OpClose:
		b = binary.AppendUvarint(b, c.Spent)
	case OpDebt:
		b = binary.AppendUvarint(b, c.Total)
		b = binary.AppendUvarint(b, c.Cleared)
		b = binary.AppendUvarint(b, c.MaxDebt)
	case OpAdjust:
		b = binary.AppendUvarint(binary.AppendUvarint(appendSigned(b, c.Correction), c.Waived), c.Revision)
	default:
	}
	return b
}

func (c *Command) appendExact(b []byte) []byte {
	switch c.Op {
	case OpSpend, OpPropose:
		return binary.AppendUvarint(b, c.Cost)
	case OpHold:
		return binary.AppendUvarint(binary.AppendUvarint(b, c.Cost), uint64(c.Until))
	case OpSettle:
		credit := uint64(0)
		if c.Credit {
			credit = 1
		}
		b = binary.AppendUvarint(b, c.Cost)
		return binary.AppendUvarint(binary.AppendUvarint(b, c.MaxDebt), credit)
	case OpConclude, OpJoin:
		return binary.AppendUvarint(binary.AppendUvarint(b, c.Cost), c.Round)
	default: // OpExtend
		return binary.AppendUvarint(b, uint64(c.Until))
	}
}

// command reads one Command.
func (r *reader) command() (c Command) {
	c.Op = Op(r.octet("op"))
	switch c.Op {
	case OpFence:
		c.Holder = r.holder()
		return c
	case OpFreeze:
		c.Window = r.window()
		return c
	case OpEnsure, OpReturn, OpClose, OpDebt, OpAdjust, OpSpend, OpHold, OpSettle, OpExtend, OpConclude, OpPropose, OpJoin:
	default:
		r.fail("op=%d: must be in [%d, %d] or [%d, %d]", c.Op, OpEnsure, OpFreeze, OpSpend, OpJoin)
		return Command{}
	}
	c.Key, c.Window = r.key(), r.window()
	c.Version, c.Limit = r.uint("version", TotalMax), r.uint("limit", limiter.AmountMax)
	if c.Op.exact() {
		r.exact(&c)
		return c
	}
	if c.Op != OpAdjust {
		c.Holder = r.holder()
	}
	switch c.Op {
	case OpEnsure:
		c.Floor, c.Target, c.Spent = r.units("floor"), r.units("target"), r.told("spent", TotalMax)
	case OpReturn:
		c.Total, c.Spent = r.units("total"), r.told("spent", TotalMax)
	case OpClose:
		c.Spent = r.units("spent")
	case OpDebt:
		c.Total = r.units("total")
		c.Cleared = r.uint("cleared", c.Total)
		c.MaxDebt = r.uint("max debt", limiter.AmountMax)
	case OpAdjust:
		c.Correction = r.signed("correction")
		if c.Correction > limiter.AmountMax || c.Correction < -limiter.AmountMax {
			r.fail("correction=%d: must be within ±%d", c.Correction, int64(limiter.AmountMax))
		}
		c.Waived = r.told("waived", limiter.AmountMax)
		c.Revision = r.uint("revision", TotalMax)
	default:
	}
	return c
}

// exact reads what a command of exact mode has beside what all have.
func (r *reader) exact(c *Command) {
	c.Request = r.key()
	if c.Op != OpExtend {
		c.Cost = r.uint("cost", limiter.CostMax)
	}
	switch c.Op {
	case OpHold, OpExtend:
		c.Until = int64(r.uint("until", 1000*TimeMax))
	case OpSettle:
		c.MaxDebt = r.uint("max debt", limiter.AmountMax)
		c.Credit = r.uint("credit", 1) == 1
	case OpConclude, OpJoin:
		c.Round = r.uint("round", roundMax)
	default:
	}
}

// DecodeCommand reads the Command that b starts with and returns what follows
// it. Errors wrap [ErrMalformed].
func DecodeCommand(b []byte) (c Command, rest []byte, err error) {
	r := reader{b: b}
	c = r.command()
	if r.err != nil {
		return Command{}, nil, r.err
	}
	return c, r.b, nil
}
