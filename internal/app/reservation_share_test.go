package app

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/limiter/hold"
)

// TestADomainHasItsShareOfTheReservations: of a node of two domains, one leaves room for
// the other, is told why it gets no more, and metrics say so by domain.
func TestADomainHasItsShareOfTheReservations(t *testing.T) {
	c := patientConfig(t, "domain: llm\nlimits:\n  - {name: calls, by: [team], window: 100/year}\n")
	other := filepath.Join(t.TempDir(), "other.yaml")
	write(t, other, "domain: other\nlimits:\n  - {name: calls, by: [team], window: 100/year}\n")
	c.Policy.Paths = append(c.Policy.Paths, other)
	c.Reservations.Max, c.Reservations.SharePercent = 4, 50
	n := startNode(t, c)
	id := 0
	reserve := func(domain, attribute string) (*headgatev1.CheckResponse, error) {
		id++
		r, err := n.client.Reserve(context.Background(), &headgatev1.ReserveRequest{
			Domain: domain, Attributes: []*headgatev1.Attribute{{Key: attribute, Value: "a"}}, Id: fmt.Append(nil, id),
		})
		return r.GetDecision(), err
	}
	for _, domain := range []string{"llm", "llm", "other"} {
		if d, err := reserve(domain, "team"); err != nil || d.GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED {
			t.Fatalf("%s: %v, %v", domain, d, err)
		}
	}
	d, err := reserve("llm", "team")
	if err != nil || d.GetDeniedBy() != "calls" || d.GetDegraded() != headgatev1.DegradedReason_DEGRADED_REASON_RESERVATIONS_SHARE_FULL {
		t.Errorf("beyond the share: %v, %v", d, err)
	}
	want := `domain: "llm": no room for another reservation, nothing was charged: the domain, or all those without a policy, has 2 reservations (reservations.share_percent of reservations.max)`
	if _, err := reserve("llm", "ip"); status.Code(err) != codes.Unavailable || status.Convert(err).Message() != want {
		t.Errorf("beyond the share, where no limit applies: %v, want %s", err, want)
	}
	if _, err := reserve("nowhere", "ip"); err != nil {
		t.Errorf("a domain without a policy: %v", err)
	}
	want = `domain: "nowhere2": no room for another reservation, nothing was charged: there are 4 reservations (reservations.max)`
	if _, err := reserve("nowhere2", "ip"); status.Code(err) != codes.Unavailable || status.Convert(err).Message() != want {
		t.Errorf("beyond the room: %v, want %s", err, want)
	}
	_, page := get(t, "http://"+n.HTTP+"/metrics")
	for _, want := range []string{
		`headgate_reservations_total{domain="llm",event="refused_share"} 2`, `headgate_reservations_total{domain="",event="refused"} 1`,
		`headgate_reservation_records{domain="other"} 1`, `headgate_reservation_records{domain=""} 1`, `headgate_reservation_share_max 2`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no metric %s", want)
		}
	}
	if strings.Contains(page, "nowhere") {
		t.Error("a domain that no policy has is in the metrics")
	}
}

func TestRefusedReservationsAreLoggedWithTheirBound(t *testing.T) {
	var out bytes.Buffer
	l := refusalLog{log: slog.New(slog.NewTextHandler(&out, nil)), bounds: hold.Bounds{Max: 4, Share: 2}}
	said := func() string {
		defer out.Reset()
		return out.String()
	}
	l.look(map[string]hold.Counts{"llm": {Opened: 1}})
	if s := said(); s != "" {
		t.Errorf("nothing was refused: %s", s)
	}
	counts := map[string]hold.Counts{"llm": {ShareFull: 3}, "other": {Refused: 1}}
	l.look(counts)
	s := said()
	for _, want := range []string{
		"domain=llm setting=reservations.share_percent bound=2 refused=3", "domain=other setting=reservations.max bound=4 refused=1",
	} {
		if !strings.Contains(s, want) {
			t.Errorf("no %q in %s", want, s)
		}
	}
	l.look(counts)
	if s := said(); s != "" {
		t.Errorf("said twice: %s", s)
	}
	l.look(map[string]hold.Counts{"llm": {ShareFull: 5}})
	if s := said(); strings.Count(s, "\n") != 1 || !strings.Contains(s, "refused=2") {
		t.Errorf("two more: %s", s)
	}
}
