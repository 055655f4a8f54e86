package ledger

// knownSlotsMin is how many slots a known has that has any.
const knownSlotsMin = 64

// A known tells that a request has no record, without a look into the database: almost
// every one is new; and of one that has, where. It has a hash of each that has one, in open
// addressing: of 8 bytes, and 8 that say where, in at least twice as many slots, at most 16
// times after fitted. It may be wrong only about one that it has: others may have the same
// hash. It is as large as the requests are that are remembered: leaders hold to
// quota.RequestsMax, beyond which are those that were under way when it was reached.
// The zero known is that of no request.
type known struct {
	slots []place // a power of two of them, or none
	n     int
}

// A place is where the record of a request is. The zero place is a free slot.
type place struct {
	hash  uint64
	block uint64 // its number; 0: the request has its own record
}

// hash returns what a known has of a request; it is not 0.
func (n *requestName) hash() uint64 {
	h := n.id.Lo ^ n.id.Hi*0x9e3779b97f4a7c15 ^ n.pool.key.Lo*0xbf58476d1ce4e5b9 ^ uint64(n.pool.window.Start)*0x94d049bb133111eb
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return max(1, h^h>>31)
}

// of returns where requests with the hash may have their records: in blocks before those
// of their own. It is nil if none has one.
func (k *known) of(h uint64) (places []place) {
	if k.n == 0 {
		return nil
	}
	own := false
	for i := k.home(h); k.slots[i].hash != 0; i = k.next(i) {
		switch p := k.slots[i]; {
		case p.hash != h:
		case p.block == 0:
			own = true
		default:
			places = append(places, p)
		}
	}
	if own {
		places = append(places, place{hash: h})
	}
	return places
}

func (k *known) home(h uint64) int { return int(h & uint64(len(k.slots)-1)) }
func (k *known) next(i int) int    { return (i + 1) & (len(k.slots) - 1) }

// add adds where the record of a request is that it does not have.
func (k *known) add(p place) {
	if 2*(k.n+1) > len(k.slots) {
		k.slots = k.fitted(1)
	}
	k.insert(p)
	k.n++
}

// insert puts p behind those that are there, also if it equals one: requests may share a hash.
func (k *known) insert(p place) {
	i := k.home(p.hash)
	for k.slots[i].hash != 0 {
		i = k.next(i)
	}
	k.slots[i] = p
}

// remove removes one that it has.
func (k *known) remove(p place) {
	if k.n == 0 {
		return
	}
	hole := k.home(p.hash)
	for ; k.slots[hole] != p; hole = k.next(hole) {
		if k.slots[hole].hash == 0 {
			return
		}
	}
	k.n--
	// What stands behind moves up, unless its search begins behind the hole.
	for i := k.next(hole); k.slots[i].hash != 0; i = k.next(i) {
		mask := len(k.slots) - 1
		if (i-k.home(k.slots[i].hash))&mask >= (i-hole)&mask {
			k.slots[hole], hole = k.slots[i], i
		}
	}
	k.slots[hole] = place{}
}

// fitted returns slots with what k has and room for more, nil if those of k are right.
// It changes nothing: a million take some 10 ms, in which others may read k.
func (k *known) fitted(more int) []place {
	n, size := k.n+more, len(k.slots)
	for size > knownSlotsMin && 16*n < size {
		size /= 4
	}
	size = max(size, knownSlotsMin)
	for size < 2*n {
		size *= 2
	}
	if size == len(k.slots) || n == 0 && k.slots == nil {
		return nil
	}
	to := known{slots: make([]place, size)}
	for _, p := range k.slots {
		if p.hash != 0 {
			to.insert(p)
		}
	}
	return to.slots
}
