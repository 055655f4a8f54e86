package admin

import (
	"net/http"
	"strconv"
	"time"
)

// auditMax is how many records GET /v1/audit returns at most, and without a
// number.
const (
	auditMax     = 10_000
	auditDefault = 100
)

// A ModeChange is the body of POST /v1/mode.
type ModeChange struct {
	Domain string `json:"domain"`
	Mode   string `json:"mode"`             // enforce, shadow or off
	For    string `json:"for,omitempty"`    // a duration after which it is enforced again; "": none
	Reason string `json:"reason,omitempty"` // for the audit log
}

// A ModeChanged is what became of a ModeChange: it is in force.
type ModeChanged struct {
	Domain   string     `json:"domain"`
	From     string     `json:"from"`
	To       string     `json:"to"`
	Until    *time.Time `json:"until,omitempty"`
	Warnings []string   `json:"warnings,omitempty"` // it could not be written down
}

// Modes lists the domains that are not enforced, by name.
type Modes struct {
	Domains []DomainMode `json:"domains"`
}

// A DomainMode is a domain that is not enforced.
type DomainMode struct {
	Domain   string     `json:"domain"`
	Mode     string     `json:"mode"` // shadow or off
	Since    time.Time  `json:"since"`
	Until    *time.Time `json:"until,omitempty"`
	Reason   string     `json:"reason,omitempty"`
	User     string     `json:"user,omitempty"`
	Remote   string     `json:"remote,omitempty"`
	NoPolicy bool       `json:"no_policy,omitempty"` // the policy in force does not have it
}

// Audit is what GET /v1/audit answers, newest first.
type Audit struct {
	Records []AuditRecord `json:"records"`
}

// An AuditRecord is a change that somebody made, or the node itself if Remote is
// empty.
type AuditRecord struct {
	Time   time.Time  `json:"time"`
	Action string     `json:"action"` // mode, counter_reset, quota_adjust
	Domain string     `json:"domain,omitempty"`
	From   string     `json:"from,omitempty"`
	To     string     `json:"to,omitempty"`
	Until  *time.Time `json:"until,omitempty"`
	Reason string     `json:"reason,omitempty"`
	User   string     `json:"user,omitempty"` // as the caller says; nobody checked it
	Remote string     `json:"remote,omitempty"`
	Detail string     `json:"detail,omitempty"`
}

// audit answers GET /v1/audit?n=100.
func (s *Sources) audit(w http.ResponseWriter, r *http.Request) {
	n := auditDefault
	if text := r.URL.Query().Get("n"); text != "" {
		v, err := strconv.Atoi(text)
		if err != nil || v < 1 || v > auditMax {
			answerError(w, refuse(http.StatusBadRequest, "n: %q: must be 1 to %d", text, auditMax))
			return
		}
		n = v
	}
	records, err := s.Audit(n)
	if err != nil {
		answerError(w, err)
		return
	}
	answer(w, Audit{records})
}
