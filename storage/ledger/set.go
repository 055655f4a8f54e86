package ledger

import "github.com/headgate/headgate/limiter/quota"

// A Set is the ledgers of a node, by group; nil for a group that it has none of.
type Set []*Ledger

// Time returns the time of a group, in Unix milliseconds.
func (s Set) Time(group uint32) int64 {
	if l := s.of(group); l != nil {
		return l.Time()
	}
	return 0
}

// Clock returns what the clock of a group's leader showed, in Unix milliseconds.
func (s Set) Clock(group uint32) int64 {
	if l := s.of(group); l != nil {
		return l.Clock()
	}
	return 0
}

// Answer returns what the ledger of a group answers to c, if c would change
// nothing: see [Ledger.Answer]. What can't be read has to go through the log, where
// the ledger stops if it can't be read there either.
func (s Set) Answer(group uint32, c *quota.Command) (quota.Result, bool) {
	l := s.of(group)
	if l == nil {
		return quota.Result{}, false
	}
	r, ok, err := l.Answer(c)
	return r, ok && err == nil
}

func (s Set) of(group uint32) *Ledger {
	if uint64(group) >= uint64(len(s)) {
		return nil
	}
	return s[group]
}
