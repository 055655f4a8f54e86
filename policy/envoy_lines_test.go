package policy

import "testing"

func TestEnvoyLinesSayWhatIsLimited(t *testing.T) {
	docs, problems := Parse([]Source{{Name: "a.yaml", Text: []byte(`
domain: rl
charge: all
limits:
  - {descriptor: [source_cluster=proxy, destination_cluster=mock], window: 1/min}
  - {descriptor: [foo], window: 2/day, shadow: true}
  - {descriptor: [service=a], window: 5/week, any_of: true}
  - {descriptor: [qux], unlimited: true}
  - {descriptor: [ldap], exempt: true}
---
domain: api
limits:
  - {name: calls, by: [user], rate: 10/s, burst: 20, overrides: [{values: root, amount: 99}]}
  - {name: slow, when: {plan: free}, window: 7/90s}
  - {name: fast, when: {plan: gold}, window: 7/1500ms}
  - {name: exports, by: [tenant], concurrency: 5}
`)}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	s, problems := Compile(docs, Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	const want = `api: unit=SECOND requests_per_unit=10, shadow_mode: false, quota_mode: false, kind: rate, for: by user
api: unit=SECOND requests_per_unit=99, shadow_mode: false, quota_mode: false, kind: rate, for: by user
api: unit=SECOND requests_per_unit=7, shadow_mode: false, quota_mode: false, every: 90s, for: when plan: free
api: unit=UNKNOWN requests_per_unit=7, shadow_mode: false, quota_mode: false, every: 1500ms, for: when plan: gold
api: unit=MINUTE requests_per_unit=5, shadow_mode: false, quota_mode: false, kind: concurrency, for: by tenant
rl.source_cluster_proxy.destination_cluster_mock: unit=MINUTE requests_per_unit=1, shadow_mode: false, quota_mode: false
rl.foo: unit=DAY requests_per_unit=2, shadow_mode: true, quota_mode: false
rl.service_a: unit=WEEK requests_per_unit=5, shadow_mode: false, quota_mode: true
rl.qux: unit=UNKNOWN requests_per_unit=0, shadow_mode: false, quota_mode: false, kind: unlimited
`
	if got := EnvoyLines(s); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := EnvoyLines(&Snapshot{}); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}
