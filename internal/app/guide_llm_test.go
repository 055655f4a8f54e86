package app

import (
	"encoding/json"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestTheGuideOfLLMGatewaysIsTrue sends the requests of docs/guides/llm-gateway.md to a
// node with the policy that the page shows. An answer has to have all that the page says
// of it, and may have more.
func TestTheGuideOfLLMGatewaysIsTrue(t *testing.T) {
	text, err := os.ReadFile("../../docs/guides/llm-gateway.md")
	if err != nil {
		t.Fatal(err)
	}
	var n *testNode
	var asked, answer string
	requests := 0
	for _, part := range strings.Split(string(text), "\n```") {
		kind, block, _ := strings.Cut(part, "\n")
		switch kind {
		case "yaml":
			n = startNode(t, patientConfig(t, block))
		case "http":
			line, body, _ := strings.Cut(block, "\n")
			path, ok := strings.CutPrefix(line, "POST ")
			if !ok {
				t.Fatalf("no request: %s", block)
			}
			asked = block
			_, _, answer = post(t, http.DefaultClient, "http://"+n.HTTP+path, body)
			requests++
		case "json":
			var want, got any
			if err := json.Unmarshal([]byte(block), &want); err != nil {
				t.Fatalf("%v in %s", err, block)
			}
			if err := json.Unmarshal([]byte(answer), &got); err != nil || !has(got, want) {
				t.Errorf("%s\nis answered by %s\nthe page says %s", asked, answer, block)
			}
		}
	}
	if requests < 8 {
		t.Errorf("%d requests were found", requests)
	}
	_, page := get(t, "http://"+n.HTTP+"/metrics")
	for _, want := range []string{
		`headgate_reservations_total{domain="llm",event="made"} 3`, `headgate_reservations_total{domain="llm",event="settled"} 3`,
		`headgate_reservations_open{domain="llm"} 0`, `headgate_reservation_records{domain="llm"} 3`, `headgate_reservation_share_max 131072`, `headgate_reservation_records_max 262144`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no metric %s", want)
		}
	}
}

// has reports whether got has all that want has: the fields of an object, and all of
// everything else.
func has(got, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		for k, v := range want {
			ok = ok && has(g[k], v)
		}
		return ok
	case []any:
		g, ok := got.([]any)
		ok = ok && len(g) == len(want)
		for i := range want {
			ok = ok && has(g[i], want[i])
		}
		return ok
	default:
		return reflect.DeepEqual(got, want)
	}
}
