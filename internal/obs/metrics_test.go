package obs

import (
	"bytes"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/headgate/headgate/limiter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every metric has a line in the reference, and every line a metric.
func TestReferenceListsEveryMetric(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(headgate_[a-z_]+)`").FindAllSubmatch(page, -1) {
		documented[string(m[1])] = true
	}
	c := testConfig()
	c.TLS = func() []TLSReading { return []TLSReading{{Port: "grpc"}} }
	c.Edge = func() EdgeReading { return EdgeReading{Abuse: []Abuse{{"ping", 0}}} }
	c.Store = func() *StoreReading {
		return &StoreReading{Groups: make([]GroupReading, 1), Commands: []CommandReading{{"ensure", "done", 0}}}
	}
	c.Reservations = func() ReservationReading { return ReservationReading{Domains: make([]ReservationCounts, 1)} }
	m := New(c)
	l := limit(1, "shop", "a")
	m.Decisions.Install([]*limiter.Limit{l})
	for series := range gather(t, m, "headgate_") {
		name, _, _ := strings.Cut(series, "{")
		if _, ok := documented[name]; !ok {
			t.Errorf("%s is not in the reference", name)
		}
		documented[name] = false
	}
	for name, missing := range documented {
		if missing {
			t.Errorf("%s is in the reference but not registered", name)
		}
	}
}

func TestReadingsBecomeMetrics(t *testing.T) {
	c := testConfig()
	c.Build = Build{"v1", "abc", "go1"}
	c.Table = func() TableReading {
		return TableReading{Entries: 1, EntriesMax: 2, Bytes: 3, BytesMax: 4, Full: 5, ShareFull: 6, Reclaimed: 7}
	}
	c.Quota = func() QuotaReading {
		return QuotaReading{
			Counters: 1, CountersMax: 2, Parked: 3, Waited: 9, Failed: 4, Refused: 6, ShareFull: 7, Marks: 14, MarksMissed: 15,
			Spent: 7, Refunded: 8, Dropped: 9, Owed: 10, Lost: 11, Entries: 12, CommandsLost: 13, Stranded: 16, Stuck: 17,
		}
	}
	c.Edge = func() EdgeReading {
		return EdgeReading{Connections: 1, Late: 2, Refused: 3, Panics: 4, Faults: 5, Shed: 6, Abuse: []Abuse{{"ping", 7}}, Held: 8, Unheld: 9}
	}
	c.Policy = func() PolicyReading {
		return PolicyReading{Version: 3, Hash: "cafe", Limits: 4, Domains: 5, LoadedAt: 1_500_000_000, Rejected: true}
	}
	c.Modes = func() []ModeReading { return []ModeReading{{"shop", "shadow"}} }
	c.Reservations = func() ReservationReading {
		return ReservationReading{RecordsMax: 1, ShareMax: 2, Domains: []ReservationCounts{
			{Domain: ""}, {Domain: "llm", Open: 3, Records: 4, Made: 5, Settled: 6, Late: 7, Expired: 8, Undone: 9, Refused: 10, ShareFull: 11, Short: 12},
		}}
	}
	c.Ready = func() bool { return true }
	c.TLS = func() []TLSReading {
		return []TLSReading{
			{Port: "grpc", NotAfter: time.Unix(2_000_000_000, 0), Applied: 1, Unchanged: 2, Rejected: 3},
			{Port: "http", NotAfter: time.Unix(3_000_000_000, 0)},
		}
	}
	m := New(c)
	m.Reloaded(ReloadRejected)
	got := gather(t, m, "headgate_")
	for name, want := range map[string]float64{
		"headgate_build_info{go1,abc,v1}":                  1,
		"headgate_ready{}":                                 1,
		"headgate_policy_info{cafe}":                       3,
		"headgate_policy_mode{shop,shadow}":                1,
		"headgate_reservation_records_max{}":               1,
		"headgate_reservation_share_max{}":                 2,
		"headgate_reservations_open{llm}":                  3,
		"headgate_reservations_open{}":                     0,
		"headgate_reservation_records{llm}":                4,
		"headgate_reservations_total{llm,made}":            5,
		"headgate_reservations_total{llm,settled}":         6,
		"headgate_reservations_total{llm,settled_late}":    7,
		"headgate_reservations_total{llm,expired}":         8,
		"headgate_reservations_total{llm,undone}":          9,
		"headgate_reservations_total{llm,refused}":         10,
		"headgate_reservations_total{llm,refused_share}":   11,
		"headgate_reservations_uncharged_total{llm}":       12,
		"headgate_policy_loaded_timestamp_seconds{}":       1.5,
		"headgate_policy_rejected{}":                       1,
		"headgate_policy_limits{}":                         4,
		"headgate_policy_domains{}":                        5,
		"headgate_policy_reloads_total{applied}":           0,
		"headgate_policy_reloads_total{unchanged}":         0,
		"headgate_policy_reloads_total{rejected}":          1,
		"headgate_table_entries{}":                         1,
		"headgate_table_entries_max{}":                     2,
		"headgate_table_bytes{}":                           3,
		"headgate_table_bytes_max{}":                       4,
		"headgate_table_full_total{table}":                 5,
		"headgate_table_full_total{share}":                 6,
		"headgate_table_reclaimed_total{}":                 7,
		"headgate_quota_counters{}":                        1,
		"headgate_quota_counters_max{}":                    2,
		"headgate_quota_parked_calls{}":                    3,
		"headgate_quota_waits_total{answered}":             5,
		"headgate_quota_waits_total{failed}":               4,
		"headgate_quota_refused_total{node}":               6,
		"headgate_quota_refused_total{share}":              7,
		"headgate_quota_marks_total{told}":                 14,
		"headgate_quota_marks_total{missed}":               15,
		"headgate_quota_units_total{spent}":                7,
		"headgate_quota_units_total{given_back}":           8,
		"headgate_quota_units_total{not_credited}":         9,
		"headgate_quota_units_total{owed}":                 10,
		"headgate_quota_units_total{unrecorded}":           11,
		"headgate_quota_units_total{stuck}":                17,
		"headgate_quota_entries_total{}":                   12,
		"headgate_quota_commands_lost_total{}":             13,
		"headgate_quota_stranded_units{}":                  16,
		"headgate_grpc_connections{}":                      1,
		"headgate_late_total{}":                            2,
		"headgate_shed_total{connections_max}":             3,
		"headgate_shed_total{behind_max}":                  6,
		"headgate_abuse_total{ping}":                       7,
		"headgate_faults_total{}":                          5,
		"headgate_panics_total{}":                          4,
		"headgate_tls_certificate_not_after_seconds{grpc}": 2_000_000_000,
		"headgate_tls_certificate_not_after_seconds{http}": 3_000_000_000,
		"headgate_tls_reloads_total{grpc,applied}":         1,
		"headgate_tls_reloads_total{grpc,unchanged}":       2,
		"headgate_tls_reloads_total{grpc,rejected}":        3,
		"headgate_tls_reloads_total{http,applied}":         0,
	} {
		if g, ok := got[name]; !ok || g != want {
			t.Errorf("%s = %v (present %v), want %v", name, g, ok, want)
		}
	}
}

func TestHandlerAnswersScrapes(t *testing.T) {
	m := New(testConfig())
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 || !strings.Contains(w.Body.String(), "headgate_requests_total{outcome=\"allowed\"} 0") || !strings.Contains(w.Body.String(), "go_goroutines") {
		t.Errorf("%d\n%s", w.Code, w.Body.String())
	}
}

func TestLoggerHonoursLevelAndFormat(t *testing.T) {
	var b bytes.Buffer
	NewLogger(&b, "warn", "json").Info("quiet")
	NewLogger(&b, "warn", "json").Warn("loud")
	NewLogger(&b, "nonsense", "text").Debug("quiet")
	NewLogger(&b, "nonsense", "text").Info("plain")
	got := b.String()
	if strings.Contains(got, "quiet") || !strings.Contains(got, `"msg":"loud"`) || !strings.Contains(got, "msg=plain") {
		t.Errorf("log:\n%s", got)
	}
}

// Every metric that an alert of the docs asks for is there.
func TestAlertsOfTheDocsNameMetrics(t *testing.T) {
	reference, err := os.ReadFile("../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"docs/guides/tls.md", "docs/reference/metrics.md"} {
		page, err := os.ReadFile("../../" + path)
		if err != nil {
			t.Fatal(err)
		}
		names := 0
		for _, block := range regexp.MustCompile("(?ms)^```promql\n(.*?)^```$").FindAllSubmatch(page, -1) {
			for _, name := range regexp.MustCompile(`headgate_[a-z_]+`).FindAll(block[1], -1) {
				names++
				name = bytes.TrimSuffix(name, []byte("_bucket"))
				if !bytes.Contains(reference, []byte("| `"+string(name)+"`")) {
					t.Errorf("%s: %s is not in the reference", path, name)
				}
			}
		}
		if names == 0 {
			t.Errorf("%s: no block names a metric", path)
		}
	}
}
