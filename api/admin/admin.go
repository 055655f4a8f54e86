package admin

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"
	"time"
)

// Sources say what is served. All are required, and called for each request.
type Sources struct {
	Status func() Status
	Config func() string // the settings in force, as YAML
	Policy func() Policy
	Lines  func() string // the limits in force, as the reference service's /rlconfig has them
	Top    func() Top
	Table  func() Table

	// ReadOnly refuses every change.
	ReadOnly bool
	Modes    func() Modes
	SetMode  func(Caller, *ModeChange) (*ModeChanged, error)
	Audit    func(n int) ([]AuditRecord, error) // the newest n, newest first

	// What they are given is within its bounds.
	Counters      func(*CountersQuery) (*Counters, error)
	Counter       func(*CounterSelection) (*Counters, error)
	ResetCounters func(Caller, *CounterReset) (*CountersReset, error)
	Quotas        func(*QuotasQuery) (*Quotas, error)
	Quota         func(*CounterSelection) (*Quotas, error)
	AdjustQuota   func(Caller, *QuotaAdjustment) (*QuotaAdjusted, error)
	ResetQuota    func(Caller, *QuotaReset) (*QuotaAdjusted, error)
	Backup        func(Caller, *BackupRequest) (Stream, error)
}

// Status says how the node is.
type Status struct {
	State     string    `json:"state"` // starting, serving, draining or stopping
	Ready     bool      `json:"ready"`
	Version   string    `json:"version"`
	Revision  string    `json:"revision,omitempty"`
	Go        string    `json:"go"`
	StartedAt time.Time `json:"started_at"`
	Now       time.Time `json:"now"` // by the node's clock
	DataDir   string    `json:"data_dir"`
	GRPC      string    `json:"grpc"` // where it listens
	HTTP      string    `json:"http"`
	Admin     string    `json:"admin"`
}

// Policy says what is in force, and what became of the last reading of files.
type Policy struct {
	Version   uint64    `json:"version"`
	Hash      string    `json:"hash"`
	Domains   []string  `json:"domains"`
	Limits    int       `json:"limits"`
	Files     []string  `json:"files"` // that were read
	AppliedAt time.Time `json:"applied_at"`
	ReadAt    time.Time `json:"read_at"`
	Refused   bool      `json:"refused"` // the files have problems: an older policy is in force
	Problems  []string  `json:"problems,omitempty"`
}

// Top ranks keys.
type Top struct {
	Hot    []TopKey `json:"hot"`
	Denied []TopKey `json:"denied"`
}

// A TopKey is one line of a ranking; see docs/reference/metrics.md.
type TopKey struct {
	Domain string  `json:"domain"`
	Limit  string  `json:"limit"`
	Key    string  `json:"key"`
	Text   string  `json:"text,omitempty"`
	Count  float64 `json:"count"`
	Error  float64 `json:"error"`
}

// Table says how full the counter table is.
type Table struct {
	Entries    int64            `json:"entries"`
	EntriesMax int64            `json:"entries_max"`
	Capacity   int64            `json:"capacity"`
	Bytes      int64            `json:"bytes"`
	BytesMax   int64            `json:"bytes_max"`
	Reclaimed  uint64           `json:"reclaimed"`
	Converted  int64            `json:"converted"`
	Refused    int64            `json:"refused_arrays"`
	Full       int64            `json:"table_full"`
	ShareFull  int64            `json:"share_full"`
	Converting bool             `json:"converting"`
	Domains    map[string]int64 `json:"domains"` // entries by domain
}

// Handler serves s:
//
//	GET /v1/status   GET /v1/policy   GET /v1/keys   GET /v1/table
//	GET /v1/config   (YAML)           GET /debug/pprof/
//	GET /rlconfig    (text)
//	GET /v1/mode     POST /v1/mode    GET /v1/audit (also /audit)
//	GET /v1/counters GET /v1/counter  POST /v1/counters/reset
//	GET /v1/quotas   GET /v1/quota    POST /v1/quotas/adjust
//	POST /v1/quotas/reset             POST /v1/backup (a file)
func Handler(s *Sources) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.Status()) })
	mux.HandleFunc("GET /v1/policy", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.Policy()) })
	mux.HandleFunc("GET /v1/keys", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.Top()) })
	mux.HandleFunc("GET /v1/table", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.Table()) })
	mux.HandleFunc("GET /v1/config", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = w.Write([]byte(s.Config()))
	})
	mux.HandleFunc("GET /rlconfig", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(s.Lines()))
	})
	mux.HandleFunc("GET /v1/mode", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.Modes()) })
	mux.HandleFunc("POST /v1/mode", change(s.ReadOnly, func(who Caller, in *ModeChange) (any, error) { return s.SetMode(who, in) }))
	mux.HandleFunc("GET /v1/counters", s.list)
	mux.HandleFunc("GET /v1/counter", s.get)
	mux.HandleFunc("POST /v1/counters/reset", change(s.ReadOnly, func(who Caller, in *CounterReset) (any, error) {
		if err := in.check(); err != nil {
			return nil, err
		}
		return s.ResetCounters(who, in)
	}))
	mux.HandleFunc("GET /v1/quotas", s.listQuotas)
	mux.HandleFunc("GET /v1/quota", s.getQuota)
	mux.HandleFunc("POST /v1/quotas/adjust", change(s.ReadOnly, s.adjustQuota))
	mux.HandleFunc("POST /v1/quotas/reset", change(s.ReadOnly, s.resetQuota))
	// A backup changes nothing, but is guarded as a change is: it has the key secret.
	mux.HandleFunc("POST /v1/backup", change(false, func(who Caller, in *BackupRequest) (any, error) { return s.Backup(who, in) }))
	mux.HandleFunc("GET /v1/audit", s.audit)
	mux.HandleFunc("GET /audit", s.audit)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return onlyLoopbackHosts(mux)
}

// onlyLoopbackHosts refuses requests to any other name, so that a web page can't
// reach h by rebinding its own name.
func onlyLoopbackHosts(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopback(r.Host) {
			http.Error(w, "admin: Host must be a loopback address or localhost", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // an error is the reader's: it went away
}

// isLoopback reports whether a Host header names this machine's loopback.
func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}
