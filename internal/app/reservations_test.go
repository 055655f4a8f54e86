package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/internal/config"
)

// A reserver asks a node for reservations of one team.
type reserver struct {
	*testNode
	t *testing.T
}

// llmPolicy has a limit of each kind that gives something back. The year of its quotas begins
// half a year from now.
func llmPolicy() string {
	return fmt.Sprintf(`domain: llm
limits:
  - {name: calls, by: [team], concurrency: 2, lifetime: 10m}
  - {name: tokens, by: [team], rate: 100/hour, unit: tokens}
  - {name: budget, by: [team], quota: 100/year, month: %[1]d, unit: cents}
  - {name: licence, by: [team], quota: 100/year, month: %[1]d, unit: cents, mode: exact}
`, time.Now().UTC().AddDate(0, 6, 0).Month())
}

// reserve reserves 30 tokens and so many cents.
func (n *reserver) reserve(id string, cents uint64) *headgatev1.ReserveResponse {
	n.t.Helper()
	r, err := n.client.Reserve(context.Background(), &headgatev1.ReserveRequest{
		Domain: "llm", Attributes: []*headgatev1.Attribute{{Key: "team", Value: "a"}}, Id: []byte(id),
		Costs: []*headgatev1.UnitCost{{Unit: "cents", Units: cents}, {Unit: "tokens", Units: 30}},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return r
}

func (n *reserver) settle(id string, cents uint64) (*headgatev1.SettleResponse, error) {
	return n.client.Settle(context.Background(), &headgatev1.SettleRequest{
		Domain: "llm", Id: []byte(id), Costs: []*headgatev1.UnitCost{{Unit: "cents", Units: cents}, {Unit: "tokens", Units: 10}},
	})
}

func (n *reserver) extend(id string) (*headgatev1.ExtendResponse, error) {
	return n.client.Extend(context.Background(), &headgatev1.ExtendRequest{Domain: "llm", Id: []byte(id), Lifetime: durationpb.New(10 * time.Minute)})
}

// returned settles a reservation, and returns what of each limit came back.
func (n *reserver) returned(id string, cents uint64) string {
	n.t.Helper()
	r, err := n.settle(id, cents)
	if err != nil {
		n.t.Fatalf("settle %s: %v", id, err)
	}
	b := fmt.Appendf(nil, "late %v", r.GetLate())
	for _, l := range r.GetLimits() {
		b = fmt.Appendf(b, ", %s %d", l.GetName(), l.GetReturned())
	}
	return string(b)
}

// left returns what is left of one limit.
func (n *reserver) left(limit string) (units uint64) {
	n.t.Helper()
	r, err := n.client.Check(context.Background(), &headgatev1.CheckRequest{
		Domain: "llm", Attributes: []*headgatev1.Attribute{{Key: "team", Value: "a"}}, Cost: proto.Uint64(0), Explain: true,
	})
	if err != nil {
		n.t.Fatal(err)
	}
	for _, l := range r.GetLimits() {
		if l.GetName() == limit {
			return l.GetRemaining()
		}
	}
	n.t.Fatalf("no limit %s in %v", limit, r)
	return 0
}

func startReserver(t *testing.T, c config.Config) *reserver {
	t.Helper()
	return &reserver{startNode(t, c), t}
}

// restart stops the node, in order, and starts it again.
func (n *reserver) restart(c config.Config) *reserver {
	n.t.Helper()
	if err := n.stop(); err != nil {
		n.t.Fatal(err)
	}
	return startReserver(n.t, c)
}

// TestAMisspeltUnitLosesNothingOverARestart: what the reservation named is known after it, too.
func TestAMisspeltUnitLosesNothingOverARestart(t *testing.T) {
	c := patientConfig(t, llmPolicy())
	n := startReserver(t, c)
	settle := func(unit string) error {
		_, err := n.client.Settle(context.Background(), &headgatev1.SettleRequest{
			Domain: "llm", Id: []byte("1"), Costs: []*headgatev1.UnitCost{{Unit: unit, Units: 3}},
		})
		return err
	}
	if _, err := n.client.Reserve(context.Background(), &headgatev1.ReserveRequest{
		Domain: "llm", Attributes: []*headgatev1.Attribute{{Key: "team", Value: "a"}}, Id: []byte("1"),
		Costs: []*headgatev1.UnitCost{{Unit: "images", Units: 9}, {Unit: "tokens", Units: 30}},
	}); err != nil {
		t.Fatal(err)
	}
	const want = `costs[0].unit: "image": must be a unit of the reservation, which has "tokens", "cents", "images"`
	for range 2 {
		if err := settle("image"); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), want) {
			t.Errorf("misspelt: %v, want %s", err, want)
		}
		n = n.restart(c)
	}
	if err := settle("images"); err != nil {
		t.Error(err)
	}
}

func TestReservationsSurviveAGracefulRestart(t *testing.T) {
	c := patientConfig(t, llmPolicy())
	n := startReserver(t, c)
	n.reserve("settled", 10)
	if got, want := n.returned("settled", 5), "late false, calls 0, tokens 20, budget 5, licence 5"; got != want {
		t.Errorf("settled before: %s, want %s", got, want)
	}
	made := n.reserve("open", 60)
	if made.GetDecision().GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED {
		t.Fatal(made)
	}
	n.reserve("other", 20)

	n = n.restart(c)
	if r := n.reserve("open", 60); !proto.Equal(r, made) {
		t.Errorf("reserved again: %v, before %v", r, made)
	}
	if r := n.reserve("more", 1); r.GetDecision().GetDeniedBy() != "calls" {
		t.Errorf("both slots are taken: %v", r)
	}
	if got := n.returned("settled", 5); got != "late false, calls 0, tokens 20, budget 5, licence 5" {
		t.Errorf("settled again after the restart: %s", got)
	}
	if r, err := n.extend("open"); err != nil || r.GetLifetime().AsDuration() < 9*time.Minute || len(r.GetLost()) > 0 {
		t.Errorf("extended: %v, %v", r, err)
	}
	for _, limit := range []string{"budget", "licence"} {
		if got := n.left(limit); got != 15 {
			t.Errorf("%d of %s are left, want 15", got, limit)
		}
	}
	want := "late false, calls 0, tokens 20, budget 35, licence 35"
	for range 2 {
		if got := n.returned("open", 25); got != want {
			t.Errorf("settled: %s, want %s", got, want)
		}
	}

	n = n.restart(c) // what was settled is not given back once more
	if got := n.returned("open", 25); got != want {
		t.Errorf("settled again after another restart: %s", got)
	}
	for _, limit := range []string{"budget", "licence"} {
		if got := n.left(limit); got != 50 {
			t.Errorf("%d of %s are left, want 50", got, limit)
		}
	}
	if r, err := n.settle("other", 25); err != nil || r.GetLimits()[2].GetCost() != 25 || r.GetLimits()[2].GetOwed() != 0 {
		t.Errorf("one that cost more than was reserved: %v, %v", r, err)
	}
	if a, b := n.left("budget"), n.left("licence"); a != 45 || b != 45 {
		t.Errorf("%d and %d are left, want 45", a, b)
	}
	if got := n.left("calls"); got != 2 {
		t.Errorf("%d slots are free, want 2", got)
	}
	if _, err := os.Stat(filepath.Join(c.DataDir, heldName)); !os.IsNotExist(err) {
		t.Errorf("after a crash what was settled now would be given back once more: %v", err)
	}
}

func TestSavedReservationsOfAnotherPolicy(t *testing.T) {
	c := patientConfig(t, llmPolicy())
	n := startReserver(t, c)
	n.reserve("open", 60)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	less := strings.ReplaceAll(llmPolicy(), "  - {name: licence", "#")
	write(t, c.Policy.Paths[0], strings.ReplaceAll(less, "quota: 100/year", "quota: 80/year"))
	n = startReserver(t, c)
	if got, want := n.returned("open", 25), "late false, calls 0, tokens 20, budget 35"; got != want {
		t.Errorf("settled: %s, want %s", got, want)
	}
	if got := n.left("budget"); got != 55 {
		t.Errorf("%d are left, want 55", got)
	}
	if !strings.Contains(n.log.String(), `level=WARN msg="saved reservations were of limits that no policy has any more: what those were charged stays" legs=1`) {
		t.Error("nothing was said of the limit that is gone")
	}
}

func TestDamagedReservationsAreSetAside(t *testing.T) {
	c := patientConfig(t, llmPolicy())
	n := startReserver(t, c)
	n.reserve("open", 60)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(c.DataDir, heldName)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for what, damage := range map[string]func([]byte){"a flipped bit": func(b []byte) { b[40] ^= 1 }, "a newer version": func(b []byte) { b[7]++ }} {
		bad := append([]byte(nil), b...)
		damage(bad)
		write(t, file, string(bad))
		n = startReserver(t, c)
		if _, err := n.settle("open", 25); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "no reservation of this domain has it") {
			t.Errorf("%s: %v", what, err)
		}
		if got := n.left("budget"); got != 40 {
			t.Errorf("%s: %d are left, want 40", what, got)
		}
		if !strings.Contains(n.log.String(), `level=ERROR msg="a saved file is damaged: starting without what it had" what=reservations`) {
			t.Errorf("%s: nothing was said", what)
		}
		aside, _ := filepath.Glob(file + damaged + "*")
		if kept, err := os.ReadFile(aside[0]); len(aside) != 1 || err != nil || string(kept) != string(bad) {
			t.Errorf("%s: kept as %v, %v", what, aside, err)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWithoutItsCountersAReservationGivesBackQuotasOnly: those of the table were not saved.
func TestWithoutItsCountersAReservationGivesBackQuotasOnly(t *testing.T) {
	c := patientConfig(t, llmPolicy())
	c.Table.Save = false
	n := startReserver(t, c)
	n.reserve("open", 60)
	n = n.restart(c)
	if got, want := n.returned("open", 25), "late false, calls 0, tokens 0, budget 35, licence 35"; got != want {
		t.Errorf("settled: %s, want %s", got, want)
	}
	if got := n.left("tokens"); got != 100 {
		t.Errorf("%d tokens are left, want 100", got)
	}
}
