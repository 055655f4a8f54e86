package app

import (
	"fmt"
	"net/http"

	"github.com/headgate/headgate/api/admin"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// match returns what looks at the counters that a call with the attributes would
// charge, whatever the domain's mode: of the quotas, or of the limits that count in
// memory. None is a refusal.
func (p *policies) match(sel *admin.CounterSelection, quotas bool) (*limiter.Call, error) {
	var r policy.Request
	var call limiter.Call
	r.Domain = []byte(sel.Domain)
	r.AddDescriptor().Op = limiter.OpPeek
	for _, a := range sel.Attributes {
		r.AddEntry([]byte(a.Key), []byte(a.Value)) // there is room: admin.AttributesMax
	}
	switch p.current.Load().WithModes(nil).Match(&r, &call) {
	case policy.Matched:
	case policy.TooManyCharges:
		return nil, &admin.Refusal{Status: http.StatusConflict, Text: fmt.Sprintf("the attributes reach more than %d limits", limiter.ChargesMax)}
	default:
		return nil, &admin.Refusal{Status: http.StatusNotFound, Text: fmt.Sprintf("no policy has the domain %q", sel.Domain)}
	}
	for i := len(call.Charges()) - 1; i >= 0; i-- {
		l := call.Charges()[i].Limit
		if l.Kind == limiter.KindUnlimited || (l.Kind == limiter.KindQuota) != quotas || sel.Limit != "" && l.Name != sel.Limit {
			call.Remove(i)
		}
	}
	if len(call.Charges()) == 0 {
		which, that := "no limit", "that counts in memory"
		if sel.Limit != "" {
			which = fmt.Sprintf("no limit %q", sel.Limit)
		}
		if quotas {
			that = "that is a quota"
		}
		return nil, &admin.Refusal{Status: http.StatusNotFound, Text: fmt.Sprintf("%s of %q %s applies to these attributes", which, sel.Domain, that)}
	}
	return &call, nil
}
