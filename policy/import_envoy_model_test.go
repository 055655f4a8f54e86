package policy

import (
	"fmt"
	"strings"
)

// The model of the reference service: what envoyproxy/ratelimit does, written
// down again as plainly as possible from its documented behaviour. It shares
// nothing with the importer.

// refConfig is a file of the reference service.
type refConfig struct {
	Domain      string          `yaml:"domain"`
	Descriptors []refDescriptor `yaml:"descriptors"`
}

// refDescriptor is a descriptor of the configuration.
type refDescriptor struct {
	Key            string          `yaml:"key"`
	Value          string          `yaml:"value,omitempty"`
	RateLimit      *refLimit       `yaml:"rate_limit,omitempty"`
	ShadowMode     bool            `yaml:"shadow_mode,omitempty"`
	QuotaMode      bool            `yaml:"quota_mode,omitempty"`
	ShareThreshold bool            `yaml:"share_threshold,omitempty"`
	Descriptors    []refDescriptor `yaml:"descriptors,omitempty"`
}

// refLimit is a rate_limit block.
type refLimit struct {
	Unit            string   `yaml:"unit,omitempty"`
	RequestsPerUnit uint32   `yaml:"requests_per_unit,omitempty"`
	Unlimited       bool     `yaml:"unlimited,omitempty"`
	Name            string   `yaml:"name,omitempty"`
	Replaces        []refRef `yaml:"replaces,omitempty"`
}

// refRef names a limit.
type refRef struct {
	Name string `yaml:"name"`
}

// refEntry is a key/value pair of a request.
type refEntry struct{ key, value string }

// refCall is a descriptor of a request; hits nil means the default of 1.
type refCall struct {
	entries []refEntry
	hits    *uint64
}

// refStatus is the answer for one descriptor. remaining and reset mean nothing
// unless limited.
type refStatus struct {
	over      bool
	limited   bool // has a current_limit
	unlimited bool
	remaining uint64
	reset     int64 // seconds
}

// refService is one domain and its counters.
type refService struct {
	roots  []refDescriptor
	counts map[string]uint64
}

// refSeconds are the lengths of the units.
func refSeconds(unit string) int64 {
	return map[string]int64{
		"second": 1, "minute": 60, "hour": 3600, "day": 86400,
		"week": 604800, "month": 2592000, "year": 31536000,
	}[strings.ToLower(unit)]
}

// joined is the name of a descriptor among its siblings.
func (d *refDescriptor) joined() string {
	if d.Value == "" {
		return d.Key
	}
	return d.Key + "_" + d.Value
}

// refMatch reports whether s matches pattern, in which * is any run of bytes:
// the textbook recursion.
func refMatch(pattern, s string) bool {
	switch {
	case pattern == "":
		return s == ""
	case pattern[0] == '*':
		return refMatch(pattern[1:], s) || (s != "" && refMatch(pattern, s[1:]))
	default:
		return s != "" && s[0] == pattern[0] && refMatch(pattern[1:], s[1:])
	}
}

// refStep finds the descriptor that an entry leads to, and whether a wildcard did.
func refStep(level []refDescriptor, e refEntry) (next *refDescriptor, wild bool) {
	want := e.key + "_" + e.value
	for i := range level {
		if level[i].joined() == want {
			return &level[i], false
		}
	}
	for i := range level {
		if strings.Contains(level[i].joined(), "*") && refMatch(level[i].joined(), want) {
			return &level[i], true
		}
	}
	for i := range level {
		if level[i].joined() == e.key {
			return &level[i], false
		}
	}
	return nil, false
}

// find walks the tree. It returns the limit and the name of its counter.
func (s *refService) find(entries []refEntry) (*refDescriptor, string) {
	level, counter := s.roots, ""
	for i, e := range entries {
		next, wild := refStep(level, e)
		if next == nil {
			return nil, ""
		}
		value := e.value
		if wild && next.ShareThreshold {
			value = strings.TrimPrefix(next.joined(), e.key+"_")
		}
		// The service joins all entries with "_" and leaves out the rule, so
		// that counters of different rules can meet, as those of (a_b, x) and
		// (a, b_x): the one difference that the model does not have.
		counter += next.joined() + "\x00" + e.key + "_" + value + "\x00"
		if i == len(entries)-1 {
			return next, counter
		}
		if len(next.Descriptors) == 0 {
			return nil, ""
		}
		level = next.Descriptors
	}
	return nil, ""
}

// shouldRateLimit answers a request at a Unix time.
func (s *refService) shouldRateLimit(now int64, calls []refCall) (over bool, statuses []refStatus) {
	found := make([]*refDescriptor, len(calls))
	counters := make([]string, len(calls))
	replaced := map[string]bool{}
	statuses = make([]refStatus, len(calls))
	for i, c := range calls {
		found[i], counters[i] = s.find(c.entries)
		if found[i] == nil || found[i].RateLimit == nil {
			found[i] = nil
			continue
		}
		for _, r := range found[i].RateLimit.Replaces {
			replaced[r.Name] = true
		}
		if found[i].RateLimit.Unlimited {
			statuses[i].unlimited = true
			found[i] = nil
		}
	}
	quotas, quotasOver := 0, 0
	for i, d := range found {
		if d == nil || (d.RateLimit.Name != "" && replaced[d.RateLimit.Name]) {
			continue
		}
		hits := uint64(1)
		if calls[i].hits != nil {
			hits = *calls[i].hits
		}
		statuses[i] = s.charge(now, d, counters[i], hits)
		if d.QuotaMode {
			quotas++
		}
		switch {
		case statuses[i].over && d.QuotaMode:
			quotasOver++
		case statuses[i].over:
			over = true
		}
	}
	return over || (quotas > 0 && quotas == quotasOver), statuses
}

// charge counts hits in the present window, whatever the outcome.
func (s *refService) charge(now int64, d *refDescriptor, counter string, hits uint64) refStatus {
	period := refSeconds(d.RateLimit.Unit)
	window := fmt.Sprint(counter, now/period*period)
	s.counts[window] += hits
	after, limit := s.counts[window], uint64(d.RateLimit.RequestsPerUnit)
	st := refStatus{limited: true, reset: period - now%period}
	if after > limit {
		st.over = !d.ShadowMode
		return st
	}
	st.remaining = limit - after
	return st
}
