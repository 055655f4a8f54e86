package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
	"github.com/headgate/headgate/internal/config"
)

// yearly is a policy with a quota, in a year of which the tests see no end.
func yearly(amount int) string {
	return fmt.Sprintf("domain: shop\nlimits:\n  - name: plan\n    by: [user]\n    quota: %d/year\n    month: %d\n", amount, time.Now().UTC().AddDate(0, 6, 0).Month())
}

// patientConfig is testConfig for a disk that takes its time: a call is denied when
// its units take longer than a decision may.
func patientConfig(t *testing.T, policyText string) config.Config {
	t.Helper()
	c := testConfig(t, policyText)
	c.GRPC.DecideTimeout = 10 * time.Second
	return c
}

func TestAQuotaSurvivesRestartsToTheUnit(t *testing.T) {
	c := patientConfig(t, yearly(9))
	for round, want := range []uint64{6, 3, 0} {
		n := startNode(t, c)
		allow(t, n, "alice", true, true)
		if r := check(t, n.client, "shop", "alice"); r.GetRemaining() != want || r.GetVerdict() != headgatev1.Verdict_VERDICT_ALLOWED {
			t.Errorf("round %d: %v, want %d remaining", round, r, want)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	}
	n := startNode(t, c)
	allow(t, n, "alice", false)
	allow(t, n, "bob", true)
	r := check(t, n.client, "shop", "alice")
	if r.GetDeniedBy() != "plan" || r.GetRetryAfter().AsDuration() < 24*time.Hour || r.GetDegraded() != 0 {
		t.Errorf("denied with %v", r)
	}
}

func TestAGracefulStopOfANodeWithQuotasWarnsOfNothing(t *testing.T) {
	n := startNode(t, patientConfig(t, yearly(9)))
	allow(t, n, "alice", true)
	before := len(n.log.String())
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	if said := n.log.String()[before:]; strings.Contains(said, "level=WARN") || strings.Contains(said, "level=ERROR") {
		t.Errorf("it says:\n%s", said)
	}
}

func TestEachProcessHasATenureOfItsOwnWhateverTheOneBeforeAskedFor(t *testing.T) {
	c := patientConfig(t, yearly(9))
	for tenure := 1; tenure <= 3; tenure++ {
		n := startNode(t, c)
		if says := fmt.Sprintf("tenure=%d ", tenure); !strings.Contains(n.log.String(), says) {
			t.Errorf("want %s, log:\n%s", says, n.log)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestANewAmountKeepsWhatAQuotaUsed(t *testing.T) {
	c := patientConfig(t, yearly(3))
	n := startNode(t, c)
	allow(t, n, "alice", true, true, true, false)
	write(t, c.Policy.Paths[0], yearly(5))
	eventually(t, "the new policy", func() bool { return strings.Count(n.log.String(), "policies in force") == 2 })
	allow(t, n, "alice", true, true, false)
	write(t, c.Policy.Paths[0], yearly(4))
	eventually(t, "the third policy", func() bool { return strings.Count(n.log.String(), "policies in force") == 3 })
	allow(t, n, "alice", false)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n = startNode(t, c)
	allow(t, n, "alice", false)
}

func TestTheFirstQuotaOpensTheStoreAndNothingElseDoes(t *testing.T) {
	c := patientConfig(t, hourly(5))
	n := startNode(t, c)
	allow(t, n, "alice", true)
	dir := filepath.Join(c.DataDir, quotasName)
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Fatalf("without a quota there is %s: %v", dir, err)
	}
	write(t, c.Policy.Paths[0], yearly(2))
	eventually(t, "the policy with a quota", func() bool { return strings.Count(n.log.String(), "policies in force") == 2 })
	allow(t, n, "alice", true, true, false)
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

func TestAStoreThatCantBeReadRefusesThePolicyAndSaysWhy(t *testing.T) {
	c := patientConfig(t, hourly(2))
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(c.DataDir, quotasName), "not a directory")
	n := startNode(t, c)
	write(t, c.Policy.Paths[0], yearly(2))
	eventually(t, "the refusal, which says why", func() bool {
		return strings.Contains(n.log.String(), "policies refused") && strings.Contains(n.log.String(), "app: quotas: ")
	})
	allow(t, n, "alice", true, true, false)
}

func TestAStoreThatIsNotReadyInTimeRefusesThePolicyAndIsStopped(t *testing.T) {
	c := patientConfig(t, hourly(2))
	c.Quotas.StartTimeout = time.Nanosecond
	n := startNode(t, c)
	for tries := 1; tries <= 2; tries++ {
		write(t, c.Policy.Paths[0], yearly(tries))
		eventually(t, "the refusal", func() bool { return strings.Count(n.log.String(), "policies refused: the previous") == tries })
	}
	allow(t, n, "alice", true, true, false)
	if log := n.log.String(); !strings.Contains(log, "app: quotas: ") || strings.Contains(log, "still run") || strings.Contains(log, "the disk failed") {
		t.Errorf("its groups were not stopped before its database was closed:\n%s", log)
	}
}

func TestEachCheckOfABatchOrAStreamHasItsAnswerThoughItsUnitsAreNotHereYet(t *testing.T) {
	const users = 30
	n := startNode(t, patientConfig(t, yearly(1)))
	checks := func(kind string) (all []*headgatev1.CheckRequest) {
		for i := range 2 * users {
			user := &headgatev1.Attribute{Key: "user", Value: fmt.Sprint(kind, i%users)}
			all = append(all, &headgatev1.CheckRequest{Domain: "shop", Attributes: []*headgatev1.Attribute{user}})
		}
		return all
	}
	answered := func(i int, r *headgatev1.CheckResponse) {
		if pass := r.GetVerdict() == headgatev1.Verdict_VERDICT_ALLOWED; pass != (i < users) || r.GetDegraded() != 0 {
			t.Errorf("check %d: %v", i, r)
		}
	}
	batch, err := n.client.CheckBatch(t.Context(), &headgatev1.CheckBatchRequest{Checks: checks("batched")})
	if err != nil || len(batch.GetItems()) != 2*users {
		t.Fatalf("%d answers, %v", len(batch.GetItems()), err)
	}
	for i, item := range batch.GetItems() {
		answered(i, item.GetResponse())
	}

	stream, err := n.client.CheckStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in := new(headgatev1.CheckStreamRequest)
	for i, c := range checks("streamed") {
		in.Checks = append(in.Checks, &headgatev1.StreamCheck{Id: uint64(i), Check: c})
	}
	if err := errors.Join(stream.Send(in), stream.CloseSend()); err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	for out, err := stream.Recv(); !errors.Is(err, io.EOF); out, err = stream.Recv() {
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range out.GetAllowed() {
			seen[id] = true
			answered(int(id), &headgatev1.CheckResponse{Verdict: headgatev1.Verdict_VERDICT_ALLOWED})
		}
		for _, a := range out.GetAnswers() {
			seen[a.GetId()] = true
			answered(int(a.GetId()), a.GetResponse())
		}
	}
	if len(seen) != 2*users {
		t.Errorf("%d checks of the stream are answered, want %d", len(seen), 2*users)
	}
}

func TestAMarkThatIsReachedIsALineOfTheLog(t *testing.T) {
	c := patientConfig(t, yearly(4)+"    notify: [50%, 100%]\n")
	n := startNode(t, c)
	allow(t, n, "alice", true, true)
	eventually(t, "the mark", func() bool { return strings.Contains(n.log.String(), "a quota has reached a mark") })
	if !strings.Contains(n.log.String(), "domain=shop limit=plan key=") || !strings.Contains(n.log.String(), "percent=50 used=2 amount=4") {
		t.Errorf("log:\n%s", n.log)
	}
	allow(t, n, "alice", true, true)
	if err := n.stop(); err != nil { // it does not end before it has said so
		t.Fatal(err)
	}
	if !strings.Contains(n.log.String(), "percent=100 used=4 amount=4") {
		t.Errorf("log:\n%s", n.log)
	}
}
