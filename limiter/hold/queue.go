package hold

import "container/heap"

// A queue is a heap of records, the one that is due first at its top. Each knows its
// place.
type queue []*record

func (q *queue) add(r *record) { heap.Push(q, r) }

// remove takes r out, if it is in.
func (q *queue) remove(r *record) {
	if r.place >= 0 {
		heap.Remove(q, r.place)
	}
}

// Len implements heap.Interface.
func (q queue) Len() int { return len(q) }

// Less implements heap.Interface.
func (q queue) Less(i, j int) bool { return q[i].when < q[j].when }

// Swap implements heap.Interface.
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	r, _ := x.(*record) // only add pushes
	r.place = len(*q)
	*q = append(*q, r)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	r := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	r.place = -1
	return r
}
