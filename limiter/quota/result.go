package quota

import "encoding/binary"

// A Code says what became of a command.
type Code uint8

// The codes. Their numbers are part of what nodes tell each other.
const (
	// OK: done, or done before.
	OK Code = iota + 1
	// Exhausted: there are fewer than Floor asks for; nothing was granted.
	Exhausted
	// Fenced: a newer tenure or life of the holder is known. It gets no more
	// grants; what it holds it may spend and give back.
	Fenced
	// Closed: the holder has closed this window for good.
	Closed
	// Early: the window has not opened yet by the group's time.
	Early
	// Purged: the window is forgotten by the group's time, or will be.
	Purged
	// Frozen: grants from the window were stopped after a backup was restored.
	Frozen
	// Conflict: an adjustment was based on another revision than the pool has.
	Conflict
	// Unknown: the command speaks of units that the pool did not grant to this
	// holder. Nothing was changed.
	Unknown
	// Differs: the request id was used before, with another operation or cost, or
	// was settled with another.
	Differs
	// Busy: more requests are remembered than may be.
	Busy
	codeEnd
)

// String returns the code's name.
func (c Code) String() string {
	names := [...]string{"none", "ok", "exhausted", "fenced", "closed", "early", "purged", "frozen", "conflict", "unknown", "differs", "busy"}
	if int(c) >= len(names) {
		return "invalid"
	}
	return names[c]
}

// A Result is the ledger's answer to one command: what became of it, and the
// state after it.
type Result struct {
	Code Code
	// Granted and Returned are the cumulative totals of the command's holder; 0
	// if the pool knows no such holder.
	Granted, Returned uint64
	// Free is how many more units can be granted now.
	Free uint64
	// Limit, the amount in force, is that of the highest policy version seen,
	// with the operator's correction.
	Limit uint64
	// Debt is what is owed by all holders.
	Debt uint64
	// Revision is that of the operator's correction.
	Revision uint64
	// Charged and Owed are what the request of an exact command is charged, and
	// what of it did not fit.
	Charged, Owed uint64
	// Round is that of what an OpPropose or OpJoin was charged, and Sure says that it will
	// not be let go any more: see [OpConclude].
	Round uint64
	Sure  bool
}

// AppendTo appends r to b in a form that says where it ends.
func (r Result) AppendTo(b []byte) []byte {
	b = append(b, byte(r.Code))
	for _, v := range [...]uint64{r.Granted, r.Returned, r.Free, r.Limit, r.Debt, r.Revision, r.Charged, r.Owed} {
		b = binary.AppendUvarint(b, v)
	}
	sure := uint64(0)
	if r.Sure {
		sure = 1
	}
	return binary.AppendUvarint(b, r.Round<<1|sure)
}

// DecodeResult reads the Result that b starts with and returns what follows it.
// Errors wrap [ErrMalformed].
func DecodeResult(b []byte) (res Result, rest []byte, err error) {
	r := reader{b: b}
	res.Code = Code(r.octet("code"))
	if r.err == nil && (res.Code == 0 || res.Code >= codeEnd) {
		r.fail("code=%d: must be in [%d, %d]", res.Code, OK, codeEnd-1)
	}
	res.Granted, res.Returned = r.units("granted"), r.units("returned")
	res.Free, res.Limit = r.units("free"), r.units("limit")
	res.Debt, res.Revision = r.units("debt"), r.units("revision")
	res.Charged, res.Owed = r.units("charged"), r.units("owed")
	round := r.uint("round", roundMax<<1|1)
	res.Round, res.Sure = round>>1, round&1 == 1
	if r.err != nil {
		return Result{}, nil, r.err
	}
	return res, r.b, nil
}
