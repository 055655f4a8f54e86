package slots

import "github.com/headgate/headgate/limiter"

// A treap is a search tree by place whose shape is that of a heap by priority.
// The priority of a slot is a part of its key, which is a keyed hash: nobody can
// make a deep tree by choosing ids. Depth is expected to be below 3·log₂ n.

// A place is where a slot stands in its tree.
type place struct {
	expiry limiter.Instant
	key    limiter.Key
}

// before reports whether p comes before q.
func (p place) before(q place) bool {
	switch {
	case p.expiry != q.expiry:
		return p.expiry < q.expiry
	case p.key.Hi != q.key.Hi:
		return p.key.Hi < q.key.Hi
	default:
		return p.key.Lo < q.key.Lo
	}
}

func (r *Record) place() place { return place{r.expiry, r.key} }

// priority mixes Hi, by which slots of one expiry are ordered.
func (r *Record) priority() uint64 { return spread(r.key.Hi ^ r.key.Lo) }

// sum returns the units of a tree, size its slots.
func (s *Set) sum(root uint32) uint64 {
	if root == 0 {
		return 0
	}
	return s.at(root).sum
}

func (s *Set) size(root uint32) uint32 {
	if root == 0 {
		return 0
	}
	return s.at(root).count
}

// total makes sum and count of r what its subtrees' say.
func (s *Set) total(r *Record) {
	r.sum = s.sum(r.left) + s.sum(r.right) + uint64(r.weight)
	r.count = s.size(r.left) + s.size(r.right) + 1
}

// split cuts a tree in two: up to p, p included, and after it.
func (s *Set) split(root uint32, p place) (upTo, after uint32) {
	if root == 0 {
		return 0, 0
	}
	r := s.at(root)
	if p.before(r.place()) {
		upTo, r.left = s.split(r.left, p)
		after = root
	} else {
		r.right, after = s.split(r.right, p)
		upTo = root
	}
	s.total(r)
	return upTo, after
}

// splitBefore cuts a tree in two: before p, and from p on.
func (s *Set) splitBefore(root uint32, p place) (before, from uint32) {
	if root == 0 {
		return 0, 0
	}
	r := s.at(root)
	if r.place().before(p) {
		r.right, from = s.splitBefore(r.right, p)
		before = root
	} else {
		before, r.left = s.splitBefore(r.left, p)
		from = root
	}
	s.total(r)
	return before, from
}

// splitUnits cuts a tree in two: the first slots that have at most so many units
// together, and the others.
func (s *Set) splitUnits(root uint32, units uint64) (first, rest uint32) {
	if root == 0 {
		return 0, 0
	}
	r := s.at(root)
	if upTo := s.sum(r.left) + uint64(r.weight); upTo <= units {
		r.right, rest = s.splitUnits(r.right, units-upTo)
		first = root
	} else {
		first, r.left = s.splitUnits(r.left, units)
		rest = root
	}
	s.total(r)
	return first, rest
}

// merge joins two trees, all of a before all of b.
func (s *Set) merge(a, b uint32) uint32 {
	switch {
	case a == 0:
		return b
	case b == 0:
		return a
	}
	ra, rb := s.at(a), s.at(b)
	if ra.priority() > rb.priority() {
		ra.right = s.merge(ra.right, b)
		s.total(ra)
		return a
	}
	rb.left = s.merge(a, rb.left)
	s.total(rb)
	return b
}

// find returns the slot at p, or 0.
func (s *Set) find(root uint32, p place) uint32 {
	for i := root; i != 0; {
		r := s.at(i)
		switch at := r.place(); {
		case at == p:
			return i
		case p.before(at):
			i = r.left
		default:
			i = r.right
		}
	}
	return 0
}

// after returns the first slot after p, or 0.
func (s *Set) after(root uint32, p place) (found uint32) {
	for i := root; i != 0; {
		r := s.at(i)
		if p.before(r.place()) {
			found, i = i, r.left
		} else {
			i = r.right
		}
	}
	return found
}

// first returns the first slot of a tree, or 0; last when the last one expires.
func (s *Set) first(root uint32) (i uint32) {
	for ; root != 0; root = s.at(root).left {
		i = root
	}
	return i
}

func (s *Set) last(root uint32) (expiry limiter.Instant) {
	for ; root != 0; root = s.at(root).right {
		expiry = s.at(root).expiry
	}
	return expiry
}

// lighten takes units from the first slot of a tree, which has more.
func (s *Set) lighten(root, units uint32) {
	for i := root; i != 0; {
		r := s.at(i)
		r.sum -= uint64(units)
		if r.left == 0 {
			r.weight -= units
			return
		}
		i = r.left
	}
}
