package decision

import (
	"strconv"

	"github.com/headgate/headgate/api"
	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/limiter"
)

// fill puts req into x, which is empty: one descriptor with an entry for each
// attribute. Its error is a *api.Fault.
func fill(x *api.Exchange, req *headgatev1.CheckRequest, bounds *api.Bounds) error {
	attributes := req.GetAttributes()
	switch domain := req.GetDomain(); {
	case domain == "":
		return &api.Fault{Reason: api.Malformed, Field: "domain", Bound: "must not be empty"}
	case len(domain) > bounds.KeyBytes:
		return api.TooLong("domain", len(domain), bounds.KeyBytes)
	case len(attributes) > bounds.Entries:
		return api.TooMany("attributes", len(attributes), bounds.Entries)
	case req.GetCost() > limiter.CostMax:
		return &api.Fault{
			Reason: api.OutOfBounds, Field: "cost",
			Value: strconv.FormatUint(req.GetCost(), 10), Bound: "at most " + strconv.FormatUint(limiter.CostMax, 10),
		}
	}
	x.Req.Domain = copyIn(x, req.GetDomain())
	d := x.Req.AddDescriptor()
	for i, a := range attributes {
		switch key, value := a.GetKey(), a.GetValue(); {
		case key == "":
			return &api.Fault{Reason: api.Malformed, Field: attribute(i) + ".key", Bound: "must not be empty"}
		case len(key) > bounds.KeyBytes:
			return api.TooLong(attribute(i)+".key", len(key), bounds.KeyBytes)
		case len(value) > bounds.ValueBytes:
			return api.TooLong(attribute(i)+".value", len(value), bounds.ValueBytes)
		default:
			x.Req.AddEntry(copyIn(x, key), copyIn(x, value)) // there is room: Bounds.Entries was checked
		}
	}
	if req.Cost != nil {
		d.Cost = req.GetCost()
	}
	switch {
	case d.Cost == 0:
		d.Op = limiter.OpPeek // giving nothing back is a look, too
	case req.GetGiveBack():
		d.Op = limiter.OpGiveBack
	}
	return nil
}

func attribute(i int) string { return "attributes[" + strconv.Itoa(i) + "]" }

// copyIn returns s as bytes that live as long as x. A buffer that In outgrew
// lives on in what was cut from it.
func copyIn(x *api.Exchange, s string) []byte {
	n := len(x.In)
	x.In = append(x.In, s...)
	return x.In[n:len(x.In):len(x.In)]
}
