package policy

import (
	"strings"
)

// explainEnvoyDomain says what holds for every rule of an imported document.
// Lines that begin with "difference:" are where Headgate does not do what the
// reference service does.
func explainEnvoyDomain() []string {
	return []string{
		"Every descriptor of a request is matched and charged on its own, also when another one is over (charge: all).",
		"A denied request still counts (count_denied), and a look passes while used ≤ amount (peek: used).",
		"Windows start at whole multiples of their unit since the Unix epoch.",
		"Key and value of an entry are compared joined by _, so (user, id_7) is (user_id, 7).",
		"difference: each rule has counters of its own; in the reference service those of (a_b, x) and (a, b_x) can meet in one, whatever their rules.",
		"difference: is_negative_hits gives units back; the reference service ignores it.",
		"difference: a window in which nothing was used reports a reset of 0 s, not the end of the window.",
	}
}

// explainEnvoyNode says what n means, and where Headgate's meaning differs.
// descriptor is n and what is above it.
func explainEnvoyNode(n *envoyNode, descriptor []EntryPattern) []string {
	lines := []string{n.at.place() + " " + n.path}
	switch {
	case n.limit == nil && len(n.children) > 0:
		lines = append(lines, "no rate_limit here: a request that ends here owes nothing")
	case n.limit == nil:
		lines = append(lines, "exempt: a request that ends here owes nothing, and no later wildcard or bare key sees it")
	case n.limit.unlimited:
		lines = append(lines, "unlimited: counted nowhere, always OK")
	default:
		lines = append(lines, explainEnvoyLimit(n, descriptor)...)
	}
	if n.limit != nil && len(n.children) > 0 {
		lines = append(lines, "only for requests that end here: one with more entries is for the descriptors below, or owes nothing")
	}
	if n.limit == nil && (n.shadow || n.quota) {
		lines = append(lines, "shadow_mode and quota_mode mean nothing without a rate_limit, and are not passed down")
	}
	if n.wildcard() {
		lines = append(lines, "a value that equals another rule's goes there; of several wildcards the first in this order is taken")
	}
	return lines
}

// explainEnvoyLimit says what n's limit counts and when it denies.
func explainEnvoyLimit(n *envoyNode, descriptor []EntryPattern) []string {
	l := n.limit
	var lines []string
	var apart, shared []string
	for _, e := range descriptor {
		switch {
		case e.Shared:
			shared = append(shared, e.Key)
		case e.Value == "" || strings.Contains(e.Key+e.Value, "*"):
			apart = append(apart, e.Key)
		}
	}
	if len(apart) > 0 {
		lines = append(lines, "one counter for each value of "+strings.Join(apart, ", "))
	} else {
		lines = append(lines, "one counter")
	}
	if len(shared) > 0 {
		lines = append(lines, "all matching values of "+strings.Join(shared, ", ")+" share it (share_threshold)")
	}
	switch l.unit {
	case UnitWeek:
		lines = append(lines, "a week starts on Thursday, 00:00 UTC")
	case UnitMonth:
		lines = append(lines, "a month is 30 days since the epoch, not a calendar month")
	case UnitYear:
		lines = append(lines, "a year is 365 days since the epoch, not a calendar year")
	default:
	}
	if l.amount == 0 {
		lines = append(lines, "0 bans: every request is over")
	}
	if n.shadow {
		lines = append(lines, "shadow_mode: counted and reported, never over")
	}
	if n.quota {
		lines = append(lines, "quota_mode: denies only if all quota_mode limits of a request are over")
	}
	if n.quota && n.shadow {
		lines = append(lines, "with both, a request that reaches this rule is never denied by quota_mode limits")
	}
	return lines
}
