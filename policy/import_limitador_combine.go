package policy

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// demands are the facts about one attribute, by what they say.
type demands struct {
	absent, present    bool
	exact              []string // what it may be, if equals
	equals             bool
	positive, negative []Matcher // what it must match, and what it must not
}

func sortFacts(facts []fact) (d demands) {
	for _, f := range facts {
		d.present = d.present || !f.absent
		switch {
		case f.absent:
			d.absent = true
		case f.Kind == MatchAny:
		case f.Not:
			d.negative = append(d.negative, f.Matcher)
		case f.Kind == MatchExact && !d.equals:
			d.exact, d.equals = slices.Clone(f.Values), true
		default:
			d.positive = append(d.positive, f.Matcher)
		}
	}
	return d
}

// combine returns the one matcher that holds if all facts do, nil if nothing
// needs to be said, and whether none can. In by means that the rule is only for
// descriptors with the attribute.
func combine(facts []fact, inBy bool) (m *Matcher, never bool, err error) {
	d := sortFacts(facts)
	switch {
	case d.absent:
		return &Matcher{Kind: MatchAny, Not: true}, inBy || d.present, nil
	case d.equals:
		values := slices.DeleteFunc(d.exact, func(v string) bool {
			fails := func(m Matcher) bool { return !holdsFor(m, v) }
			return slices.ContainsFunc(d.positive, fails) || slices.ContainsFunc(d.negative, fails)
		})
		m, err = anyOf(values)
		return m, len(values) == 0, err
	case len(d.negative) > 0 || len(d.positive) > 1:
		m, err = exclude(d.positive, d.negative, inBy)
		return m, false, err
	case len(d.positive) == 1:
		return &d.positive[0], false, nil
	case inBy:
		return nil, false, nil
	default:
		return &Matcher{Kind: MatchAny}, false, nil
	}
}

func holdsFor(m Matcher, value string) bool {
	c := newCheck(0, &m)
	return c.holds([]byte(value), true)
}

// anyOf matches exactly values. A policy has no empty text; a regular expression
// can say it.
func anyOf(values []string) (*Matcher, error) {
	slices.Sort(values)
	values = slices.Compact(values)
	if !slices.Contains(values, "") {
		return &Matcher{Values: values}, nil
	}
	for i, v := range values {
		values[i] = regexp.QuoteMeta(v)
	}
	return regexOf("(?:" + strings.Join(values, "|") + ")")
}

// regexOf matches text, unless it is too long for a policy.
func regexOf(text string) (*Matcher, error) {
	if len(text) > regexBytesMax {
		return nil, fmt.Errorf("they become a regular expression of %d bytes: at most %d", len(text), regexBytesMax)
	}
	return &Matcher{Kind: MatchRegex, Values: []string{text}}, nil
}

// exclude matches what is there, begins with the one prefix that positive may
// have, and matches none of negative.
func exclude(positive, negative []Matcher, inBy bool) (*Matcher, error) {
	if len(positive) == 0 && inBy {
		if m := negate(negative); m != nil {
			return m, nil
		}
	}
	prefix := ""
	if len(positive) == 1 && positive[0].Kind == MatchPrefix && len(positive[0].Values) == 1 {
		prefix = positive[0].Values[0]
	} else if len(positive) > 0 {
		return nil, errors.New("several on one key are translated only if one says what it equals, or begins with, and others what it does not")
	}
	root := &trie{}
	for _, m := range negative {
		if m.Kind != MatchExact && m.Kind != MatchPrefix {
			return nil, errors.New("the opposite of endsWith, contains and matches is translated only for a key that is a variable, too")
		}
		for _, v := range m.Values {
			if m.Kind == MatchPrefix && strings.HasPrefix(prefix, v) {
				return nil, errors.New("what it must begin with is excluded")
			}
			if rest, begins := strings.CutPrefix(v, prefix); begins {
				root.add([]rune(rest), m.Kind == MatchPrefix)
			}
		}
	}
	return regexOf(regexp.QuoteMeta(prefix) + root.complement())
}

// negate matches what is there and matches none of ms, for an attribute that is
// there; nil if one matcher can't say it.
func negate(ms []Matcher) *Matcher {
	kind := ms[0].Kind
	var values []string
	for _, m := range ms {
		if m.Kind != kind {
			return nil
		}
		values = append(values, m.Values...)
	}
	slices.Sort(values)
	values = slices.Compact(values)
	if kind == MatchRegex && len(values) > 1 || slices.Contains(values, "") {
		return nil
	}
	return &Matcher{Kind: kind, Values: values, Not: true}
}

// A trie holds texts and beginnings of texts. It is how "is there and is none of
// these" becomes a regular expression: a policy's own `not` also holds for what is
// not there.
type trie struct {
	end, prefix bool // a text ends here; whatever begins so is in the trie
	runes       []rune
	next        []*trie
}

func (t *trie) add(text []rune, prefix bool) {
	if len(text) == 0 {
		t.end, t.prefix = true, t.prefix || prefix
		return
	}
	i := slices.Index(t.runes, text[0])
	if i < 0 {
		i = len(t.runes)
		t.runes, t.next = append(t.runes, text[0]), append(t.next, &trie{})
	}
	t.next[i].add(text[1:], prefix)
}

// complement returns an expression for what is not in t.
func (t *trie) complement() string {
	var options []string
	if len(t.runes) == 0 {
		options = append(options, ".+")
	} else {
		var class strings.Builder
		for _, c := range t.runes {
			class.WriteString(classRune(c))
		}
		options = append(options, "[^"+class.String()+"].*")
		for i, c := range t.runes {
			if !t.next[i].prefix {
				options = append(options, regexp.QuoteMeta(string(c))+t.next[i].complement())
			}
		}
	}
	if !t.end {
		options = append([]string{""}, options...)
	}
	return "(?:" + strings.Join(options, "|") + ")"
}

// classRune writes c inside brackets.
func classRune(c rune) string {
	if strings.ContainsRune(`\]^-[&~`, c) {
		return `\` + string(c)
	}
	return string(c)
}

// fromRustRegex returns a policy's expression, which matches whole values, for
// one of Rust's regex crate, which CEL looks for anywhere in a value. It refuses
// what the two engines read differently.
func fromRustRegex(text string) (string, error) {
	plain, err := rustEscapes(text)
	if err != nil {
		return "", err
	}
	out := ".*(?-s:" + plain + ").*"
	if _, err := syntax.Parse(out, syntax.Perl); err != nil {
		return "", fmt.Errorf("matches: %w", err)
	}
	if len(out) > regexBytesMax {
		return "", fmt.Errorf("matches: an expression of %d bytes: at most %d", len(out), regexBytesMax)
	}
	return out, nil
}

// rustEscapes spells text's escapes as Go means them.
func rustEscapes(text string) (string, error) {
	var b strings.Builder
	inClass := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '\\' && i+1 < len(text) {
			i++
			escape, ok := rustEscape(text[i])
			if !ok {
				return "", fmt.Errorf("matches: \\%c does not mean the same in Go's regular expressions, or is not translated", text[i])
			}
			b.WriteString(escape)
			continue
		}
		if inClass {
			if c == '[' || strings.IndexByte("&~-", c) >= 0 && i+1 < len(text) && text[i+1] == c {
				return "", errors.New("matches: a class inside a class, and operations on classes, are not translated")
			}
			inClass = c != ']'
		} else {
			if strings.HasPrefix(text[i:], "(?") && !strings.HasPrefix(text[i:], "(?:") {
				return "", errors.New("matches: flags and names of groups are not translated")
			}
			inClass = c == '['
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

// rustEscape returns what Go means as Rust means \c. In Rust digits are Unicode's.
func rustEscape(c byte) (string, bool) {
	switch {
	case c == 'd':
		return `\p{Nd}`, true
	case c == 'D':
		return `\P{Nd}`, true
	case strings.IndexByte(`.+*?()|[]{}^$/-\tnrfv`, c) >= 0:
		return `\` + string(c), true
	default:
		return "", false
	}
}
