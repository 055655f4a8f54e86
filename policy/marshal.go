package policy

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/headgate/headgate/limiter"
)

// Marshal writes d as YAML that Parse reads back as the same document, apart
// from positions, comments and bytes that are not UTF-8. The text is canonical:
// equal documents have equal texts.
func Marshal(d *Document) []byte {
	var w yamlWriter
	w.comment("", d.Comment)
	w.line("domain: " + quote(d.Domain))
	if d.Charge == limiter.ChargeAll {
		w.line("charge: all")
	}
	if d.CountDenied {
		w.line("count_denied: true")
	}
	if d.PeekUsed {
		w.line("peek: used")
	}
	if words := d.Headers.words(); len(words) > 0 {
		w.line("headers: [" + strings.Join(words, ", ") + "]")
	} else if d.Headers != 0 {
		w.line("headers: " + headersNone)
	}
	if d.Gubernator != nil {
		w.line(d.Gubernator.line())
	}
	if len(d.Rules) == 0 {
		w.line("limits: []")
		return []byte(w.String())
	}
	w.line("limits:")
	for i := range d.Rules {
		w.comment("  ", d.Rules[i].Comment)
		w.item("  ", ruleLines(&d.Rules[i]))
	}
	return []byte(w.String())
}

// A yamlWriter writes lines.
type yamlWriter struct{ strings.Builder }

func (w *yamlWriter) line(s string) { w.WriteString(s + "\n") }

func (w *yamlWriter) comment(indent, text string) {
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		line = strings.Map(func(c rune) rune {
			if unicode.IsPrint(c) {
				return c
			}
			return ' '
		}, line)
		w.line(strings.TrimRight(indent+"# "+line, " "))
	}
}

// item writes the lines of one list item.
func (w *yamlWriter) item(indent string, lines []string) {
	for i, line := range lines {
		if i == 0 {
			w.line(indent + "- " + line)
		} else {
			w.line(indent + "  " + line)
		}
	}
}

// ruleLines writes a rule's fields, name first and amounts last.
func ruleLines(rule *LimitRule) []string {
	var selector []string
	if len(rule.When) > 0 {
		pairs := make([]string, len(rule.When))
		for i, c := range rule.When {
			pairs[i] = quote(c.Attr) + ": " + formatMatcher(c.Matcher)
		}
		selector = append(selector, "when: {"+strings.Join(pairs, ", ")+"}")
	}
	if len(rule.By) > 0 {
		selector = append(selector, "by: "+flowList(rule.By))
	}
	if len(rule.Descriptor) > 0 {
		entries := make([]string, len(rule.Descriptor))
		for i, e := range rule.Descriptor {
			entries[i] = formatEntry(e)
		}
		selector = append(selector, "descriptor: ["+strings.Join(entries, ", ")+"]")
	}
	if rule.Labels {
		selector = append(selector, "labels: true")
	}
	switch {
	case rule.Exempt:
		return append(selector, "exempt: true")
	case len(rule.Terms) == 1:
		t := &rule.Terms[0]
		lines := termLines(t)
		if t.Name != "" {
			return append(append([]string{lines[0]}, selector...), lines[1:]...)
		}
		return append(selector, lines...)
	default:
		var w yamlWriter
		for i := range rule.Terms {
			w.item("  ", termLines(&rule.Terms[i]))
		}
		selector = append(selector, "limits:")
		return append(selector, strings.Split(strings.TrimRight(w.String(), "\n"), "\n")...)
	}
}

// kindLines writes a limit's kind and amount.
func kindLines(t *Term) []string {
	amount := strconv.FormatUint(t.Amount, 10)
	switch {
	case t.Kind == limiter.KindUnlimited:
		return []string{"unlimited: true"}
	case t.Kind == limiter.KindConcurrency:
		return []string{"concurrency: " + amount, "lifetime: " + formatLifetime(t.Every)}
	case t.Kind == limiter.KindQuota && t.Quota != nil:
		return quotaLines(t)
	default:
		// An invalid kind gives an unknown key, which Parse refuses.
		return []string{t.Kind.String() + ": " + amount + "/" + formatEvery(t.Every)}
	}
}

// termLines writes a limit's fields; the name, if any, is the first.
func termLines(t *Term) []string {
	var lines []string
	add := func(key, value string) { lines = append(lines, key+": "+value) }
	if t.Name != "" {
		add("name", quote(t.Name))
	}
	lines = append(lines, kindLines(t)...)
	if t.Burst != 0 {
		add("burst", strconv.FormatUint(t.Burst, 10))
	}
	if t.MaxWait != 0 {
		add("max_wait", formatEvery(t.MaxWait))
	}
	if t.Unit != "" {
		add("unit", quote(t.Unit))
	}
	if t.EstimateMax != 0 {
		add("max_estimate", strconv.FormatUint(t.EstimateMax, 10))
	}
	if t.Shadow {
		add("shadow", "true")
	}
	if t.AnyOf {
		add("any_of", "true")
	}
	if t.CountDenied != nil {
		add("count_denied", strconv.FormatBool(*t.CountDenied))
	}
	if words := onUnavailableWords(); t.Kind != limiter.KindQuota && t.OnUnavailable != 0 && int(t.OnUnavailable) < len(words) {
		add("on_unavailable", words[t.OnUnavailable])
	}
	if len(t.Replaces) > 0 {
		add("replaces", flowList(t.Replaces))
	}
	if len(t.Overrides) > 0 {
		lines = append(lines, "overrides:")
		for i := range t.Overrides {
			lines = append(lines, "  - "+formatOverride(&t.Overrides[i]))
		}
	}
	return lines
}

func formatOverride(o *ValueOverride) string {
	fields := []string{"values: " + formatMatcher(o.Values)}
	if o.Unlimited {
		fields = append(fields, "unlimited: true")
	} else {
		fields = append(fields, "amount: "+strconv.FormatUint(o.Amount, 10))
	}
	if o.Burst != 0 {
		fields = append(fields, "burst: "+strconv.FormatUint(o.Burst, 10))
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// formatLifetime writes a span with its number, which formatEvery leaves out
// after a slash.
func formatLifetime(span time.Duration) string {
	text := formatEvery(span)
	if text[0] < '0' || text[0] > '9' {
		return "1" + text
	}
	return text
}

// formatMatcher writes a matcher in its shortest form.
func formatMatcher(m Matcher) string {
	if m.Not {
		m.Not = false
		return "{not: " + formatMatcher(m) + "}"
	}
	values := flowList(m.Values)
	if len(m.Values) == 1 {
		values = quote(m.Values[0])
	}
	switch m.Kind {
	case MatchAny:
		return `"*"`
	case MatchPrefix:
		return "{prefix: " + values + "}"
	case MatchGlob:
		return "{glob: " + values + "}"
	case MatchCIDR:
		return "{cidr: " + values + "}"
	case MatchRegex:
		return "{regex: " + values + "}"
	default:
		if strings.Contains(values, "*") {
			return "{exact: " + values + "}"
		}
		return values
	}
}

// formatEntry writes an entry of a descriptor as key=value where that is
// unambiguous.
func formatEntry(e EntryPattern) string {
	if !e.Shared && !strings.Contains(e.Key, "=") {
		if e.Value == "" {
			return quote(e.Key)
		}
		return quote(e.Key + "=" + e.Value)
	}
	s := "{key: " + quote(e.Key)
	if e.Value != "" {
		s += ", value: " + quote(e.Value)
	}
	if e.Shared {
		s += ", shared: true"
	}
	return s + "}"
}

// flowList writes [a, b].
func flowList(items []string) string {
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// quote writes a scalar, without quotes only where no reader of YAML could take
// it for anything but this text.
func quote(s string) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range strings.ToValidUTF8(s, "\ufffd") {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c > 0xffff && !unicode.IsPrint(c):
			fmt.Fprintf(&b, `\U%08x`, c)
		case !unicode.IsPrint(c):
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// isPlain reports whether s can stand without quotes: letters first, and none
// of the words that mean something else.
func isPlain(s string) bool {
	switch strings.ToLower(s) {
	case "", "true", "false", "yes", "no", "on", "off", "y", "n", "null":
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '/'
		later := c >= '0' && c <= '9' || strings.IndexByte(".@=*-", c) >= 0
		if !letter && (i == 0 || !later) {
			return false
		}
	}
	return true
}
