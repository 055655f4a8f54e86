package obs

import (
	"strings"
	"testing"

	"github.com/headgate/headgate/policy"
)

func TestKeyTextsAreBounded(t *testing.T) {
	labels := []policy.Label{{Key: "user", Value: "alice"}, {Key: "path", Value: "/"}}
	if got := string(appendLabels(nil, labels)); got != "user=alice,path=/" {
		t.Errorf("got %q", got)
	}
	labels[1].Value = strings.Repeat("x", 1000)
	got := string(appendLabels(nil, append(labels, policy.Label{Key: "more"})))
	if len(got) != textBytesMax || !strings.HasPrefix(got, "user=alice,path=xxx") || !strings.HasSuffix(got, "x...") {
		t.Errorf("got %d bytes: %q", len(got), got)
	}
}
