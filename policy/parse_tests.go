package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/headgate/headgate/limiter"
)

// testStart is when tests begin that do not say: 2026-01-01T00:00:00Z, the
// beginning of a minute, an hour and a day.
const testStart limiter.Instant = 1_767_225_600_000_000_000

// A testGrammar is all keys that test files have.
type testGrammar struct {
	file   keys[*testsReader]
	test   keys[*testReader]
	step   keys[*stepReader]
	expect keys[*expectReader]
}

func newTestGrammar() *testGrammar {
	return &testGrammar{testsKeys(), testKeys(), stepKeys(), expectKeys()}
}

// Definitions of the test files' schema.
const (
	defTest   = "test"
	defStep   = "step"
	defExpect = "expect"
)

// TestsSchemaID names the JSON Schema of test files.
const TestsSchemaID = "https://github.com/headgate/headgate/docs/reference/policy-test.schema.json"

// TestsSchema is Schema for test files.
func TestsSchema() []byte {
	g := newTestGrammar()
	root := objectOf(g.file, "policies", "tests")
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["$id"] = TestsSchemaID
	root["title"] = "Headgate policy tests"
	root["definitions"] = schema{
		defTest: objectOf(g.test, "name", "steps"), defStep: objectOf(g.step), defExpect: objectOf(g.expect),
	}
	return printSchema(root)
}

// A testsReader collects the fields of a test file.
type testsReader struct {
	*reader
	g      *testGrammar
	tests  *Tests
	domain string
	list   *field
	asks   uint64
}

func testsKeys() keys[*testsReader] {
	return keys[*testsReader]{
		{
			"policies", "Files and directories with the policies, relative to this file.",
			func() schema { return formList(formText(), TestPathsMax) },
			func(t *testsReader, f *field) {
				for _, item := range t.sequence(&f.node, TestPathsMax) {
					path, _ := t.text(item)
					t.tests.Policies = append(t.tests.Policies, path)
				}
			},
		},
		{
			"start", "When each test begins, such as 2026-01-01T00:00:00Z, which is the default. Windows are aligned to the Unix epoch.",
			func() schema { return schema{"type": "string", "format": "date-time"} }, (*testsReader).start,
		},
		textKey("domain", "The domain of steps that do not say.", func(t *testsReader, s string) { t.domain = s }),
		{
			"tests", "The tests. Each begins with fresh counters.", func() schema { return formList(formRef(defTest), TestsMax) },
			func(t *testsReader, f *field) { t.list = f },
		},
	}
}

// start reads the moment that tests begin at.
func (t *testsReader) start(f *field) {
	text, ok := t.scalar(&f.node)
	if !ok {
		return
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.Year() < 1971 || at.Year() > 2100 {
		t.fail(&f.node, &flaw{message: "not a moment", expected: "a time of RFC 3339 in 1971 to 2100, such as 2026-01-01T00:00:00Z"})
		return
	}
	t.tests.Start = limiter.Instant(at.UnixNano())
}

// ParseTests reads a test file: one YAML document. It reports everything that is
// wrong with it at once; the tests are fit for use only if nothing is.
func ParseTests(src Source) (*Tests, Problems) {
	var (
		rep    report
		bodies []ast.Node
	)
	r := &reader{report: &rep, grammar: newGrammar(), file: src.Name}
	t := &testsReader{reader: r, g: newTestGrammar(), tests: &Tests{File: src.Name, Start: testStart}}
	for _, c := range chunks(src.Text) {
		if c.isBlank() {
			continue
		}
		found, bad := parseYAML(c, checkPlain)
		if bad != nil {
			r.add(Problem{Position: Position{r.file, c.lines + bad.line, max(1, bad.column)}, Message: bad.message, Expected: bad.expected})
			return t.tests, rep.result()
		}
		r.lines = c.lines
		bodies = append(bodies, found...)
	}
	if len(bodies) != 1 {
		r.add(Problem{Position: Position{r.file, 1, 1}, Message: fmt.Sprintf("has %d documents", len(bodies)), Expected: "one"})
		return t.tests, rep.result()
	}
	t.read(bodies[0])
	return t.tests, rep.result()
}

// read reads the document.
func (t *testsReader) read(body ast.Node) {
	root := &node{value: body}
	fs, ok := t.mapping(root, t.g.file.names())
	if !ok {
		return
	}
	for _, f := range fs {
		t.g.file.find(f.key).read(t, f)
	}
	for _, name := range []string{"policies", "tests"} {
		if fs.get(name) == nil {
			t.add(Problem{Position: t.position(body), Path: name, Message: "is missing", Expected: "a list"})
		}
	}
	if t.list == nil {
		return
	}
	for _, item := range t.sequence(&t.list.node, TestsMax) {
		t.tests.Tests = append(t.tests.Tests, t.test(item))
	}
}

// A testReader collects the fields of a test.
type testReader struct {
	*testsReader
	test  *Test
	steps *field
}

func testKeys() keys[*testReader] {
	return keys[*testReader]{
		textKey("name", "What is expected, in words.", func(t *testReader, s string) { t.test.Name = s }),
		{
			"steps", "Requests in the order of time.", func() schema { return formList(formRef(defStep), StepsMax) },
			func(t *testReader, f *field) { t.steps = f },
		},
	}
}

// test reads one item of `tests`.
func (t *testsReader) test(n *node) Test {
	test := Test{Pos: t.position(n.value)}
	fs, ok := t.mapping(n, t.g.test.names())
	if !ok {
		return test
	}
	to := testReader{testsReader: t, test: &test}
	for _, f := range fs {
		t.g.test.find(f.key).read(&to, f)
	}
	for _, name := range t.g.test.names() {
		if fs.get(name) == nil {
			t.fail(n, &flaw{message: "has no " + name, expected: "{name: NAME, steps: [STEP, …]}"})
		}
	}
	if to.steps == nil {
		return test
	}
	now := time.Duration(0)
	for _, item := range t.sequence(&to.steps.node, StepsMax) {
		s := t.step(item, now)
		now = s.At + time.Duration(max(s.Repeat, 1)-1)*s.Every
		test.Steps = append(test.Steps, s)
	}
	return test
}

// A stepReader collects the fields of a step.
type stepReader struct {
	*testsReader
	step                       *Step
	at, after                  *field
	hasCost                    bool
	ops                        []string // the keys that say what is done, if it is no charge
	cost, lifetime             *field
	attributes, descriptorList *field
}

func stepKeys() keys[*stepReader] {
	return keys[*stepReader]{
		{"at", "When, since the start of the test. Default: when the step before ended.", formSpan, func(s *stepReader, f *field) { s.at = f }},
		{"after", "When, since the end of the step before.", formSpan, func(s *stepReader, f *field) { s.after = f }},
		textKey("domain", "The request's domain. Default: the file's.", func(s *stepReader, text string) { s.step.Domain = text }),
		{
			"attributes", "The request's attributes, in this order: a request with one descriptor.",
			func() schema {
				return schema{"type": "object", "additionalProperties": formScalar(), "maxProperties": EntriesMax}
			},
			func(s *stepReader, f *field) { s.attributes = f },
		},
		{
			"descriptors", "The request's descriptors, each a mapping of attributes.",
			func() schema {
				return formList(schema{"type": "object", "additionalProperties": formScalar()}, DescriptorsMax)
			},
			func(s *stepReader, f *field) { s.descriptorList = f },
		},
		{"cost", "Units that the request costs. Default: 1. 0 only looks.", func() schema { return formNumber(0) }, func(s *stepReader, f *field) {
			s.cost = f
			s.step.Cost, s.hasCost = s.number(&f.node)
			if s.step.Cost > limiter.CostMax {
				s.fail(&f.node, &flaw{message: "too large", expected: fmt.Sprintf("at most %d", uint64(limiter.CostMax))})
			}
		}},
		flagKey("give_back", "Give the units back instead of charging them.", func(s *stepReader, b bool) {
			if b {
				s.does("give_back", limiter.OpGiveBack)
			}
		}),
		flagKey("peek", "Only look: would the cost pass?", func(s *stepReader, b bool) {
			if b {
				s.does("peek", limiter.OpPeek)
			}
		}),
		holderKey("acquire", "Id that acquires slots of concurrency limits. Without it slots are anonymous.", limiter.OpCharge),
		holderKey("renew", "Id whose slots are renewed.", limiter.OpRenew),
		holderKey("release", "Id whose slots are released.", limiter.OpRelease),
		{"lifetime", "How long the slots of acquire or renew live. Default: as long as their limits say.", formSpan, func(s *stepReader, f *field) { s.lifetime = f }},
		flagKey("can_wait", "Does the caller wait as long as a pace says? Default: true.", func(s *stepReader, b bool) { s.step.CanWait = b }),
		{"repeat", "How often it is asked. Default: 1.", func() schema { return formNumber(1) }, func(s *stepReader, f *field) {
			n, _ := s.positive(&f.node)
			if n > RepeatMax {
				s.fail(&f.node, &flaw{message: "too large", expected: fmt.Sprintf("at most %d", RepeatMax)})
				n = 1
			}
			s.step.Repeat = max(n, 1)
		}},
		{
			"every", "How much time is between two of them. Default: none.", formSpan,
			func(s *stepReader, f *field) { s.step.Every, _ = s.readSpan(&f.node) },
		},
		{"expect", "What the answers must be. What is not said is not compared.", func() schema { return formRef(defExpect) }, (*stepReader).expect},
	}
}

// step reads one item of `steps`; now is when the step before ended.
func (t *testsReader) step(n *node, now time.Duration) Step {
	step := Step{Domain: t.domain, Cost: 1, Repeat: 1, CanWait: true, At: now, Pos: t.position(n.value)}
	fs, ok := t.mapping(n, t.g.step.names())
	if !ok {
		return step
	}
	s := stepReader{testsReader: t, step: &step}
	for _, f := range fs {
		t.g.step.find(f.key).read(&s, f)
	}
	s.time(now)
	s.request(n)
	s.slots(n)
	if t.asks += step.Repeat; t.asks > AsksMax && t.asks-step.Repeat <= AsksMax {
		t.fail(n, &flaw{message: "the file asks too often", expected: fmt.Sprintf("at most %d requests in all steps", AsksMax)})
	}
	return step
}

// holderKey is a key whose value is the id of a holder of slots.
func holderKey(name, help string, op limiter.Op) key[*stepReader] {
	form := func() schema {
		id := formText()
		id["maxLength"] = limiter.HolderBytesMax
		return id
	}
	return key[*stepReader]{name, help, form, func(s *stepReader, f *field) {
		id, _ := s.text(&f.node)
		if len(id) > limiter.HolderBytesMax {
			s.fail(&f.node, &flaw{message: "too long", expected: fmt.Sprintf("at most %d bytes", limiter.HolderBytesMax)})
		}
		s.step.Holder = id
		s.does(name, op)
	}}
}

// does has the step do op, as the key says.
func (s *stepReader) does(name string, op limiter.Op) {
	s.ops = append(s.ops, name)
	s.step.Op = op
}

// slots checks what the step does, and reads how long its slots live.
func (s *stepReader) slots(n *node) {
	op := s.step.Op
	if len(s.ops) > 1 {
		s.fail(n, &flaw{message: "has " + strings.Join(s.ops, " and "), expected: "one of give_back, peek, acquire, renew and release"})
	}
	if s.cost != nil && (op == limiter.OpRenew || op == limiter.OpRelease) {
		s.failKey(s.cost, &flaw{message: "can't stand beside " + s.ops[0]})
	}
	if op == limiter.OpCharge && s.hasCost && s.step.Cost == 0 {
		s.step.Op = limiter.OpPeek
	}
	if s.lifetime == nil {
		return
	}
	if s.step.Holder == "" || op == limiter.OpRelease {
		s.failKey(s.lifetime, &flaw{message: "can only stand beside acquire or renew"})
		return
	}
	var ok bool
	if s.step.Lifetime, ok = s.readSpan(&s.lifetime.node); ok && (s.step.Lifetime == 0 || s.step.Lifetime > limiter.LifetimeMax) {
		s.fail(&s.lifetime.node, &flaw{message: "is out of bounds", expected: "1ms to 24h"})
	}
}

// time sets when the step is.
func (s *stepReader) time(now time.Duration) {
	const horizon = 10 * limiter.PeriodMax
	switch {
	case s.at != nil && s.after != nil:
		s.failKey(s.after, &flaw{message: "can't stand beside at"})
	case s.at != nil:
		at, ok := s.readSpan(&s.at.node)
		if ok && at < now {
			s.fail(&s.at.node, &flaw{message: "is before the end of the step before", expected: "at least " + now.String()})
		}
		s.step.At = max(at, now)
	case s.after != nil:
		after, _ := s.readSpan(&s.after.node)
		s.step.At = now + min(after, horizon+1) // both far below what overflows
	}
	if s.step.Every > horizon || s.step.At > horizon || s.step.At+s.step.Every*time.Duration(min(s.step.Repeat, uint64(horizon/max(s.step.Every, 1))+1)) > horizon {
		s.add(Problem{Position: s.step.Pos, Message: "is too late", Expected: "at most ten years after the start"})
		s.step.At, s.step.Every = now, 0
	}
}

// request sets the step's descriptors.
func (s *stepReader) request(n *node) {
	switch {
	case s.step.Domain == "":
		s.fail(n, &flaw{message: "has no domain", expected: "domain: NAME here or for the whole file"})
	case s.attributes != nil && s.descriptorList != nil:
		s.failKey(s.descriptorList, &flaw{message: "can't stand beside attributes"})
	case s.attributes != nil:
		s.step.Descriptors = [][]Label{s.labels(&s.attributes.node)}
	case s.descriptorList != nil:
		for _, item := range s.sequence(&s.descriptorList.node, DescriptorsMax) {
			s.step.Descriptors = append(s.step.Descriptors, s.labels(item))
		}
	default:
		s.fail(n, &flaw{message: "has no attributes", expected: "attributes: {KEY: VALUE, …} or descriptors: [{KEY: VALUE, …}, …]"})
	}
	entries := 0
	for _, d := range s.step.Descriptors {
		entries += len(d)
	}
	if entries > EntriesMax {
		s.fail(n, &flaw{message: fmt.Sprintf("has %d attributes", entries), expected: fmt.Sprintf("at most %d", EntriesMax)})
	}
}

// labels reads a mapping of attributes, which keeps its order.
func (s *stepReader) labels(n *node) []Label {
	fs, _ := s.mapping(n, nil)
	labels := make([]Label, 0, len(fs))
	for _, f := range fs {
		value, _ := s.scalar(&f.node)
		labels = append(labels, Label{f.key, value})
	}
	return labels
}

// An expectReader collects what a step expects.
type expectReader struct {
	*stepReader
	e *Expectation
}

func expectKeys() keys[*expectReader] {
	verdicts := []string{limiter.Allowed.String(), limiter.Denied.String()}
	count := func(set func(e *Expectation, x *Expected[uint64])) func(*expectReader, *field) {
		return func(to *expectReader, f *field) {
			n, _ := to.number(&f.node)
			set(to.e, &Expected[uint64]{n, to.position(f.keyNode)})
		}
	}
	whole := func() schema { return formNumber(0) }
	return keys[*expectReader]{
		{"verdict", "Of each request.", func() schema { return formWords(verdicts) }, func(to *expectReader, f *field) {
			v := limiter.Allowed
			if to.choice(&f.node, verdicts...) == 1 {
				v = limiter.Denied
			}
			to.e.Verdict = &Expected[limiter.Verdict]{v, to.position(f.keyNode)}
		}},
		{"allowed", "How many of the requests are allowed.", whole, count(func(e *Expectation, x *Expected[uint64]) { e.Allowed = x })},
		{"denied", "How many of the requests are denied.", whole, count(func(e *Expectation, x *Expected[uint64]) { e.Denied = x })},
		{"denied_by", "Name of the limit that the last denial names.", formText, func(to *expectReader, f *field) {
			name, _ := to.text(&f.node)
			to.e.DeniedBy = &Expected[string]{name, to.position(f.keyNode)}
		}},
		{"retry_after", "Of the last denial, rounded up to milliseconds; never if it can't pass.", formSpan, func(to *expectReader, f *field) {
			if s, _ := to.scalar(&f.node); s == "never" {
				to.e.RetryAfter = &Expected[time.Duration]{limiter.Never, to.position(f.keyNode)}
			} else if span, ok := to.readSpan(&f.node); ok {
				to.e.RetryAfter = &Expected[time.Duration]{span, to.position(f.keyNode)}
			}
		}},
		{"wait", "How long the last request that is allowed waits, rounded up to milliseconds; 0s if it starts at once.", formSpan, func(to *expectReader, f *field) {
			if span, ok := to.readSpan(&f.node); ok {
				to.e.Wait = &Expected[time.Duration]{span, to.position(f.keyNode)}
			}
		}},
		{
			"remaining", "Units left after the last request: the least of the enforced limits that it reached.", whole,
			count(func(e *Expectation, x *Expected[uint64]) { e.Remaining = x }),
		},
		{
			"limits", "Names of the limits that the last request reached, in any order; [] for none.",
			func() schema { return schema{"type": "array", "items": formText(), "maxItems": limiter.ChargesMax} }, (*expectReader).limits,
		},
	}
}

// limits reads a list of names, which may be empty.
func (to *expectReader) limits(f *field) {
	names := []string{}
	if list, ok := f.value.(*ast.SequenceNode); !ok || len(list.Values) > 0 {
		for _, item := range to.sequence(&f.node, limiter.ChargesMax) {
			name, _ := to.text(item)
			names = append(names, name)
		}
	}
	slices.Sort(names)
	to.e.Limits = &Expected[[]string]{names, to.position(f.keyNode)}
}

// expect reads what a step expects.
func (s *stepReader) expect(f *field) {
	fs, ok := s.mapping(&f.node, s.g.expect.names())
	if !ok {
		return
	}
	to := expectReader{s, &s.step.Expect}
	for _, f := range fs {
		s.g.expect.find(f.key).read(&to, f)
	}
	if len(fs) == 0 {
		s.fail(&f.node, &flaw{message: "expects nothing", expected: "some of " + strings.Join(s.g.expect.names(), ", ")})
	}
}
