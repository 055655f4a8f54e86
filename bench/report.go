package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A Report is what a run has measured. Verdicts and errors are counted in checks
// (a batch of 100 that fails counts 100), of requests that were due within the
// measurement, whenever their answer came.
type Report struct {
	Target       string      `json:"target"`
	Protocol     Protocol    `json:"protocol"`
	Loop         string      `json:"loop"` // "closed" or "open"
	Began        time.Time   `json:"began"`
	Interrupted  bool        `json:"interrupted"` // the run was ended early
	Connections  int         `json:"connections"`
	InFlight     int         `json:"in_flight"` // a connection, at most
	Batch        int         `json:"batch"`     // checks a request
	Keys         uint64      `json:"keys"`
	Distribution string      `json:"distribution"`
	Headers      HeaderStyle `json:"headers"`

	MeasuredSeconds     float64 `json:"measured_seconds"`
	RequestsPerSecond   float64 `json:"requests_per_second"`  // answered within the measurement
	DecisionsPerSecond  float64 `json:"decisions_per_second"` // verdicts that came within the measurement
	Requests            uint64  `json:"requests"`
	Verdicts            Verdict `json:"verdicts"`
	LatencyNanoseconds  Latency `json:"latency_ns"` // of answers with gRPC status OK, or a verdict over HTTP
	ClientCPUPerMillion float64 `json:"client_cpu_seconds_per_million"`

	// Errors has the checks that got a status instead of a verdict, by the name of
	// gRPC's or the number of HTTP's. TransportErrors has those that got neither: connection_lost,
	// stream_reset, bad_response, timeout; and connect, in attempts.
	Errors          map[string]uint64 `json:"errors"`
	TransportErrors map[string]uint64 `json:"transport_errors"`

	Reconnects int `json:"reconnects"`
	GoAways    int `json:"goaways"` // connections that were told to go away

	Open   *OpenLoop `json:"open_loop,omitempty"` // of an open loop
	Server *Process  `json:"server,omitempty"`    // with a ServerPID

	// Warnings are reasons to doubt the figures.
	Warnings []string `json:"warnings"`
}

// A Verdict counts checks by what was decided.
type Verdict struct {
	OK        uint64 `json:"ok"`
	OverLimit uint64 `json:"over_limit"`
	Unknown   uint64 `json:"unknown"` // an answer that says neither
}

// A Latency is a distribution of nanoseconds, exact to 1 %. In an open loop it
// counts from when the request was due, not from when it could be sent: a server
// that stalls is charged for all the requests that had to wait.
type Latency struct {
	Mean int64 `json:"mean"`
	P50  int64 `json:"p50"`
	P90  int64 `json:"p90"`
	P99  int64 `json:"p99"`
	P999 int64 `json:"p99_9"`
	Max  int64 `json:"max"`
}

func newLatency(h *hdrhistogram.Histogram) Latency {
	return Latency{
		Mean: int64(h.Mean()),
		P50:  h.ValueAtQuantile(50),
		P90:  h.ValueAtQuantile(90),
		P99:  h.ValueAtQuantile(99),
		P999: h.ValueAtQuantile(99.9),
		Max:  h.Max(),
	}
}

// An OpenLoop says how well the generator kept its schedule.
type OpenLoop struct {
	Rate float64 `json:"rate"` // requests a second that were due
	// Dropped requests were due and never sent, because Backlog others waited
	// already or the run was over.
	Dropped    uint64 `json:"dropped"`
	BacklogTop int64  `json:"backlog_top"` // most requests of one connection that waited
	// LagNanoseconds is how late requests were sent that the server had room for:
	// the generator's own part in the latencies.
	LagNanoseconds Latency `json:"generator_lag_ns"`
	// Behind says that the generator, not the server, was too slow.
	Behind bool `json:"generator_fell_behind"`
}

// A Process is what the target's process used while it was measured.
type Process struct {
	PID           int     `json:"pid"`
	CPUSeconds    float64 `json:"cpu_seconds"`
	CPUPerMillion float64 `json:"cpu_seconds_per_million"` // decisions
	RSSBytes      int64   `json:"rss_bytes"`               // at the end
	RSSMaxBytes   int64   `json:"rss_max_bytes"`           // since the process started
}

// lagMax is how late the generator may send one request in a hundred before it
// counts as having fallen behind.
const lagMax = 2 * time.Millisecond

func (r *run) report() *Report {
	c := r.config
	phases := r.totals()
	t := phases[1]
	seconds := time.Duration(min(r.at.at, r.schedule.until) - r.measureFrom).Seconds()
	sampled := float64(r.at.decisions - r.before.decisions) // what the CPU time was used for
	inWindow := phases[0].inWindow + t.inWindow
	rep := &Report{
		Target: r.target, Protocol: c.Protocol, Loop: "closed", Began: r.began, Interrupted: r.interrupted,
		Connections: c.Connections, InFlight: c.inFlight(), Batch: r.workload.checks,
		Keys: r.workload.keys, Distribution: string(c.Distribution), Headers: c.Headers,
		MeasuredSeconds:    seconds,
		RequestsPerSecond:  float64(phases[0].requestsInWindow+t.requestsInWindow) / seconds,
		DecisionsPerSecond: float64(inWindow) / seconds,
		Requests:           t.requests,
		Verdicts:           Verdict{OK: t.ok, OverLimit: t.over, Unknown: t.unknown},
		LatencyNanoseconds: newLatency(r.latency()),
		Errors:             map[string]uint64{},
		TransportErrors:    map[string]uint64{},
		Warnings:           []string{},
	}
	if c.Distribution == Zipf {
		rep.Distribution = fmt.Sprintf("zipf %v", c.ZipfS)
	}
	rep.ClientCPUPerMillion = ratio((r.at.client-r.before.client).Seconds()*1e6, sampled)
	for code, n := range t.codes {
		if n > 0 {
			rep.Errors[codeName(code)] = n
		}
	}
	for status, n := range t.statuses {
		if n > 0 {
			rep.Errors[strconv.Itoa(status)] = n
		}
	}
	for f, n := range t.faults {
		if n > 0 {
			rep.TransportErrors[fault(f).String()] = n
		}
	}
	r.reportLanes(rep, t.dropped)
	r.reportServer(rep, sampled)
	if inWindow == 0 {
		rep.warn("no decision arrived while measuring")
	}
	return rep
}

func (r *run) reportLanes(rep *Report, dropped uint64) {
	lag := newHistogram()
	var backlogTop int64
	var trouble error
	for _, l := range r.lanes {
		rep.Reconnects += l.connects
		rep.GoAways += l.goAways
		backlogTop = max(backlogTop, l.backlogTop)
		if l.trouble != nil {
			trouble = l.trouble
		}
		if l.lag != nil {
			lag.Merge(l.lag)
		}
	}
	if trouble != nil {
		rep.warn("a connection failed: %v", trouble)
	}
	if r.schedule.interval == 0 {
		return
	}
	rep.Loop = "open"
	o := &OpenLoop{Rate: r.config.Rate, Dropped: dropped, BacklogTop: backlogTop, LagNanoseconds: newLatency(lag)}
	rep.Open = o
	if o.LagNanoseconds.P99 > int64(lagMax) {
		o.Behind = true
		rep.warn("the generator fell behind: 1 %% of the requests that the server had room for were sent more than %v late; latencies include that", span(o.LagNanoseconds.P99))
	}
	if dropped > 0 {
		rep.warn("%d requests that were due were never sent: the real latencies are higher", dropped)
	}
}

func (r *run) reportServer(rep *Report, decisions float64) {
	if r.pid == 0 {
		return
	}
	for _, s := range []sample{r.before, r.at} {
		if s.serverErr != nil {
			rep.warn("the server's use of the machine is not known: %v", s.serverErr)
			return
		}
	}
	cpu := (r.at.server.cpu - r.before.server.cpu).Seconds()
	rep.Server = &Process{
		PID: r.pid, CPUSeconds: cpu, CPUPerMillion: ratio(cpu*1e6, decisions),
		RSSBytes: r.at.server.rssBytes, RSSMaxBytes: r.at.server.rssMax,
	}
}

func (r *Report) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// WriteJSON writes r as one JSON object, indented.
func (r *Report) WriteJSON(w io.Writer) error { return writeJSON(w, r) }

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("bench: write the report: %w", err)
	}
	return nil
}

// WriteText writes r for people.
func (r *Report) WriteText(w io.Writer) error {
	_, err := io.WriteString(w, r.text())
	if err != nil {
		return fmt.Errorf("bench: write the report: %w", err)
	}
	return nil
}

func (r *Report) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "target       %s (%s), %d keys (%s)\n", r.Target, r.Protocol, r.Keys, r.Distribution)
	fmt.Fprintf(&b, "load         %s loop, %d connections × %d in flight", r.Loop, r.Connections, r.InFlight)
	if r.Open != nil {
		fmt.Fprintf(&b, " at most, %.0f requests/s due", r.Open.Rate)
	}
	if r.Batch > 1 {
		fmt.Fprintf(&b, ", %d checks a request", r.Batch)
	}
	if r.Headers != MinimalHeaders {
		fmt.Fprintf(&b, ", %s headers", r.Headers)
	}
	fmt.Fprintf(&b, ", measured %.1f s\n", r.MeasuredSeconds)
	fmt.Fprintf(&b, "throughput   %.0f decisions/s", r.DecisionsPerSecond)
	if r.Batch > 1 {
		fmt.Fprintf(&b, " in %.0f requests/s", r.RequestsPerSecond)
	}
	l := &r.LatencyNanoseconds
	fmt.Fprintf(&b, "\nlatency      p50 %v  p90 %v  p99 %v  p99.9 %v  max %v\n",
		span(l.P50), span(l.P90), span(l.P99), span(l.P999), span(l.Max))
	if o := r.Open; o != nil {
		fmt.Fprintf(&b, "generator    late by p50 %v  p99 %v  max %v; backlog at most %d a connection; %d dropped\n",
			span(o.LagNanoseconds.P50), span(o.LagNanoseconds.P99), span(o.LagNanoseconds.Max), o.BacklogTop, o.Dropped)
	}
	fmt.Fprintf(&b, "verdicts     ok %d  over limit %d  unknown %d\n", r.Verdicts.OK, r.Verdicts.OverLimit, r.Verdicts.Unknown)
	fmt.Fprintf(&b, "errors       %s\n", counts(r.Errors))
	fmt.Fprintf(&b, "transport    %s; %d reconnects, %d GOAWAYs\n", counts(r.TransportErrors), r.Reconnects, r.GoAways)
	fmt.Fprintf(&b, "client CPU   %.2f s per million decisions\n", r.ClientCPUPerMillion)
	if s := r.Server; s != nil {
		fmt.Fprintf(&b, "server CPU   %.2f s per million decisions; resident %d MiB, at most %d MiB\n",
			s.CPUPerMillion, s.RSSBytes>>20, s.RSSMaxBytes>>20)
	}
	if r.Interrupted {
		b.WriteString("interrupted before the end\n")
	}
	for _, s := range r.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", s)
	}
	return b.String()
}

func counts(m map[string]uint64) string {
	if len(m) == 0 {
		return "none"
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
	}
	return strings.Join(parts, "  ")
}
