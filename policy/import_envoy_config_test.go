package policy

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"
)

// asMessage says in a control plane's terms what list says in a file's.
func asMessage(list []refDescriptor) []EnvoyDescriptor {
	var ds []EnvoyDescriptor
	for _, r := range list {
		d := EnvoyDescriptor{
			Key: r.Key, Value: r.Value, ShadowMode: r.ShadowMode, QuotaMode: r.QuotaMode,
			Descriptors: asMessage(r.Descriptors),
		}
		if l := r.RateLimit; l != nil {
			d.Limit = &EnvoyLimit{Unit: l.Unit, Amount: l.RequestsPerUnit, Unlimited: l.Unlimited, Name: l.Name}
			if l.Unit == "" {
				d.Limit.Unit = "UNKNOWN" // the message's zero
			}
			for _, name := range l.Replaces {
				d.Limit.Replaces = append(d.Limit.Replaces, name.Name)
			}
		}
		ds = append(ds, d)
	}
	return ds
}

// withoutSharing drops what a message can't say.
func withoutSharing(list []refDescriptor) []refDescriptor {
	list = slices.Clone(list)
	for i := range list {
		list[i].ShareThreshold = false
		list[i].Descriptors = withoutSharing(list[i].Descriptors)
	}
	return list
}

func TestAMessageMeansWhatTheFileOfTheSameWordsMeans(t *testing.T) {
	comment := regexp.MustCompile(`(?m)^ *#.*\n`)
	rapid.Check(t, func(t *rapid.T) {
		file := refConfig{Domain: "d", Descriptors: withoutSharing(drawDescriptors(t, 1))}
		text, err := yaml.Marshal(file)
		if err != nil {
			t.Fatal(err)
		}
		want, wantErr := ImportEnvoy([]Source{{Name: "f.yaml", Text: text}}, EnvoyOptions{})
		got, gotErr := ImportEnvoyConfigs([]EnvoyConfig{{Name: "f", Domain: "d", Descriptors: asMessage(file.Descriptors)}}, EnvoyOptions{})
		if (wantErr == nil) != (gotErr == nil) {
			t.Fatalf("file: %v\nmessage: %v\n%s", wantErr, gotErr, text)
		}
		if wantErr != nil {
			return
		}
		a, b := comment.ReplaceAllString(string(Marshal(want[0])), ""), comment.ReplaceAllString(string(Marshal(got[0])), "")
		if a != b {
			t.Fatalf("file:\n%s\nmessage:\n%s", a, b)
		}
	})
}

func TestAMessageIsRefusedByTheNameOfItsRule(t *testing.T) {
	limit := func(unit string) *EnvoyLimit { return &EnvoyLimit{Unit: unit, Amount: 5} }
	deep := []EnvoyDescriptor{{Key: "k", Limit: limit("SECOND")}}
	for range DepthMax {
		deep = []EnvoyDescriptor{{Key: "k", Descriptors: deep}}
	}
	for name, test := range map[string]struct {
		configs []EnvoyConfig
		want    string
	}{
		"no domain":        {[]EnvoyConfig{{Name: "n"}}, `resource "n": domain is missing or empty`},
		"one domain twice": {[]EnvoyConfig{{Name: "a", Domain: "d"}, {Name: "b", Domain: "d"}}, `resource "b": domain "d" is in resource "a" already`},
		"no key": {[]EnvoyConfig{{Name: "n", Domain: "d", Descriptors: []EnvoyDescriptor{{
			Key: "route", Value: "r", Descriptors: []EnvoyDescriptor{{Value: "x"}},
		}}}}, `resource "n": route_r / _x: descriptor has no key`},
		"no unit": {[]EnvoyConfig{{Name: "n", Domain: "d", Descriptors: []EnvoyDescriptor{{
			Key: "route", Value: "r", Descriptors: []EnvoyDescriptor{{Key: "rule-0-match-0", Limit: limit("UNKNOWN")}},
		}}}}, `resource "n": route_r / rule-0-match-0: unit "UNKNOWN" is not one of`},
		"a unit, but unlimited": {[]EnvoyConfig{{Name: "n", Domain: "d", Descriptors: []EnvoyDescriptor{
			{Key: "k", Limit: &EnvoyLimit{Unit: "DAY", Unlimited: true}},
		}}}, `resource "n": k: an unlimited rate_limit has no unit`},
		"two descriptors of one composite key": {[]EnvoyConfig{{Name: "n", Domain: "d", Descriptors: []EnvoyDescriptor{
			{Key: "a", Value: "b", Limit: limit("DAY")}, {Key: "a_b", Limit: limit("DAY")},
		}}}, `resource "n": a_b: duplicate descriptor: "a_b" is at resource "n" already`},
		"replaces nobody":  {[]EnvoyConfig{{Name: "n", Domain: "d", Descriptors: []EnvoyDescriptor{{Key: "k", Limit: &EnvoyLimit{Unit: "DAY", Replaces: []string{""}}}}}}, "an entry without a name"},
		"replaces itself":  {[]EnvoyConfig{{Name: "n", Domain: "d", Descriptors: []EnvoyDescriptor{{Key: "k", Limit: &EnvoyLimit{Unit: "DAY", Name: "x", Replaces: []string{"x"}}}}}}, `rate_limit "x" replaces itself`},
		"nested too deep":  {[]EnvoyConfig{{Name: "n", Domain: "d", Descriptors: deep}}, "nested more than 32 deep"},
		"carries metadata": {[]EnvoyConfig{{Name: "n", Domain: "d", Descriptors: []EnvoyDescriptor{{Key: "k", Metadata: true, Limit: limit("DAY")}}}}, "metadata: Headgate sends no dynamic metadata"},
	} {
		_, err := ImportEnvoyConfigs(test.configs, EnvoyOptions{})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

func TestImportOptionsStandForTheServicesVariables(t *testing.T) {
	configs := []EnvoyConfig{
		{Name: "a", Domain: "d", Descriptors: []EnvoyDescriptor{{Key: "k", DetailedMetric: true, Limit: &EnvoyLimit{Unit: "hour", Amount: 3}}}},
		{Name: "b", Domain: "d", Descriptors: []EnvoyDescriptor{{Key: "l", Limit: &EnvoyLimit{Unit: "HOUR", Amount: 4}}}},
	}
	var lost []Problem
	docs, err := ImportEnvoyConfigs(configs, EnvoyOptions{
		MergeDomains: true, Lossy: true, Shadow: true, AnyOf: true, StopWhenOver: true,
		Lost: func(p Problem) { lost = append(lost, p) },
	})
	if err != nil || len(docs) != 1 || len(docs[0].Rules) != 2 {
		t.Fatalf("%d documents, %v", len(docs), err)
	}
	for _, r := range docs[0].Rules {
		if !r.Terms[0].Shadow || !r.Terms[0].AnyOf {
			t.Errorf("rule %+v", r)
		}
	}
	if text := string(Marshal(docs[0])); !strings.Contains(text, "LOST (resource \"a\"): detailed_metric") || strings.Contains(text, "count_denied: true") {
		t.Errorf("%s", text)
	}
	if len(lost) != 1 || !strings.HasPrefix(lost[0].String(), `resource "a": k: detailed_metric`) {
		t.Errorf("lost %v", lost)
	}
	if _, problems := Compile(docs, Options{}); len(problems) > 0 {
		t.Error(problems)
	}
}
