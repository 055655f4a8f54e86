package rest

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/limiter"
)

// forwardPath is followed by the domain and then, for gateways that append it, by
// the path that the client asked for.
const forwardPath = "/v1/forward-auth"

// Header fields by which a trusted proxy says what to decide. A descriptor or a
// list of attributes is `key=value,key=value`, percent-encoded where a key or a
// value has a comma, an equals sign or a percent sign.
const (
	domainField     = "X-Ratelimit-Domain"
	attributesField = "X-Ratelimit-Attributes"
	descriptorField = "X-Ratelimit-Descriptor"
	costField       = "X-Ratelimit-Cost"
	denyField       = "X-Ratelimit-Deny-Status"
)

// An original is the request that a gateway asks about.
type original struct {
	domain string

	address, method, scheme, host, path string

	trusted    bool // who asks may say what is asked about
	denyStatus int
}

// forwardAuth answers whether another request may pass: 200, or the deny status.
// The call's own method, query and body mean nothing.
func (h *Handler) forwardAuth(w http.ResponseWriter, r *http.Request) {
	o, err := h.original(r)
	if err != nil {
		h.refuse(w, err)
		return
	}
	x := h.Desk.Open()
	if err = h.describe(x, r, &o); err == nil {
		x = h.decideAt(r.Context(), x, h.isBehind())
		err = x.Fault()
	}
	h.forward(w, x, &o, err)
	h.Desk.Close(x) // not in a defer, see decide
}

// forward writes what came of o: the decision that x holds, or err.
func (h *Handler) forward(w http.ResponseWriter, x *api.Exchange, o *original, err error) {
	if err != nil {
		h.refuse(w, err)
		return
	}
	setFields(w.Header(), x)
	if v, _ := x.Verdict(); v == limiter.Denied {
		denial(x, o.denyStatus).write(w)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

// first returns the first of r's header fields that is there and not empty.
func first(r *http.Request, names ...string) string {
	for _, name := range names {
		if v := r.Header.Get(name); v != "" {
			return v
		}
	}
	return ""
}

// original finds out what is asked about. Of a caller that is no trusted proxy the
// header fields are not believed: it asks for itself.
func (h *Handler) original(r *http.Request) (original, error) {
	domain, rest := forwarded(r)
	o := original{
		domain: domain, method: r.Method, scheme: "http", host: r.Host, path: rest, denyStatus: h.DenyStatus,
	}
	if r.TLS != nil {
		o.scheme = "https"
	}
	if o.address, o.trusted = h.client(r); !o.trusted {
		return o, needDomain(&o)
	}
	set := func(to *string, names ...string) {
		if v := first(r, names...); v != "" {
			*to = v
		}
	}
	set(&o.domain, domainField)
	set(&o.method, "X-Forwarded-Method", "X-Original-Method", "X-Envoy-Original-Method")
	set(&o.host, "X-Forwarded-Host")
	set(&o.scheme, "X-Forwarded-Proto")
	set(&o.path, "X-Forwarded-Uri", "X-Original-Uri", "X-Original-Url", "X-Envoy-Original-Path")
	o.path = pathOf(o.path)
	if v := r.Header.Get(denyField); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 400 || n > 599 {
			return o, &api.Fault{Reason: api.OutOfBounds, Field: denyField, Value: api.Quote([]byte(v)), Bound: "must be 400 to 599"}
		}
		o.denyStatus = n
	}
	return o, needDomain(&o)
}

func needDomain(o *original) error {
	if o.domain != "" {
		return nil
	}
	return &api.Fault{
		Reason: api.Malformed, Field: "domain",
		Bound: "is missing: " + forwardPath + "/DOMAIN, or the header " + domainField + " of a trusted proxy",
	}
}

// forwarded returns the domain in the path of r and the rest behind it, "/" if
// there is none. The rest is as the client spelt it.
func forwarded(r *http.Request) (domain, rest string) {
	tail := strings.TrimPrefix(strings.TrimPrefix(r.URL.EscapedPath(), forwardPath), "/")
	domain, rest, _ = strings.Cut(tail, "/")
	if d, err := url.PathUnescape(domain); err == nil {
		domain = d
	}
	return domain, "/" + rest
}

// pathOf returns the path of a request's target, which may be a whole URL, without
// its query.
func pathOf(target string) string {
	if _, after, ok := strings.Cut(target, "://"); ok && !strings.HasPrefix(target, "/") {
		slash := strings.IndexAny(after, "/?")
		if slash < 0 || after[slash] == '?' {
			return "/"
		}
		target = after[slash:]
	}
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	return target
}

// describe fills the request of x: one descriptor with what is known of the
// original and the attributes that the proxy adds, then one for each descriptor
// that it sends.
func (h *Handler) describe(x *api.Exchange, r *http.Request, o *original) error {
	d := describer{bounds: &h.Bounds, x: x, cost: 1}
	if len(o.domain) > h.Bounds.KeyBytes {
		return api.TooLong("domain", len(o.domain), h.Bounds.KeyBytes)
	}
	x.Req.Domain = []byte(o.domain)
	if v := r.Header.Get(costField); o.trusted && v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil || n > limiter.CostMax {
			return &api.Fault{Reason: api.OutOfBounds, Field: costField, Value: api.Quote([]byte(v)), Bound: "must be 0 to 2^55"}
		}
		d.cost = n
	}
	d.descriptor()
	for _, e := range [...][2]string{
		{"remote_address", o.address},
		{"method", o.method},
		{"scheme", o.scheme},
		{"host", o.host},
		{"path", o.path},
	} {
		d.entry(e[0], e[0], e[1])
	}
	if o.trusted {
		for _, list := range r.Header.Values(attributesField) {
			d.list(attributesField, list)
		}
		for _, list := range r.Header.Values(descriptorField) {
			d.descriptor()
			d.list(descriptorField, list)
		}
	}
	return d.err
}

// A describer adds descriptors to a request until the first fault.
type describer struct {
	bounds  *api.Bounds
	x       *api.Exchange
	cost    uint64
	entries int
	err     error
}

func (d *describer) descriptor() {
	if d.err != nil {
		return
	}
	if n := len(d.x.Req.Descriptors()); n >= d.bounds.Descriptors {
		d.err = api.TooMany(descriptorField, n+1, d.bounds.Descriptors)
		return
	}
	to := d.x.Req.AddDescriptor()
	to.Cost = d.cost
	if d.cost == 0 {
		to.Op = limiter.OpPeek
	}
}

// entry adds one entry; field names it in a fault.
func (d *describer) entry(field, key, value string) {
	switch {
	case d.err != nil:
	case key == "":
		d.err = &api.Fault{Reason: api.Malformed, Field: field, Bound: "a key is empty"}
	case len(key) > d.bounds.KeyBytes:
		d.err = api.TooLong(field+": a key", len(key), d.bounds.KeyBytes)
	case len(value) > d.bounds.ValueBytes:
		d.err = api.TooLong(field+": the value of "+key, len(value), d.bounds.ValueBytes)
	case d.entries == d.bounds.Entries:
		d.err = api.TooMany("entries", d.entries+1, d.bounds.Entries)
	default:
		d.entries++
		d.x.Req.AddEntry([]byte(key), []byte(value))
	}
}

// list adds the entries of `key=value,key=value`; an empty text has none.
func (d *describer) list(field, text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		k, err := url.PathUnescape(key)
		v, err2 := url.PathUnescape(value)
		if !ok || err != nil || err2 != nil {
			if d.err == nil {
				d.err = &api.Fault{
					Reason: api.Malformed, Field: field, Value: api.Quote([]byte(pair)),
					Bound: "must be key=value, percent-encoded where it has a comma, = or %",
				}
			}
			return
		}
		d.entry(field, k, v)
	}
}
