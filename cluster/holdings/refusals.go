package holdings

import (
	"sync"

	"github.com/headgate/headgate/limiter/quota"
)

// refusals are commands that the ledger did not take in. Their counters are told by
// a goroutine that runs while there are any: who proposed one may be a door that is
// deciding, and holds a lock which finishing a call takes. A counter has at most one
// command of each kind under way, which bounds the list.
type refusals struct {
	mu      sync.Mutex // guards what follows; held for moments only
	list    []refusal
	telling bool
}

type refusal struct {
	command quota.Command
	err     error
}

// refuse has the counter of c told that the ledger did not take it in.
func (h *Holdings) refuse(c quota.Command, err error) {
	r := &h.refusals
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, refusal{c, err})
	if !r.telling {
		r.telling = true
		go h.tellRefusals()
	}
}

func (h *Holdings) tellRefusals() {
	for list := h.refusals.take(); len(list) > 0; list = h.refusals.take() {
		for i := range list {
			h.answered(&list[i].command, quota.Result{}, list[i].err)
		}
	}
}

func (r *refusals) take() []refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.list
	r.list, r.telling = nil, len(list) > 0
	return list
}
