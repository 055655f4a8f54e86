package admin

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Bounds of what is asked about counters.
const (
	// CountersMax is how many counters one answer of GET /v1/counters has at most.
	CountersMax = 1000
	// CountersDefault is how many it has if n is not given.
	CountersDefault = 100
	// AttributesMax is how many attributes choose a counter at most.
	AttributesMax = 256
	// AttributeKeyBytesMax and AttributeValueBytesMax bound one of them, and the
	// first a domain, too.
	AttributeKeyBytesMax   = 256
	AttributeValueBytesMax = 4096
	// CounterLimitBytesMax bounds the name of a limit.
	CounterLimitBytesMax = 4096

	fingerprintDigits = 16
)

// A CountersQuery is what GET /v1/counters?domain=D&limit=L&n=100&cursor=C asks.
type CountersQuery struct {
	Domain, Limit string // whose counters; "": any
	N             int    // 1 to CountersMax
	Cursor        string // of the page before; "": the first page
}

// A CounterSelection says which counters are meant: that of Key, or those that a
// call with the attributes would charge.
type CounterSelection struct {
	Key        string      `json:"key,omitempty"` // a fingerprint; nothing else is given then
	Domain     string      `json:"domain,omitempty"`
	Attributes []Attribute `json:"attributes,omitempty"` // their order matters to descriptor rules only
	Limit      string      `json:"limit,omitempty"`      // only this limit's; "": all that apply
}

// An Attribute is a key/value pair that describes a call.
type Attribute struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// A CounterReset is the body of POST /v1/counters/reset.
type CounterReset struct {
	CounterSelection
	All    bool   `json:"all,omitempty"`    // all counters of Domain's Limit; no attributes then
	Reason string `json:"reason,omitempty"` // for the audit log
}

// A CountersReset is what became of a CounterReset.
type CountersReset struct {
	Reset    int      `json:"reset"`              // counters that were not as if unused
	Keys     []string `json:"keys,omitempty"`     // their fingerprints, unless all of a limit were meant
	Warnings []string `json:"warnings,omitempty"` // it could not be written down
}

// Counters are some counters of a node.
type Counters struct {
	Counters []Counter `json:"counters"`
	Cursor   string    `json:"cursor,omitempty"` // asks for the next page; "": this is the last one
}

// A Counter is the state of one counter now. What it counts is known by its
// fingerprint only.
type Counter struct {
	Domain       string `json:"domain"`
	Limit        string `json:"limit"`
	Kind         string `json:"kind,omitempty"` // "": a limit that requests brought along; what it admits is not known
	Key          string `json:"key"`
	Shadow       bool   `json:"shadow,omitempty"` // evaluated, not enforced
	Amount       uint64 `json:"amount"`
	PeriodMS     int64  `json:"period_ms"`
	Used         uint64 `json:"used"`      // of what a fresh counter admits at once; of a concurrency limit: held now
	Remaining    uint64 `json:"remaining"` // units that could still pass now
	RetryAfterMS *int64 `json:"retry_after_ms,omitempty"`
	ResetAfterMS int64  `json:"reset_after_ms"` // until it is as if unused, if nobody acts
}

// list answers GET /v1/counters.
func (s *Sources) list(w http.ResponseWriter, r *http.Request) {
	answerOf(w, func() (any, error) {
		q, err := countersQuery(r.URL.Query())
		if err != nil {
			return nil, err
		}
		return s.Counters(q)
	})
}

// get answers GET /v1/counter?key=K and
// GET /v1/counter?domain=D&attribute=KEY=VALUE&attribute=…&limit=L.
func (s *Sources) get(w http.ResponseWriter, r *http.Request) {
	answerOf(w, func() (any, error) {
		sel, err := selection(r.URL.Query())
		if err != nil {
			return nil, err
		}
		return s.Counter(sel)
	})
}

func answerOf(w http.ResponseWriter, ask func() (any, error)) {
	out, err := ask()
	if err != nil {
		answerError(w, err)
		return
	}
	answer(w, out)
}

func countersQuery(v url.Values) (*CountersQuery, error) {
	q := &CountersQuery{N: CountersDefault}
	err := readQuery(v, pageParameters(q), nil)
	return q, err
}

// pageParameters returns what reads the parameters of a page into q.
func pageParameters(q *CountersQuery) map[string]func(string) error {
	return map[string]func(string) error{
		"domain": text(&q.Domain, "domain", AttributeKeyBytesMax),
		"limit":  text(&q.Limit, "limit", CounterLimitBytesMax),
		"cursor": text(&q.Cursor, "cursor", AttributeKeyBytesMax),
		"n": func(s string) (err error) {
			if q.N, err = strconv.Atoi(s); err != nil || q.N < 1 || q.N > CountersMax {
				return refuse(http.StatusBadRequest, "n: %.40q: must be 1 to %d", s, CountersMax)
			}
			return nil
		},
	}
}

func selection(v url.Values) (*CounterSelection, error) {
	sel := new(CounterSelection)
	err := readQuery(v, map[string]func(string) error{
		"key":    text(&sel.Key, "key", AttributeKeyBytesMax),
		"domain": text(&sel.Domain, "domain", AttributeKeyBytesMax),
		"limit":  text(&sel.Limit, "limit", CounterLimitBytesMax),
	}, func(pair string) error {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return refuse(http.StatusBadRequest, "attribute: %.80q: must be KEY=VALUE", pair)
		}
		sel.Attributes = append(sel.Attributes, Attribute{key, value})
		return nil
	})
	if err == nil {
		err = sel.check()
	}
	return sel, err
}

// readQuery reads parameters that come once each, and those called attribute.
func readQuery(v url.Values, read map[string]func(string) error, attribute func(string) error) error {
	for name, values := range v {
		f, known := read[name]
		if name == "attribute" && attribute != nil {
			f, known = attribute, true
		} else if len(values) > 1 {
			return refuse(http.StatusBadRequest, "%.40s: given %d times", name, len(values))
		}
		if !known {
			return refuse(http.StatusBadRequest, "%.40q is no parameter of this path", name)
		}
		for _, value := range values {
			if err := f(value); err != nil {
				return err
			}
		}
	}
	return nil
}

// text returns what reads a parameter of at most bytesMax into to.
func text(to *string, name string, bytesMax int) func(string) error {
	return func(s string) error {
		*to = s
		return tooLong(name, s, bytesMax)
	}
}

func tooLong(field, s string, bytesMax int) error {
	if len(s) > bytesMax {
		return refuse(http.StatusBadRequest, "%s: %d bytes: at most %d", field, len(s), bytesMax)
	}
	return nil
}

// check reports what is wrong with a selection, whatever the node has.
func (sel *CounterSelection) check() error {
	if sel.Key != "" {
		if sel.Domain+sel.Limit != "" || len(sel.Attributes) > 0 {
			return refuse(http.StatusBadRequest, "key: names a counter already: give no domain, attributes or limit beside it")
		}
		return checkFingerprint(sel.Key)
	}
	if sel.Domain == "" {
		return refuse(http.StatusBadRequest, "give a key, or a domain and attributes")
	}
	if len(sel.Attributes) > AttributesMax {
		return refuse(http.StatusBadRequest, "attributes: %d: at most %d", len(sel.Attributes), AttributesMax)
	}
	errs := []error{tooLong("domain", sel.Domain, AttributeKeyBytesMax), tooLong("limit", sel.Limit, CounterLimitBytesMax)}
	for i, a := range sel.Attributes {
		path := fmt.Sprintf("attributes[%d]", i)
		if a.Key == "" {
			errs = append(errs, refuse(http.StatusBadRequest, "%s.key: must not be empty", path))
		}
		errs = append(errs, tooLong(path+".key", a.Key, AttributeKeyBytesMax), tooLong(path+".value", a.Value, AttributeValueBytesMax))
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkFingerprint(key string) error {
	if b, err := hex.DecodeString(key); err != nil || len(b) != fingerprintDigits/2 {
		return refuse(http.StatusBadRequest, "key: %.40q: must be a fingerprint, %d hexadecimal digits", key, fingerprintDigits)
	}
	return nil
}

// check reports what is wrong with a reset, whatever the node has.
func (in *CounterReset) check() error {
	if err := in.CounterSelection.check(); err != nil || !in.All {
		return err
	}
	if in.Domain == "" || in.Limit == "" || len(in.Attributes) > 0 {
		return refuse(http.StatusBadRequest, "all: is about every counter of one limit: give its domain and its name, and no attributes or key")
	}
	return nil
}

// Milliseconds returns d in whole milliseconds, rounded up.
func Milliseconds(d time.Duration) int64 {
	ms := d / time.Millisecond
	if d%time.Millisecond > 0 {
		ms++
	}
	return int64(ms)
}
