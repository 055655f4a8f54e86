package obs

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/headgate/headgate/limiter"
)

// Config bounds and feeds Metrics. Funcs are called when somebody scrapes; a
// nil one reads as zero.
type Config struct {
	LimitsMax int // limits with series of their own, ≥ 1
	TopKeys   int // keys tracked per ranking, ≥ 1
	Stripes   int // counters side by side, rounded up to a power of two

	Now func() limiter.Instant // the node's clock; required

	Build        Build
	Table        func() TableReading
	Quota        func() QuotaReading
	Store        func() *StoreReading // nil: there is no store of quotas
	Reservations func() ReservationReading
	Edge         func() EdgeReading
	Policy       func() PolicyReading
	Modes        func() []ModeReading // of the domains that are not enforced
	TLS          func() []TLSReading
	Ready        func() bool
}

// Build says which program runs.
type Build struct{ Version, Revision, Go string }

// A TableReading is the state of the counter table.
type TableReading struct {
	Entries, EntriesMax uint64
	Bytes, BytesMax     uint64
	Full, ShareFull     uint64 // charges that found no room since start
	Reclaimed           uint64 // counters forgotten because they equalled fresh ones
}

// A QuotaReading is the state of what the node holds of quotas.
type QuotaReading struct {
	Counters, CountersMax uint64
	Parked                uint64 // calls that wait for units now
	Waited, Failed        uint64 // charges that had to wait, and those of them that got no answer
	Refused, ShareFull    uint64 // charges that found no room: on the node, and in the share of their domain
	Marks, MarksMissed    uint64 // marks that use reached: told, and not told for want of room
	// Units by what became of them.
	Spent, Refunded, Dropped, Owed, Lost, Stuck uint64
	Entries, CommandsLost                       uint64 // of the log, and commands that got no answer from it
	Stranded                                    uint64 // units that count as spent since processes were lost
}

// An EdgeReading is the state of the doors.
type EdgeReading struct {
	Connections uint64 // open now
	Refused     uint64 // connections, for being more than the bound
	Shed        uint64 // calls that came too late to be decided
	Abuse       []Abuse
	Faults      uint64 // requests answered with an error
	Late        uint64 // decisions not made in time: on_unavailable decided
	Panics      uint64 // recovered: the request failed, the process went on
	Held        uint64 // calls whose answer waits for its turn now
	Unheld      uint64 // calls that a pace could not have held, for being more than the bound
}

// An Abuse is something that clients should not do, and how often they did.
type Abuse struct {
	Kind  string
	Count uint64
}

// A TLSReading is the state of one encrypted port.
type TLSReading struct {
	Port                         string    // grpc or http
	NotAfter                     time.Time // when the first certificate of its chain expires
	Applied, Unchanged, Rejected uint64    // readings of changed files
}

// A ModeReading is a domain that the operator does not have enforced.
type ModeReading struct{ Domain, Mode string }

// A PolicyReading is what is in force.
type PolicyReading struct {
	Version  uint64 // counts the policies that this process applied
	Hash     string
	Limits   int
	Domains  int
	LoadedAt limiter.Instant
	Rejected bool // the files are not what is in force: the last reload was refused
}

// Metrics holds every metric of the process. Make one with New.
type Metrics struct {
	// Decisions counts what was decided; it is the gate's observer.
	Decisions *Decisions
	// Hot and Denied are the keys that were charged, and denied, most.
	Hot, Denied *Top

	registry *prometheus.Registry
	reloads  *prometheus.CounterVec
}

// New returns the metrics of a process.
func New(c Config) *Metrics {
	m := &Metrics{
		Hot:      newTop(c.TopKeys),
		Denied:   newTop(c.TopKeys),
		registry: prometheus.NewRegistry(),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headgate_policy_reloads_total",
			Help: "Times that policies were read or published again, by result.",
		}, []string{"result"}),
	}
	m.Decisions = newDecisions(c, m.Hot, m.Denied)
	for _, result := range []ReloadResult{ReloadApplied, ReloadUnchanged, ReloadRejected} {
		m.reloads.WithLabelValues(string(result))
	}
	m.registry.MustRegister(
		m.Decisions, m.reloads, newReadings(c), newStore(c.Store), newReservations(c),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// A ReloadResult is how reading changed policy files ended.
type ReloadResult string

// The results.
const (
	ReloadApplied   ReloadResult = "applied"
	ReloadUnchanged ReloadResult = "unchanged"
	ReloadRejected  ReloadResult = "rejected"
)

// Reloaded counts one reading of changed policy files.
func (m *Metrics) Reloaded(r ReloadResult) { m.reloads.WithLabelValues(string(r)).Inc() }

// scrapesMax is how many scrapes are answered at once; more get 503.
const scrapesMax = 4

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: scrapesMax,
		EnableOpenMetrics:   true,
	})
}
