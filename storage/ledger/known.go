package ledger

import "github.com/headgate/headgate/limiter/quota"

// knownMax bounds the requests that a known has: beyond quota.RequestsMax, to which a
// leader holds, are those that were under way when it was reached.
const knownMax = 2 * quota.RequestsMax

// knownSlotsMin is how many slots a known has that has any.
const knownSlotsMin = 64

// A known tells that a request has no record, without a look into the database: almost
// every one is new. It has a hash of each that has one, in open addressing: of 8 bytes, in at
// least twice as many slots, at most 16 times after fitted. It may be wrong only about one that it has.
// The zero known is that of no request.
type known struct {
	slots []uint64 // a power of two of them, or none; 0: free
	n     int
	lost  bool // there were more than knownMax: nothing is told any more
}

// hash returns what a known has of a request; it is not 0.
func (n *requestName) hash() uint64 {
	h := n.id.Lo ^ n.id.Hi*0x9e3779b97f4a7c15 ^ n.pool.key.Lo*0xbf58476d1ce4e5b9 ^ uint64(n.pool.window.Start)*0x94d049bb133111eb
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return max(1, h^h>>31)
}

// has returns false if there is no record of a request with the hash.
func (k *known) has(h uint64) bool {
	if k.lost {
		return true
	}
	if k.n == 0 {
		return false
	}
	_, found := k.find(h)
	return found
}

// find returns the slot of h, or that where it would be.
func (k *known) find(h uint64) (i int, found bool) {
	for i = k.home(h); k.slots[i] != 0; i = k.next(i) {
		if k.slots[i] == h {
			return i, true
		}
	}
	return i, false
}

func (k *known) home(h uint64) int { return int(h & uint64(len(k.slots)-1)) }
func (k *known) next(i int) int    { return (i + 1) & (len(k.slots) - 1) }

// add adds a request that it does not have.
func (k *known) add(h uint64) {
	switch {
	case k.lost:
		return
	case k.n == knownMax:
		*k = known{lost: true}
		return
	case 2*(k.n+1) > len(k.slots):
		k.slots = k.fitted(1)
	}
	k.insert(h)
	k.n++
}

// insert puts h behind those that are there, also if it equals one: requests may share it.
func (k *known) insert(h uint64) {
	i := k.home(h)
	for k.slots[i] != 0 {
		i = k.next(i)
	}
	k.slots[i] = h
}

// remove removes a request that it has.
func (k *known) remove(h uint64) {
	if k.n == 0 {
		return
	}
	hole, found := k.find(h)
	if !found {
		return
	}
	k.n--
	// What stands behind moves up, unless its search begins behind the hole.
	for i := k.next(hole); k.slots[i] != 0; i = k.next(i) {
		mask := len(k.slots) - 1
		if (i-k.home(k.slots[i]))&mask >= (i-hole)&mask {
			k.slots[hole], hole = k.slots[i], i
		}
	}
	k.slots[hole] = 0
}

// fitted returns slots with what k has and room for more, nil if those of k are right.
// It changes nothing: a million take some 10 ms, in which others may read k.
func (k *known) fitted(more int) []uint64 {
	n, size := min(k.n+more, knownMax), len(k.slots)
	for size > knownSlotsMin && 16*n < size {
		size /= 4
	}
	size = max(size, knownSlotsMin)
	for size < 2*n {
		size *= 2
	}
	if k.lost || size == len(k.slots) || n == 0 && k.slots == nil {
		return nil
	}
	to := known{slots: make([]uint64, size)}
	for _, h := range k.slots {
		if h != 0 {
			to.insert(h)
		}
	}
	return to.slots
}
