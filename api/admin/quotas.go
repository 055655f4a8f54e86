package admin

import (
	"net/http"
	"time"
)

// A QuotasQuery is what GET /v1/quotas?domain=D&limit=L&key=K&n=100&cursor=C asks.
type QuotasQuery struct {
	CountersQuery        // Domain and Limit: only of counters that the node can name
	Key           string // only the counter with this fingerprint; "": any
}

// Quotas are some of the periods of counters of quotas that a node has records of.
type Quotas struct {
	Quotas []Quota `json:"quotas"`
	Cursor string  `json:"cursor,omitempty"` // asks for the next page; "": this is the last one
}

// A Quota is a counter of a quota in one period, as far as this node knows. Unless it
// is frozen,
//
//	Remaining = max(Held, Amount - Used - Stranded - Beside - Debt)
//
// Of one that is frozen, Remaining = Held. The difference is below Held where more was taken
// than the amount: as debt, or since it was lowered.
type Quota struct {
	// Domain and Limit are "" if nobody has asked for the counter since the node
	// started, or the policy has no such quota any more: a record has no name. Of counters
	// of which nothing is held the node remembers the names of 262,144.
	Domain string `json:"domain,omitempty"`
	Limit  string `json:"limit,omitempty"`
	Mode   string `json:"mode,omitempty"`   // escrow or exact, as the policy says now; "": as Domain and Limit
	Shadow bool   `json:"shadow,omitempty"` // evaluated, not enforced
	Key    string `json:"key"`

	From     time.Time  `json:"from"`                // when the period began
	ResetsAt *time.Time `json:"resets_at,omitempty"` // when it ends by the calendar; nil: as Domain and Limit
	// SubWindows is of a quota that rolls: what is shown is one sub-window, and the
	// amount is for so many before it as well.
	SubWindows uint8 `json:"sub_windows,omitempty"`

	Amount    uint64     `json:"amount"`                 // in force, with Correct and Waived
	Used      uint64     `json:"used"`                   // spent, or set aside by open reservations; or held by another node
	Stranded  uint64     `json:"stranded"`               // counts as spent, though nobody told to have spent it: a process that held it was lost
	Exact     uint64     `json:"exact,omitempty"`        // what of Used exact mode has charged, and holds
	Beside    uint64     `json:"used_beside,omitempty"`  // what other sub-windows take of the amount
	Held      uint64     `json:"held"`                   // granted to this node and not spent yet
	Debt      uint64     `json:"debt"`                   // post-paid use that did not fit
	Remaining uint64     `json:"remaining"`              // what could still be charged: ungranted, and Held
	Frozen    bool       `json:"frozen,omitempty"`       // nothing is granted from it any more, since a backup was restored: only Held remains
	Correct   int64      `json:"correction,omitempty"`   // what operators added to the amount
	Waived    uint64     `json:"waived,omitempty"`       // use that a reset has waived: as much was added to the amount
	Revision  uint64     `json:"revision,omitempty"`     // how often operators adjusted or reset it
	Exhausted *time.Time `json:"exhausted_at,omitempty"` // when nothing remains, at this period's mean rate; nil: not in this period
}

// listQuotas answers GET /v1/quotas.
func (s *Sources) listQuotas(w http.ResponseWriter, r *http.Request) {
	answerOf(w, func() (any, error) {
		q := &QuotasQuery{CountersQuery: CountersQuery{N: CountersDefault}}
		parameters := pageParameters(&q.CountersQuery)
		parameters["key"] = func(s string) error {
			q.Key = s
			return checkFingerprint(s)
		}
		if err := readQuery(r.URL.Query(), parameters, nil); err != nil {
			return nil, err
		}
		return s.Quotas(q)
	})
}

// getQuota answers GET /v1/quota?domain=D&attribute=KEY=VALUE&attribute=…&limit=L.
func (s *Sources) getQuota(w http.ResponseWriter, r *http.Request) {
	answerOf(w, func() (any, error) {
		sel, err := selection(r.URL.Query())
		if err != nil {
			return nil, err
		}
		if sel.Key != "" {
			return nil, refuse(http.StatusBadRequest, "key: a fingerprint is looked for with /v1/quotas")
		}
		return s.Quota(sel)
	})
}

// A QuotaCorrection is what the requests share that correct the amount of one counter for
// its present period. Its Domain, Attributes and Limit reach one quota; a fingerprint
// can't be given.
type QuotaCorrection struct {
	CounterSelection
	Revision *uint64 `json:"revision,omitempty"` // refused if the counter has another; nil: any
	Reason   string  `json:"reason"`             // for the audit log
}

// A QuotaAdjustment is the body of POST /v1/quotas/adjust.
type QuotaAdjustment struct {
	QuotaCorrection
	By int64 `json:"by"` // units to add to the amount of the present period; not 0
}

// A QuotaReset is the body of POST /v1/quotas/reset: what is used is waived, so that
// all of the amount remains.
type QuotaReset struct{ QuotaCorrection }

// A QuotaAdjusted is the counter after a QuotaAdjustment or a QuotaReset.
type QuotaAdjusted struct {
	By       int64    `json:"by"` // units that were added; 0 of a reset: all of the amount remained
	Quota    Quota    `json:"quota"`
	Warnings []string `json:"warnings,omitempty"` // it could not be written down
}

// adjustQuota serves POST /v1/quotas/adjust.
func (s *Sources) adjustQuota(who Caller, in *QuotaAdjustment) (any, error) {
	if err := in.checkText(); err != nil {
		return nil, err
	}
	return s.AdjustQuota(who, in)
}

// resetQuota serves POST /v1/quotas/reset.
func (s *Sources) resetQuota(who Caller, in *QuotaReset) (any, error) {
	if err := in.checkText(); err != nil {
		return nil, err
	}
	return s.ResetQuota(who, in)
}

// checkText is check where a fingerprint is not enough.
func (sel *CounterSelection) checkText() error {
	if sel.Key != "" {
		return refuse(http.StatusBadRequest, "key: give a domain and attributes")
	}
	return sel.check()
}
