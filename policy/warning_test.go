package policy

import "testing"

func TestWhatMaySurpriseIsAWarningWhereItIsWritten(t *testing.T) {
	docs, problems := Parse([]Source{{"shop.yaml", []byte(`domain: shop
limits:
  - {name: a, rate: 5/s}
  - name: b
    by: [tenant]
    concurrency: 5
  - by: [user]
    limits:
      - {window: 5/s}
      - {concurrency: 2}
`)}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	const says = "callers without an id (RLS, HTTP, forward-auth, ext_authz) hold an anonymous slot, which only a give-back or its lifetime releases"
	want := []string{
		"shop.yaml:6:5: limits[1].concurrency: " + says,
		"shop.yaml:10:10: limits[2].limits[1].concurrency: " + says,
	}
	got := Warnings(docs)
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i, p := range got {
		if p.String() != want[i] {
			t.Errorf("got %s, want %s", p, want[i])
		}
	}
}
