package policy

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
)

// An importedService answers requests with an imported policy: importer, YAML,
// parser, compiler, matcher and counter table, as a server has them.
type importedService struct {
	domain string
	snap   *Snapshot
	table  *table.Table
	req    Request
	call   limiter.Call
}

// fataler is what *testing.T and *rapid.T have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// importEnvoyText imports one configuration file and makes a service of it.
func importEnvoyText(t fataler, text []byte, o EnvoyOptions) *importedService {
	t.Helper()
	docs, err := ImportEnvoy([]Source{{Name: "config.yaml", Text: text}}, o)
	if err != nil {
		t.Fatalf("import: %v\n%s", err, text)
	}
	docs, problems := Parse([]Source{{Name: "imported", Text: Marshal(docs[0])}})
	if len(problems) > 0 {
		t.Fatalf("the imported policy is not valid: %v\n%s", problems, text)
	}
	snap, problems := Compile(docs, Options{Hasher: limiter.NewKeyHasher([16]byte{1})})
	if len(problems) > 0 {
		t.Fatalf("compile: %v", problems)
	}
	counters, err := table.New(table.Config{EntriesMax: 1 << 16})
	if err != nil {
		t.Fatalf("%v", err)
	}
	counters.Install(snap.Limits())
	return &importedService{domain: docs[0].Domain, snap: snap, table: counters}
}

// shouldRateLimit answers a request in the terms of the reference service.
func (s *importedService) shouldRateLimit(t fataler, now time.Duration, calls []refCall) (over bool, statuses []refStatus) {
	t.Helper()
	s.req.Reset()
	s.call.Reset()
	s.req.Domain = []byte(s.domain)
	for _, c := range calls {
		d := s.req.AddDescriptor()
		if c.hits != nil {
			d.Cost = *c.hits
		}
		if d.Cost == 0 {
			d.Op = limiter.OpPeek
		}
		for _, e := range c.entries {
			s.req.AddEntry([]byte(e.key), []byte(e.value))
		}
	}
	if outcome := s.snap.Match(&s.req, &s.call); outcome != Matched {
		t.Fatalf("match: outcome %v", outcome)
	}
	if !s.table.Decide(limiter.Instant(now), &s.call) {
		t.Fatalf("the table did not decide at once")
	}
	verdict, _ := s.call.Verdict()
	statuses = make([]refStatus, len(calls))
	for _, ch := range s.call.Charges() {
		for i := range calls {
			if ch.Descriptors&(1<<i) != 0 {
				if statuses[i] != (refStatus{}) {
					t.Fatalf("descriptor %d owes two charges", i)
				}
				statuses[i] = statusOf(&ch, now)
			}
		}
	}
	return verdict == limiter.Denied, statuses
}

// statusOf says what one charge's decision is in the reference service's terms.
func statusOf(ch *limiter.Charge, now time.Duration) refStatus {
	if ch.Limit.Kind == limiter.KindUnlimited {
		return refStatus{unlimited: true}
	}
	d := ch.Decision
	st := refStatus{
		limited: true, over: d.Verdict == limiter.Denied && !ch.Limit.Shadow,
		remaining: d.Remaining, reset: int64((d.ResetAfter + time.Second - 1) / time.Second),
	}
	if d.ResetAfter == 0 && d.Remaining == ch.Limit.Amount {
		// The documented difference: a window that nothing was used of is as
		// good as reset. Everything else about it must agree.
		st.reset = int64((ch.Limit.Period - now%ch.Limit.Period + time.Second - 1) / time.Second)
	}
	return st
}

// instant is a time of a .calls file.
func instant(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

func TestExamplesAnswerAsWrittenDown(t *testing.T) {
	for _, name := range envoyFiles(t, "good") {
		t.Run(name, func(t *testing.T) {
			script := filepath.Join("testdata/envoy", strings.TrimSuffix(name, ".yaml")+".calls")
			steps, err := parseCalls(readTestFile(t, script))
			if err != nil {
				t.Fatal(err)
			}
			src := envoySource(t, name)
			imported := importEnvoyText(t, src.Text, EnvoyOptions{})
			var model *refService
			// The model's YAML reader is not the one of the service: it knows
			// neither merge keys nor `on`.
			if name != "good/yaml_features.yaml" {
				var config refConfig
				if err := yaml.Unmarshal(src.Text, &config); err != nil {
					t.Fatal(err)
				}
				model = &refService{roots: config.Descriptors, counts: map[string]uint64{}}
			}
			for _, step := range steps {
				if step.times != 1 {
					t.Fatalf("%s:%d: an answer has one remaining", script, step.line)
				}
				if model != nil {
					if got := formatAnswer(model.shouldRateLimit(int64(step.at), step.calls)); got != step.want {
						t.Errorf("%s:%d: the model says\n got %s\nwant %s", script, step.line, got, step.want)
					}
				}
				if got := formatAnswer(imported.shouldRateLimit(t, instant(step.at), step.calls)); got != step.want {
					t.Errorf("%s:%d: the imported policy says\n got %s\nwant %s", script, step.line, got, step.want)
				}
			}
		})
	}
}

// TestTheReferenceServicesOwnExamplesAnswerAsItsDocumentsSay asks what the README of
// envoyproxy/ratelimit, its sample configuration and the integration tests of that
// say the answer to. What the documents leave open is compared with the model.
func TestTheReferenceServicesOwnExamplesAnswerAsItsDocumentsSay(t *testing.T) {
	for _, name := range envoyFiles(t, "documented") {
		t.Run(name, func(t *testing.T) {
			script := filepath.Join("testdata/envoy", strings.TrimSuffix(name, ".yaml")+".calls")
			steps, err := parseCalls(readTestFile(t, script))
			if err != nil {
				t.Fatal(err)
			}
			src := envoySource(t, name)
			lossy := strings.HasPrefix(string(src.Text), "# lossy\n")
			if _, err := ImportEnvoy([]Source{src}, EnvoyOptions{}); (err != nil) != lossy {
				t.Fatalf("without --lossy: %v", err)
			}
			imported := importEnvoyText(t, src.Text, EnvoyOptions{Lossy: lossy})
			var config refConfig
			if err := yaml.Unmarshal(src.Text, &config); err != nil {
				t.Fatal(err)
			}
			model := &refService{roots: config.Descriptors, counts: map[string]uint64{}}
			for _, step := range steps {
				for n := range step.times {
					over, statuses := imported.shouldRateLimit(t, instant(step.at), step.calls)
					if got := formatAnswer(over, nil); got != step.want {
						t.Fatalf("%s:%d, time %d: %s, documented is %s", script, step.line, n+1, got, step.want)
					}
					got, want := formatAnswer(over, statuses), formatAnswer(model.shouldRateLimit(int64(step.at), step.calls))
					if got != want {
						t.Fatalf("%s:%d, time %d: %s, the model says %s", script, step.line, n+1, got, want)
					}
				}
			}
		})
	}
}

// drawDescriptors draws the descriptors of one level. Few keys and values, with
// _ and * in them, so that they meet.
func drawDescriptors(t *rapid.T, depth int) []refDescriptor {
	n := rapid.IntRange(1, 6).Draw(t, "descriptors")
	var level []refDescriptor
	for range n {
		d := refDescriptor{
			Key:        rapid.SampledFrom([]string{"a", "a", "b", "a_b", "a*", "b_"}).Draw(t, "key"),
			Value:      rapid.SampledFrom([]string{"", "", "x", "y", "x_y", "b", "b_x", "*", "x*", "*y", "x*y", "*_*", "b*"}).Draw(t, "value"),
			ShadowMode: rapid.IntRange(0, 5).Draw(t, "shadow") == 0,
			QuotaMode:  rapid.IntRange(0, 2).Draw(t, "quota") == 0,
		}
		if slices.ContainsFunc(level, func(e refDescriptor) bool { return e.joined() == d.joined() }) {
			continue
		}
		d.ShareThreshold = strings.Contains(d.joined(), "*") && rapid.Bool().Draw(t, "share")
		if rapid.IntRange(0, 3).Draw(t, "limited") > 0 {
			d.RateLimit = drawLimit(t)
		}
		if depth < 3 && rapid.IntRange(0, 2).Draw(t, "nested") == 0 {
			d.Descriptors = drawDescriptors(t, depth+1)
		}
		level = append(level, d)
	}
	return level
}

func drawLimit(t *rapid.T) *refLimit {
	names := []string{"", "", "n", "m"}
	l := &refLimit{Name: rapid.SampledFrom(names).Draw(t, "name")}
	for _, name := range names[2:] {
		if name != l.Name && rapid.IntRange(0, 5).Draw(t, "replaces") == 0 {
			l.Replaces = append(l.Replaces, refRef{name})
		}
	}
	if rapid.IntRange(0, 7).Draw(t, "unlimited") == 0 {
		l.Unlimited = true
		return l
	}
	l.Unit = rapid.SampledFrom([]string{"second", "MINUTE", "hour", "Day", "week", "month", "year"}).Draw(t, "unit")
	l.RequestsPerUnit = rapid.SampledFrom([]uint32{0, 1, 2, 3, 5, 4294967295}).Draw(t, "amount")
	return l
}

func drawCalls(t *rapid.T) []refCall {
	calls := make([]refCall, rapid.IntRange(1, 5).Draw(t, "calls"))
	for i := range calls {
		if h := rapid.IntRange(-6, 4).Draw(t, "hits"); h >= 0 {
			hits := uint64(h)
			calls[i].hits = &hits
		}
		for range rapid.SampledFrom([]int{1, 1, 1, 2, 2, 3, 4}).Draw(t, "entries") {
			calls[i].entries = append(calls[i].entries, refEntry{
				rapid.SampledFrom([]string{"a", "a", "b", "a_b", "b_", "ab"}).Draw(t, "key"),
				rapid.SampledFrom([]string{"", "x", "y", "x_y", "xxy", "b", "b_x", "*", "x*", "_"}).Draw(t, "value"),
			})
		}
	}
	return calls
}

func TestImportedPoliciesAnswerAsTheReferenceServiceDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		config := refConfig{Domain: "d", Descriptors: drawDescriptors(t, 1)}
		text, err := yaml.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		model := &refService{roots: config.Descriptors, counts: map[string]uint64{}}
		imported := importEnvoyText(t, text, EnvoyOptions{})
		now := 1_795_392_000*time.Second + time.Duration(rapid.Int64Range(0, int64(400*24*time.Hour)).Draw(t, "start"))
		steps := rapid.IntRange(1, 30).Draw(t, "steps")
		for range steps {
			now += rapid.SampledFrom([]time.Duration{
				0, 0, 0, 0, time.Nanosecond, 300 * time.Millisecond, time.Second, 59 * time.Second,
				time.Hour, 25 * time.Hour, 8 * 24 * time.Hour, 31 * 24 * time.Hour,
			}).Draw(t, "later")
			calls := drawCalls(t)
			wantOver, want := model.shouldRateLimit(int64(now/time.Second), calls)
			gotOver, got := imported.shouldRateLimit(t, now, calls)
			if gotOver != wantOver || !slices.Equal(got, want) {
				t.Fatalf("at %v %v\n got %s\nwant %s\nwith\n%s", now, calls, formatAnswer(gotOver, got), formatAnswer(wantOver, want), text)
			}
		}
	})
}
