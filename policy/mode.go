package policy

import (
	"maps"
	"slices"
	"strings"
)

// A Mode says whether a domain's limits are enforced: the operator's switch,
// which no document sets. The zero Mode is ModeEnforce.
type Mode uint8

// The modes.
const (
	ModeEnforce Mode = iota // as the policy says
	ModeShadow              // every limit is evaluated, charged and reported, none denies
	ModeOff                 // no rule matches: requests owe nothing and are allowed
)

// ModeNames are the names of the modes, in their order.
func ModeNames() []string { return []string{"enforce", "shadow", "off"} }

// String returns the name of m.
func (m Mode) String() string {
	if names := ModeNames(); int(m) < len(names) {
		return names[m]
	}
	return "invalid"
}

// ParseMode returns the mode of that name. If there is none, ok is false and
// want says what there is.
func ParseMode(name string) (m Mode, want string, ok bool) {
	i := slices.Index(ModeNames(), name)
	if i < 0 {
		want = "one of " + strings.Join(ModeNames(), ", ")
		if near := closest(name, ModeNames()); near != "" {
			want += "; did you mean " + near + "?"
		}
		return 0, want, false
	}
	return Mode(i), "", true
}

// Has reports whether a document has the domain.
func (s *Snapshot) Has(domain string) bool { return s.domains[domain] != nil }

// WithModes returns s with those domains in those modes, and all others
// enforced, whatever modes s has. Version, hash, limits and counters are those of
// s: a limit in shadow mode is a copy of s's with its Ref. So the limits of s must
// have been installed in the counter table already. Domains that s does not have
// are skipped. It costs a copy of the limits of domains in shadow mode; a match
// costs the same in every mode.
func (s *Snapshot) WithModes(modes map[string]Mode) *Snapshot {
	if s.plain != nil {
		s = s.plain
	}
	if len(modes) == 0 {
		return s
	}
	next := *s
	next.plain = s
	next.domains = maps.Clone(s.domains)
	copied := false
	for name, mode := range modes {
		d := s.domains[name]
		if d == nil || mode == ModeEnforce {
			continue
		}
		other := *d
		other.operator = mode
		next.domains[name] = &other
		if mode != ModeShadow {
			continue
		}
		if !copied {
			next.origins, copied = maps.Clone(s.origins), true
		}
		other.limits = slices.Clone(d.limits)
		for i := range other.limits {
			l := &other.limits[i]
			l.Shadow = true
			if d.override == &d.limits[i] {
				other.override = l
			}
			if o, ok := s.origins[&d.limits[i]]; ok {
				next.origins[l] = o
			}
		}
	}
	return &next
}

// Mode returns the mode of a domain: ModeEnforce if s does not have it.
func (s *Snapshot) Mode(domain string) Mode {
	if d := s.domains[domain]; d != nil {
		return d.operator
	}
	return ModeEnforce
}
