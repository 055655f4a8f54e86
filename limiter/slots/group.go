package slots

import (
	"math"

	"github.com/headgate/headgate/limiter"
)

// Never is what When returns if what is held never is few enough.
const Never = limiter.Instant(math.MaxInt64)

// Expire ends the slots of g whose expiry is not after now, and returns how
// many of them were anonymous.
func (s *Set) Expire(g Group, now limiter.Instant) (anonymous int64) {
	last := place{now, limiter.Key{Hi: math.MaxUint64, Lo: math.MaxUint64}}
	r := s.at(uint32(g))
	if s.due(r.left, now) {
		var gone uint32
		gone, r.left = s.split(r.left, last)
		s.discard(gone)
	}
	if s.due(r.right, now) {
		var gone uint32
		gone, r.right = s.split(r.right, last)
		anonymous = int64(s.size(gone))
		s.discard(gone)
	}
	return anonymous
}

// due reports whether the first slot of a tree has expired by now.
func (s *Set) due(root uint32, now limiter.Instant) bool {
	i := s.first(root)
	return i != 0 && s.at(i).expiry <= now
}

// Held returns the units that g's slots hold.
func (s *Set) Held(g Group) uint64 {
	if g == 0 {
		return 0
	}
	r := s.at(uint32(g))
	return s.sum(r.left) + s.sum(r.right)
}

// HeldAfter returns the units that g's slots hold without those that have expired
// by now.
func (s *Set) HeldAfter(g Group, now limiter.Instant) uint64 {
	if g == 0 {
		return 0
	}
	r := s.at(uint32(g))
	return s.Held(g) - s.expiring(r.left, now) - s.expiring(r.right, now)
}

// Anonymous returns how many anonymous slots g has.
func (s *Set) Anonymous(g Group) int64 { return int64(s.size(s.at(uint32(g)).right)) }

// Last returns when the last slot of g expires; 0 if it has none.
func (s *Set) Last(g Group) limiter.Instant {
	if g == 0 {
		return 0
	}
	r := s.at(uint32(g))
	return max(s.last(r.left), s.last(r.right))
}

// Has reports whether g has the slot k that expires then.
func (s *Set) Has(g Group, k limiter.Key, expiry limiter.Instant) bool {
	return g != 0 && s.find(s.at(uint32(g)).left, place{expiry, k}) != 0
}

// Take adds a slot to g, of weight ≥ 1; an anonymous one if k is zero. There is
// room, and no slot k.
func (s *Set) Take(g Group, k limiter.Key, expiry limiter.Instant, weight uint32) {
	i := s.record()
	r, head := s.at(i), s.at(uint32(g))
	tree := &head.left
	if k.Lo == 0 {
		s.serial++
		k.Hi, tree = spread(s.serial^head.key.Hi), &head.right
	}
	*r = Record{key: k, expiry: expiry, weight: weight, sum: uint64(weight), count: 1}
	before, after := s.split(*tree, place{expiry, k})
	*tree = s.merge(s.merge(before, i), after)
}

// Release ends the slot k of g, which expires then, and returns its weight; 0
// if g has none.
func (s *Set) Release(g Group, k limiter.Key, expiry limiter.Instant) (weight uint32) {
	if g == 0 {
		return 0
	}
	head := s.at(uint32(g))
	return s.cut(&head.left, place{expiry, k})
}

// cut removes the slot at p from a tree and returns its weight.
func (s *Set) cut(tree *uint32, p place) (weight uint32) {
	i := s.find(*tree, p)
	if i == 0 {
		return 0
	}
	before, rest := s.splitBefore(*tree, p)
	_, after := s.split(rest, p)
	*tree = s.merge(before, after)
	weight = s.at(i).weight
	s.recycle(i)
	return weight
}

// GiveBack ends up to units of g's anonymous slots, those that would expire
// first, and returns how many slots that were.
func (s *Set) GiveBack(g Group, units uint64) (anonymous int64) {
	head := s.at(uint32(g))
	head.right, anonymous = s.lower(head.right, units)
	return anonymous
}

// Undo ends up to units of g's anonymous slots that expire then, and returns how
// many slots that were.
func (s *Set) Undo(g Group, expiry limiter.Instant, units uint32) (anonymous int64) {
	if g == 0 {
		return 0
	}
	head := s.at(uint32(g))
	before, rest := s.splitBefore(head.right, place{expiry: expiry})
	same, after := s.split(rest, place{expiry, limiter.Key{Hi: math.MaxUint64, Lo: math.MaxUint64}})
	same, anonymous = s.lower(same, uint64(units))
	head.right = s.merge(s.merge(before, same), after)
	return anonymous
}

// lower takes units from the first slots of a tree, and returns what is left of
// it and how many slots ended.
func (s *Set) lower(root uint32, units uint64) (rest uint32, ended int64) {
	first, rest := s.splitUnits(root, units)
	units -= s.sum(first)
	ended = int64(s.size(first))
	s.discard(first)
	if rest != 0 && units > 0 { // a part of the first that is left
		s.lighten(rest, uint32(units))
	}
	return rest, ended
}

// When returns the first moment at which g's slots hold at most units, if
// nobody acts: 0 if they do already. units ≥ 0, so there always is one.
func (s *Set) When(g Group, units uint64) limiter.Instant {
	held := s.Held(g)
	if held <= units {
		return 0
	}
	head := s.at(uint32(g))
	need := held - units // must have expired
	return min(s.when(head.left, head.right, need), s.when(head.right, head.left, need))
}

// when returns the expiry of the first slot of tree by which need units of tree
// and other have expired, or Never.
func (s *Set) when(tree, other uint32, need uint64) limiter.Instant {
	best, before := Never, uint64(0)
	for i := tree; i != 0; {
		r := s.at(i)
		upTo := before + s.sum(r.left) + uint64(r.weight)
		// Slots that expire with this one may stand after it: they are found
		// when the search gets to them, or counted here.
		if upTo+s.expiring(other, r.expiry) >= need {
			best, i = min(best, r.expiry), r.left
		} else {
			before, i = upTo, r.right
		}
	}
	return best
}

// expiring returns the units of a tree that expire by t.
func (s *Set) expiring(root uint32, t limiter.Instant) (units uint64) {
	for i := root; i != 0; {
		r := s.at(i)
		if r.expiry <= t {
			units += s.sum(r.left) + uint64(r.weight)
			i = r.right
		} else {
			i = r.left
		}
	}
	return units
}

// A Slot is one slot, copied. Key is zero for an anonymous one.
type Slot struct {
	Key    limiter.Key
	Expiry limiter.Instant
	Weight uint32
}

// A Cursor says how far a walk over a group has come. The zero Cursor is its
// beginning.
type Cursor struct {
	tree int
	at   place
}

// Next returns the slot of g after c and moves c to it; false if there is none.
func (s *Set) Next(g Group, c *Cursor) (Slot, bool) {
	head := s.at(uint32(g))
	for ; c.tree < 2; c.tree, c.at = c.tree+1, (place{}) {
		root := head.left
		if c.tree == 1 {
			root = head.right
		}
		if i := s.after(root, c.at); i != 0 {
			r := s.at(i)
			c.at = place{r.expiry, r.key}
			slot := Slot{r.key, r.expiry, r.weight}
			if c.tree == 1 {
				slot.Key = limiter.Key{}
			}
			return slot, true
		}
	}
	return Slot{}, false
}

// spread is a bijection that looks random (SplitMix64's).
func spread(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
