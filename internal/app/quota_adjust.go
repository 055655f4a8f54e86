package app

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/headgate/headgate/api/admin"
	"github.com/headgate/headgate/cluster/grants"
	"github.com/headgate/headgate/cluster/holdings"
	"github.com/headgate/headgate/internal/audit"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage/ledger"
)

const (
	adjustAction     = "quota_adjust"
	quotaResetAction = "quota_reset"
	// adjustWait is for how long an adjustment waits for the ledger's answer.
	adjustWait = 3 * time.Second
)

// A correction is a change of one counter's amount that an operator asks for.
type correction struct {
	*admin.QuotaCorrection
	by    int64 // units to add; a reset says how many it added
	reset bool  // what is used is waived, and nothing else added
}

// errUnused is why a reset changes nothing.
var errUnused = errors.New("app: all of it remains")

// adjust changes what operators add to the amount of one counter, for its present
// period, and writes that down.
func (v *quotaViews) adjust(who admin.Caller, in *admin.QuotaAdjustment) (*admin.QuotaAdjusted, error) {
	if err := checkAdjustment(in); err != nil {
		return nil, err
	}
	return v.correct(who, &correction{QuotaCorrection: &in.QuotaCorrection, by: in.By})
}

// reset waives what is used of one counter in its present period, so that as much
// remains as if nothing was used, and writes that down.
func (v *quotaViews) reset(who admin.Caller, in *admin.QuotaReset) (*admin.QuotaAdjusted, error) {
	if err := needReason(in.Reason, "a reset"); err != nil {
		return nil, err
	}
	return v.correct(who, &correction{QuotaCorrection: &in.QuotaCorrection, reset: true})
}

func (v *quotaViews) correct(who admin.Caller, in *correction) (*admin.QuotaAdjusted, error) {
	call, err := v.policies.match(&in.CounterSelection, true)
	if err != nil {
		return nil, err
	}
	if n := len(call.Charges()); n > 1 {
		names := make([]string, n)
		for i := range names {
			names[i] = strconv.Quote(call.Charges()[i].Limit.Name)
		}
		return nil, &admin.Refusal{Status: http.StatusConflict, Text: fmt.Sprintf("the attributes reach %d quotas: pick one with limit (--limit): %s", n, strings.Join(names, ", "))}
	}
	ch := &call.Charges()[0]
	c, err := v.commit(ch, in)
	out := &admin.QuotaAdjusted{By: in.by}
	switch {
	case errors.Is(err, errUnused):
		return out, v.show(ch, c, out)
	case err != nil:
		return nil, err
	}
	action := adjustAction
	if in.reset {
		action = quotaResetAction
	}
	out.Warnings = writeDown(v.log, v.audit, &audit.Record{
		Time: v.now().Time().UTC(), Action: action, Domain: in.Domain,
		Detail: fmt.Sprintf("%+d of %.80q, %s from %s: %+d in all, revision %d", in.by, ch.Limit.Name, ch.Key.Fingerprint(),
			time.Unix(c.Window.Start, 0).UTC().Format(time.RFC3339), c.Correction+int64(c.Waived), c.Revision+1),
		Reason: in.Reason, User: who.User, Remote: who.Remote,
	})
	return out, v.show(ch, c, out)
}

func checkAdjustment(in *admin.QuotaAdjustment) error {
	if in.By == 0 || in.By > limiter.AmountMax || in.By < -limiter.AmountMax {
		return badField("by", strconv.FormatInt(in.By, 10), fmt.Sprintf("-%d to %d, and not 0", int64(limiter.AmountMax), int64(limiter.AmountMax)))
	}
	return needReason(in.Reason, "an adjustment")
}

// needReason checks the reason of what is written down with one.
func needReason(reason, what string) error {
	if reason == "" {
		return badField("reason", "", "given: "+what+" is written down with one")
	}
	return checkReason(reason)
}

// commit does what in asks for, and returns the command that the ledger has applied.
func (v *quotaViews) commit(ch *limiter.Charge, in *correction) (quota.Command, error) {
	v.adjusting.Lock()
	defer v.adjusting.Unlock()
	c, driver, err := v.adjustment(ch, in)
	if err != nil {
		return c, err
	}
	return c, propose(driver, c)
}

// adjustment returns the command that in asks for, based on the record as it is, and
// how many units a reset adds. The ledger refuses it if another comes between.
func (v *quotaViews) adjustment(ch *limiter.Charge, in *correction) (c quota.Command, driver *grants.Driver, err error) {
	err = v.quotas.read(func(ledgers ledger.Set, h *holdings.Holdings) error {
		if ledgers == nil {
			return &admin.Refusal{Status: http.StatusConflict, Text: "the policy has changed: ask again"}
		}
		driver = v.quotas.driver
		w, ends, err := windowOf(ch.Limit, v.now())
		if err != nil {
			return err
		}
		c = quota.Command{Op: quota.OpAdjust, Key: ch.Key, Window: w}
		r := v.reader(h)
		r.ledger = ledgers[quota.GroupOf(ch.Key)]
		held, _ := h.Look(ch.Key, w.Start)
		seen, err := r.again(&ledger.Counter{Key: ch.Key, Window: w}, ch.Limit, ends, held)
		if err != nil {
			return err
		}
		if seen.Frozen {
			return frozenRefusal(ends)
		}
		if in.Revision != nil && *in.Revision != seen.Revision {
			return &admin.Refusal{Status: http.StatusConflict, Text: fmt.Sprintf("revision: %d: it is %d: somebody has adjusted it", *in.Revision, seen.Revision)}
		}
		c.Correction, c.Waived, c.Revision = seen.Correct, seen.Waived, seen.Revision
		if in.reset {
			c.Waived = min(seen.Used+seen.Stranded+seen.Beside+seen.Debt, limiter.AmountMax)
			if in.by = int64(c.Waived - seen.Waived); in.by == 0 {
				return errUnused
			}
			return nil
		}
		c.Correction += in.by
		if c.Correction > limiter.AmountMax || c.Correction < -limiter.AmountMax {
			return badField("by", strconv.FormatInt(in.by, 10), fmt.Sprintf("so that all corrections together are within ±%d: they are %d", int64(limiter.AmountMax), seen.Correct))
		}
		return nil
	})
	return c, driver, err
}

// frozenRefusal refuses to correct a quota of which nothing is granted, whatever its amount
// is, until its period ends.
func frozenRefusal(ends int64) error {
	return &admin.Refusal{Status: http.StatusConflict, Text: "its period is frozen, since a backup was restored or a directory adopted: nothing more is granted from it, whatever its amount. The next period begins " +
		time.Unix(ends, 0).UTC().Format(time.RFC3339)}
}

// propose has the ledger apply c, and waits for that.
func propose(driver *grants.Driver, c quota.Command) error {
	answered := make(chan error, 1)
	err := driver.Submit(c, func(_ *quota.Command, r quota.Result, err error) {
		switch {
		case err != nil:
			err = &admin.Refusal{Status: http.StatusServiceUnavailable, Text: fmt.Sprintf("no answer of the ledger: whether it was adjusted is not known: look at its revision, which was %d: %v", c.Revision, err)}
		case r.Code == quota.Conflict:
			err = &admin.Refusal{Status: http.StatusConflict, Text: "somebody else has adjusted it just now: look again"}
		case r.Code != quota.OK:
			err = &admin.Refusal{Status: http.StatusConflict, Text: fmt.Sprintf("the ledger refuses: %v", r.Code)}
		}
		answered <- err
	})
	if err != nil {
		return &admin.Refusal{Status: http.StatusServiceUnavailable, Text: "the ledger takes nothing in: " + err.Error()}
	}
	timer := time.NewTimer(adjustWait)
	defer timer.Stop()
	select {
	case err := <-answered:
		return err
	case <-timer.C:
		return &admin.Refusal{Status: http.StatusServiceUnavailable, Text: fmt.Sprintf("no answer of the ledger in %s: whether it was adjusted is not known: look at its revision, which was %d", adjustWait, c.Revision)}
	}
}

// show says in out what has become of the counter.
func (v *quotaViews) show(ch *limiter.Charge, c quota.Command, out *admin.QuotaAdjusted) error {
	return v.quotas.read(func(ledgers ledger.Set, h *holdings.Holdings) (err error) {
		if ledgers == nil {
			return &admin.Refusal{Status: http.StatusServiceUnavailable, Text: "the node is stopping: it was adjusted"}
		}
		r := v.reader(h)
		r.ledger = ledgers[quota.GroupOf(ch.Key)]
		_, ends, err := windowOf(ch.Limit, limiter.Instant(c.Window.Start)*limiter.Instant(time.Second))
		if err != nil {
			return err
		}
		held, _ := h.Look(ch.Key, c.Window.Start)
		out.Quota, err = r.again(&ledger.Counter{Key: ch.Key, Window: c.Window}, ch.Limit, ends, held)
		return err
	})
}
