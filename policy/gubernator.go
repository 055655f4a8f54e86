package policy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/headgate/headgate/limiter"
)

// GubernatorNamesMax is how many names `gubernator` lists at most.
const GubernatorNamesMax = 1000

// A Gubernator says which limits a domain takes from clients of Gubernator, who
// send the whole limit with each request. What is beyond it is refused.
type Gubernator struct {
	// Names are those of the limits: texts, or beginnings that end in `*`. None:
	// every name that no other document has. A name is one document's only; of
	// several beginnings the longest counts.
	Names []string
	// MaxLimit bounds a limit's units, in [1, limiter.AmountMax].
	MaxLimit uint64
	// MaxDuration bounds its period, in [limiter.PeriodMin, limiter.PeriodMax].
	MaxDuration time.Duration
	// MaxBurst bounds the burst of a leaky bucket, in [1, limiter.AmountMax]; 0
	// means MaxLimit.
	MaxBurst uint64

	Pos Position
}

// A gubernatorReader collects the fields of `gubernator`.
type gubernatorReader struct {
	*reader
	g *Gubernator
}

// gubernatorKeys are the keys of `gubernator`.
func gubernatorKeys() keys[*gubernatorReader] {
	number := func(name, doc string, set func(g *Gubernator, v uint64)) key[*gubernatorReader] {
		return key[*gubernatorReader]{name, doc, func() schema { return formNumber(1) }, func(r *gubernatorReader, f *field) {
			v, at := r.positive(&f.node)
			if v > limiter.AmountMax {
				r.fail(at, &flaw{message: "is too large", expected: "at most " + strconv.FormatUint(limiter.AmountMax, 10)})
			}
			set(r.g, v)
		}}
	}
	return keys[*gubernatorReader]{
		{
			"names", "The names of the limits, each a text or a beginning and *. Left out: every name that no other document has.",
			func() schema { return formList(formText(), GubernatorNamesMax) },
			func(r *gubernatorReader, f *field) { r.names(&f.node) },
		},
		number("max_limit", "The largest limit that a request may carry, in units.", func(g *Gubernator, v uint64) { g.MaxLimit = v }),
		{
			"max_duration", "The longest duration that a request's limit may have.", formSpan,
			func(r *gubernatorReader, f *field) {
				span, ok := r.readSpan(&f.node)
				if ok && (span < limiter.PeriodMin || span > limiter.PeriodMax) {
					r.fail(&f.node, &flaw{message: "is out of bounds", expected: "1ms to " + formatEvery(limiter.PeriodMax)})
				}
				r.g.MaxDuration = span
			},
		},
		number("max_burst", "The largest burst that a leaky bucket may have. Left out: max_limit.", func(g *Gubernator, v uint64) { g.MaxBurst = v }),
	}
}

// gubernator reads the value of `gubernator`.
func (r *reader) gubernator(f *field) *Gubernator {
	ks := r.grammar.gubernator
	fs, ok := r.mapping(&f.node, ks.names())
	if !ok {
		return nil
	}
	to := gubernatorReader{reader: r, g: &Gubernator{Pos: r.position(f.keyNode)}}
	for _, f := range fs {
		ks.find(f.key).read(&to, f)
	}
	for _, required := range []string{"max_limit", "max_duration"} {
		if fs.get(required) == nil {
			r.failKey(f, &flaw{message: "has no " + required, expected: "{max_limit: UNITS, max_duration: SPAN}: clients choose their limits up to these"})
		}
	}
	return to.g
}

// names reads `names`.
func (r *gubernatorReader) names(n *node) {
	seen := map[string]bool{}
	for _, item := range r.sequence(n, GubernatorNamesMax) {
		name, ok := r.text(item)
		if !ok {
			continue
		}
		switch at := strings.IndexByte(name, '*'); {
		case at >= 0 && at < len(name)-1:
			r.fail(item, &flaw{message: "has a * that is not at its end", expected: "a text, or a beginning and *"})
		case seen[name]:
			r.fail(item, &flaw{message: "is listed twice"})
		}
		seen[name] = true
		r.g.Names = append(r.g.Names, name)
	}
}

// line writes g as Marshal does.
func (g *Gubernator) line() string {
	fields := []string{}
	if len(g.Names) > 0 {
		fields = append(fields, "names: "+flowList(g.Names))
	}
	fields = append(fields, "max_limit: "+strconv.FormatUint(g.MaxLimit, 10), "max_duration: "+formatLifetime(g.MaxDuration))
	if g.MaxBurst != 0 {
		fields = append(fields, "max_burst: "+strconv.FormatUint(g.MaxBurst, 10))
	}
	return "gubernator: {" + strings.Join(fields, ", ") + "}"
}

// Carriers find the domain that takes the limits of a name from requests.
type carriers struct {
	exact    map[string]string // to domains
	prefixes prefixTable       // a rule's limit is an index to domains
	domains  []string
	all      string // the domain for every other name; "": none
}

// newCarriers makes carriers of documents and reports names that two of them have.
func newCarriers(docs []*Document, rep *report) carriers {
	c := carriers{exact: map[string]string{}}
	var prefixes []prefixKey
	taken := map[string]string{} // by name as it is written
	for _, doc := range docs {
		g := doc.Gubernator
		if g == nil {
			continue
		}
		names, path := g.Names, ".names"
		if len(names) == 0 {
			names, path = []string{"*"}, ""
		}
		for i, name := range names {
			if other, ok := taken[name]; ok {
				if other == doc.Domain {
					continue // reported where it was read
				}
				if path != "" {
					path = ".names[" + strconv.Itoa(i) + "]"
				}
				rep.add(Problem{
					Position: g.Pos, Path: "gubernator" + path, Value: name,
					Message: fmt.Sprintf("the domain %q has this name already", other), Expected: "names that no other document has",
				})
				continue
			}
			taken[name] = doc.Domain
			beginning, isPrefix := strings.CutSuffix(name, "*")
			switch {
			case !isPrefix:
				c.exact[name] = doc.Domain
			case beginning == "":
				c.all = doc.Domain
			default:
				prefixes = append(prefixes, prefixKey{value: beginning, length: uint16(len(beginning)), rule: compactRule{limit: uint32(len(c.domains))}})
				c.domains = append(c.domains, doc.Domain)
			}
		}
	}
	c.prefixes = newPrefixTable(false, prefixes, noSlots)
	return c
}

// find returns the domain for a name; "" if there is none.
func (c *carriers) find(name []byte) string {
	if domain, ok := c.exact[string(name)]; ok {
		return domain
	}
	if len(c.domains) > 0 {
		walk := c.prefixes.walk(name)
		if i := walk.next(); i >= 0 {
			var room compactRule
			r, _ := c.prefixes.table.rule(i, &room)
			return c.domains[r.limit]
		}
	}
	return c.all
}
