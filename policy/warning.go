package policy

import (
	"strconv"

	"github.com/headgate/headgate/limiter"
)

// Warnings returns what is right in documents that Parse returned, and may
// surprise: what a limit does not do behind some doors.
func Warnings(docs []*Document) Problems {
	var rep report
	for _, doc := range docs {
		for i := range doc.Rules {
			rule := &doc.Rules[i]
			for j := range rule.Terms {
				at := place{i, j}
				if key, w, ok := warning(&rule.Terms[j]); ok {
					w.Position, w.Path = rule.Terms[j].at, at.path(rule)+"."+key
					rep.add(w)
				}
			}
		}
	}
	return rep.result()
}

// warning returns what may surprise of a limit, and the key that says it.
func warning(t *Term) (key string, w Problem, ok bool) {
	switch {
	case t.Kind == limiter.KindConcurrency:
		return "concurrency", Problem{
			Message: "callers without an id (RLS, HTTP, forward-auth, ext_authz) hold an anonymous slot, which only a give-back or its lifetime releases",
		}, true
	case t.Kind == limiter.KindPace && !t.Shadow:
		return "pace", Problem{
			Value: strconv.FormatUint(t.Amount, 10) + "/" + formatEvery(t.Every),
			Message: "only callers who wait by themselves (native gRPC, POST /v1/check with can_wait) do so for up to " + formatEvery(t.MaxWait) +
				"; behind a gateway the answer is held for at most 7/8 of grpc.decide_timeout, and a longer wait is a denial",
		}, true
	}
	return "", Problem{}, false
}
