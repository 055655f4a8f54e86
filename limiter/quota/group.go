package quota

import (
	"encoding/binary"

	"github.com/headgate/headgate/limiter"
)

// A Group is what the ledger records of one group beside its pools: its time, the
// tenures it has seen, and which windows are frozen. The zero Group is that of an
// empty log. It has one owner: whoever applies the log.
//
// It is stored in parts, since only the head changes with every entry: the head
// ([Group.AppendHead]), and one tenure for each partition that has one.
type Group struct {
	time    int64 // Unix milliseconds; never goes back
	ahead   int64 // by how much a leader's clock was ahead of it, milliseconds
	frozen  int64 // windows that start before it are frozen, in Unix seconds
	tenures [limiter.PartitionCount]uint64
}

// Time returns the group's time, in Unix milliseconds. What is to be forgotten goes by
// it, so it never goes back.
func (g *Group) Time() int64 { return g.time }

// Clock returns what the leader's clock showed when it made the last entry, in Unix
// milliseconds, and never less than Time. Windows open by it: it may go back.
func (g *Group) Clock() int64 { return g.time + g.ahead }

// Begin is the first step of applying an entry. It moves the group's time to At,
// unless that is later already, and returns it. How far At and Ahead may go is the
// leader's to say: see [Stamper].
func (g *Group) Begin(b *Batch) int64 {
	g.time = max(g.time, b.At)
	g.ahead = max(0, b.At+b.Ahead-g.time)
	return g.time
}

// Advance is Begin of an entry that was made at, by a clock that is not ahead.
func (g *Group) Advance(at int64) int64 { return g.Begin(&Batch{At: at}) }

// Tenure returns the highest tenure seen of a partition; 0 if none was.
func (g *Group) Tenure(p limiter.Partition) uint64 { return g.tenures[p] }

// Raise takes over a stored tenure, if it is higher, and reports whether it was.
func (g *Group) Raise(p limiter.Partition, tenure uint64) bool {
	if tenure <= g.tenures[p] {
		return false
	}
	g.tenures[p] = tenure
	return true
}

// Receive is the first step of applying a command, after Begin. It returns OK if
// the command's pool is to apply it, or why not; an OpFence or OpFreeze, which
// has no pool, is done with then. raised says that the tenure of c.Holder's
// partition has changed, head that what AppendHead writes has.
func (g *Group) Receive(c *Command) (code Code, raised, head bool) {
	switch c.Op {
	case OpFence:
		raised = g.Raise(c.Holder.Partition, c.Holder.Tenure)
		return OK, raised, false
	case OpFreeze:
		if c.Window.Start >= g.frozen {
			g.frozen = c.Window.Start + 1
			return OK, false, true
		}
		return OK, false, false
	default:
	}
	if g.Purged(c.Window) {
		return Purged, false, false
	}
	if c.Op == OpEnsure {
		raised = g.Raise(c.Holder.Partition, c.Holder.Tenure)
	}
	return g.refuses(c), raised, false
}

// Refuses returns OK if the group would let c pass as it is now, or why not. It
// changes nothing: a leader asks it before it proposes c.
func (g *Group) Refuses(c *Command) Code {
	switch {
	case c.Op.ofGroup():
		return OK
	case g.Purged(c.Window):
		return Purged
	default:
		return g.refuses(c)
	}
}

// refuses says why a command that takes units from its pool may not.
func (g *Group) refuses(c *Command) Code {
	switch {
	case c.Op != OpEnsure && !c.Op.Begins():
		return OK
	case c.Op == OpEnsure && c.Holder.Tenure < g.tenures[c.Holder.Partition]:
		return Fenced
	case g.Frozen(c.Window):
		return Frozen
	case g.Clock() < 1000*c.Window.Opens():
		return Early
	default:
		return OK
	}
}

// Purged reports whether w is forgotten: its pools may be deleted, since nothing
// about them is accepted any more.
func (g *Group) Purged(w Window) bool { return g.time >= 1000*w.Purges() }

// Frozen reports whether grants from w were stopped, by an OpFreeze. Of a quota that
// rolls, they are as long as a sub-window before w that counts with it is frozen: what
// is used there is not known.
func (g *Group) Frozen(w Window) bool { return w.First() < g.frozen }

// AppendHead appends what changes with each entry: version(1) time frozen, and in
// version 2 ahead, which is 0 in version 1.
func (g *Group) AppendHead(b []byte) []byte {
	b = append(b, versionOf(g.ahead))
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(g.time)), uint64(g.frozen))
	return appendAhead(b, g.ahead)
}

// DecodeHead reads what AppendHead wrote. Errors wrap [ErrVersion] or
// [ErrMalformed], and change nothing.
func (g *Group) DecodeHead(b []byte) error {
	r := reader{b: b}
	version := r.versions("group", formatAhead)
	time := int64(r.uint("time", 1000*TimeMax))
	frozen := int64(r.uint("frozen", TimeMax+1))
	ahead := int64(0)
	if version == formatAhead {
		if ahead = r.ahead(time); r.err == nil && ahead == 0 {
			r.fail("ahead=0: must be at least 1")
		}
	}
	if err := r.end(); err != nil {
		return err
	}
	g.time, g.ahead, g.frozen = time, ahead, frozen
	return nil
}
