package authz

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
)

// A pair is an entry of a map.
type pair struct{ key, value []byte }

// The members of an AttributeContext that become attributes, in their order.
const (
	remoteAddress = iota
	method
	scheme
	host
	path
	principal
	members
)

// Context extensions that are not attributes.
const (
	extDomain  = "domain"
	extCost    = "cost"
	extDeny    = "deny_status"
	extHeaders = "headers"
)

// Decode reads the CheckRequest b into x, whose request is empty: one descriptor
// with what Envoy knows of the call, the context extensions and the header fields
// that these choose. x keeps slices of b; the status of a denial is in x.Errand. What
// proto.Unmarshal accepts, Decode takes to mean the same; in parts that mean nothing
// here it also accepts more. The error, a *api.Fault, allocates; nothing else does.
func (s *Service) Decode(b []byte, x *api.Exchange) error {
	x.Errand.Flags = denyDefault
	if len(b) > s.Bounds.MessageBytes {
		return api.TooLong("message", len(b), s.Bounds.MessageBytes)
	}
	d := decoder{s: s, x: x}
	if !d.walk(b, inMessage) {
		return api.NotProto("message")
	}
	if d.n > ExtensionsMax {
		return api.TooMany("context_extensions", d.n, ExtensionsMax)
	}
	return d.finish(b)
}

// A decoder is the state of one Decode.
type decoder struct {
	s          *Service
	x          *api.Exchange
	known      [members][]byte
	extensions [ExtensionsMax]pair
	n          int // extensions; more than ExtensionsMax is a fault
	chosen     [HeadersMax]chosen
	nChosen    int
	second     bool // the pass that reads header fields
	entries    int
}

// A chosen header field becomes an attribute.
type chosen struct{ attribute, field, value []byte }

// A level is a message on the way to what is read.
type level uint8

// The levels.
const (
	inMessage level = iota // CheckRequest
	inContext              // AttributeContext
	inSource               // its Peer
	inAddress              // the peer's Address
	inSocket               // a SocketAddress
	inRequest              // Request
	inHTTP                 // HttpRequest
)

// walk reads the fields of the message b that are bytes; only such have a meaning
// here. It returns false if b is no message.
func (d *decoder) walk(b []byte, in level) bool {
	w := wire.NewReader(b)
	for w.More() {
		num, typ, ok := w.Tag()
		switch {
		case !ok:
		case typ == protowire.BytesType:
			var v []byte
			if v, ok = w.Bytes(); ok {
				ok = d.field(in, num, v)
			}
		default:
			ok = w.Skip(num, typ)
		}
		if !ok {
			return false
		}
	}
	return true
}

// A fieldOf is a field of a level.
type fieldOf struct {
	in  level
	num protowire.Number
}

// field reads one field. In the second pass it only looks for header fields.
func (d *decoder) field(in level, num protowire.Number, v []byte) bool {
	switch (fieldOf{in, num}) {
	case fieldOf{inMessage, 1}:
		return d.walk(v, inContext)
	case fieldOf{inContext, 4}:
		return d.walk(v, inRequest)
	case fieldOf{inRequest, 2}:
		return d.walk(v, inHTTP)
	case fieldOf{inHTTP, 3}:
		return !d.second || d.header(v)
	}
	return d.second || d.fieldOfCall(in, num, v)
}

// fieldOfCall reads a field that only the first pass reads.
func (d *decoder) fieldOfCall(in level, num protowire.Number, v []byte) bool {
	switch (fieldOf{in, num}) {
	case fieldOf{inContext, 1}:
		return d.walk(v, inSource)
	case fieldOf{inContext, 10}:
		return d.extension(v)
	case fieldOf{inSource, 1}:
		return d.walk(v, inAddress)
	case fieldOf{inSource, 4}:
		d.known[principal] = v
	case fieldOf{inAddress, 1}:
		return d.walk(v, inSocket)
	case fieldOf{inAddress, 2}, fieldOf{inAddress, 3}: // an address has one kind, the last
		d.known[remoteAddress] = nil
	case fieldOf{inSocket, 2}:
		d.known[remoteAddress] = v
	case fieldOf{inHTTP, 2}:
		d.known[method] = v
	case fieldOf{inHTTP, 4}:
		d.known[path] = v
	case fieldOf{inHTTP, 5}:
		d.known[host] = v
	case fieldOf{inHTTP, 6}:
		d.known[scheme] = v
	}
	return true
}

// header reads an entry of the map of header fields.
func (d *decoder) header(b []byte) bool {
	p, ok := entryOf(b)
	for i := range d.chosen[:d.nChosen] {
		if c := &d.chosen[i]; bytes.Equal(c.field, p.key) {
			c.value = p.value
		}
	}
	return ok
}

// extension reads an entry of the map of context extensions.
func (d *decoder) extension(b []byte) bool {
	p, ok := entryOf(b)
	for i := range d.extensions[:min(d.n, ExtensionsMax)] {
		if e := &d.extensions[i]; bytes.Equal(e.key, p.key) {
			e.value = p.value
			return ok
		}
	}
	if d.n < ExtensionsMax {
		d.extensions[d.n] = p
	}
	d.n++
	return ok
}

// entryOf reads an entry of a map of strings.
func entryOf(b []byte) (p pair, ok bool) {
	w := wire.NewReader(b)
	for w.More() {
		num, typ, ok := w.Tag()
		switch {
		case !ok:
		case num > 2 || typ != protowire.BytesType:
			ok = w.Skip(num, typ)
		case num == 1:
			p.key, ok = w.Bytes()
		default:
			p.value, ok = w.Bytes()
		}
		if !ok {
			return p, false
		}
	}
	return p, true
}

// finish makes the request of what was read; b is the whole message.
func (d *decoder) finish(b []byte) error {
	cost := uint64(1)
	domain := []byte(nil)
	for _, e := range d.extensions[:d.n] {
		var err error
		switch string(e.key) {
		case extDomain:
			domain = e.value
		case extCost:
			cost, err = number(extCost, e.value, 0, limiter.CostMax)
		case extDeny:
			var n uint64
			n, err = number(extDeny, e.value, denyLow, denyHigh)
			d.x.Errand.Flags = uint32(n)
		case extHeaders:
			err = d.choose(e.value)
		}
		if err != nil {
			return err
		}
	}
	if err := d.domain(domain); err != nil {
		return err
	}
	if d.nChosen > 0 {
		d.second = true
		if !d.walk(b, inMessage) {
			return api.NotProto("message")
		}
	}
	to := d.x.Req.AddDescriptor()
	to.Cost = cost
	if cost == 0 {
		to.Op = limiter.OpPeek
	}
	return d.describe()
}

// domain takes over the domain, which is the service's if there is none.
func (d *decoder) domain(domain []byte) error {
	if len(domain) == 0 {
		domain = d.s.domain
	}
	switch {
	case len(domain) == 0:
		return &api.Fault{Reason: api.Malformed, Field: "context_extensions.domain", Bound: "must not be empty, or the setting grpc.ext_authz_domain must not"}
	case len(domain) > d.s.Bounds.KeyBytes:
		return api.TooLong("context_extensions.domain", len(domain), d.s.Bounds.KeyBytes)
	case !utf8.Valid(domain):
		return api.NotText("context_extensions.domain")
	}
	d.x.Req.Domain = domain
	return nil
}

// describe adds the attributes to the descriptor: what Envoy knows, unless the route
// says otherwise, what the route says, and header fields.
func (d *decoder) describe() error {
	if i := bytes.IndexAny(d.known[path], "?#"); i >= 0 {
		d.known[path] = d.known[path][:i]
	}
	for i, key := range d.s.keys {
		if !d.overridden(key) {
			if err := d.entry(key, d.known[i]); err != nil {
				return err
			}
		}
	}
	for _, e := range d.extensions[:d.n] {
		switch string(e.key) {
		case extDomain, extCost, extDeny, extHeaders:
			continue
		}
		if err := d.entry(e.key, e.value); err != nil {
			return err
		}
	}
	for _, c := range d.chosen[:d.nChosen] {
		if err := d.entry(c.attribute, c.value); err != nil {
			return err
		}
	}
	return nil
}

// overridden reports whether the route has an attribute key of its own.
func (d *decoder) overridden(key []byte) bool {
	for _, e := range d.extensions[:d.n] {
		if bytes.Equal(e.key, key) {
			return true
		}
	}
	for _, c := range d.chosen[:d.nChosen] {
		if bytes.Equal(c.attribute, key) {
			return true
		}
	}
	return false
}

// entry adds an attribute, unless it has no value.
func (d *decoder) entry(key, value []byte) error {
	switch {
	case len(value) == 0:
		return nil
	case len(key) == 0:
		return &api.Fault{Reason: api.Malformed, Field: "context_extensions", Bound: "a key is empty"}
	case len(key) > d.s.Bounds.KeyBytes:
		return api.TooLong("context_extensions: a key", len(key), d.s.Bounds.KeyBytes)
	case len(value) > d.s.Bounds.ValueBytes:
		return api.TooLong("attributes."+string(key), len(value), d.s.Bounds.ValueBytes)
	case !utf8.Valid(key):
		return api.NotText("context_extensions")
	case !utf8.Valid(value):
		return api.NotText("attributes." + string(key))
	}
	d.entries++
	if d.entries > d.s.Bounds.Entries || !d.x.Req.AddEntry(key, value) {
		return api.TooMany("attributes", d.entries, d.s.Bounds.Entries)
	}
	return nil
}

// choose reads the context extension `headers`: FIELD or ATTRIBUTE=FIELD, separated
// by commas.
func (d *decoder) choose(list []byte) error {
	for more := len(list) > 0; more; {
		var item []byte
		item, list, more = bytes.Cut(list, []byte(","))
		c := chosen{attribute: bytes.TrimSpace(item)}
		c.field = c.attribute
		if attribute, field, ok := bytes.Cut(c.attribute, []byte("=")); ok {
			c.attribute, c.field = attribute, field
		}
		switch {
		case len(c.attribute) == 0 || len(c.field) == 0:
			return &api.Fault{
				Reason: api.Malformed, Field: "context_extensions.headers", Value: api.Quote(item),
				Bound: "must be a header field, or attribute=field",
			}
		case d.nChosen == HeadersMax:
			return api.TooMany("context_extensions.headers", d.nChosen+1, HeadersMax)
		}
		d.chosen[d.nChosen] = c
		d.nChosen++
	}
	return nil
}

// number reads a decimal number in [low, high] of at most 19 digits.
func number(name string, text []byte, low, high uint64) (uint64, error) {
	n, ok := uint64(0), len(text) > 0 && len(text) < 20
	for _, c := range text {
		ok = ok && '0' <= c && c <= '9'
		n = n*10 + uint64(c-'0')
	}
	if !ok || n < low || n > high {
		return 0, &api.Fault{
			Reason: api.OutOfBounds, Field: "context_extensions." + name, Value: api.Quote(text),
			Bound: "must be " + strconv.FormatUint(low, 10) + " to " + strconv.FormatUint(high, 10),
		}
	}
	return n, nil
}
