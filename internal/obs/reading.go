package obs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// readings turns what the components say of themselves into metrics, one call
// to each of them per scrape.
type readings struct {
	config Config
	build  prometheus.Metric

	ready, policyInfo, policyLoaded, policyRejected, policyLimits, policyDomains, policyMode *prometheus.Desc
	tableEntries, tableEntriesMax, tableBytes, tableBytesMax                                 *prometheus.Desc
	tableFull, tableReclaimed                                                                *prometheus.Desc
	connections, faults, late, held, shed, abuse, panics                                     *prometheus.Desc
	tlsNotAfter, tlsReloads                                                                  *prometheus.Desc

	quotaCounters, quotaCountersMax, quotaParked, quotaWaits, quotaRefused, quotaMarks, quotaUnits, quotaEntries, quotaLost, quotaStranded *prometheus.Desc
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("headgate_"+name, help, labels, nil)
}

func newReadings(c Config) *readings {
	return &readings{
		config: c,
		build: prometheus.MustNewConstMetric(
			desc("build_info", "Always 1; the labels say which program runs.", "version", "revision", "go"),
			prometheus.GaugeValue, 1, c.Build.Version, c.Build.Revision, c.Build.Go),

		ready:          desc("ready", "1 if the node takes requests, 0 while it starts or drains."),
		policyInfo:     desc("policy_info", "The number of policies that this process applied; the label is the hash of the one in force.", "hash"),
		policyLoaded:   desc("policy_loaded_timestamp_seconds", "When the policy in force was applied, Unix time."),
		policyRejected: desc("policy_rejected", "1 if the policy files were refused and an older policy is in force."),
		policyLimits:   desc("policy_limits", "Limits of the policy in force."),
		policyDomains:  desc("policy_domains", "Domains of the policy in force."),
		policyMode:     desc("policy_mode", "1 for each domain that the operator does not have enforced.", "domain", "mode"),

		tableEntries:    desc("table_entries", "Counters in memory."),
		tableEntriesMax: desc("table_entries_max", "Bound of headgate_table_entries."),
		tableBytes:      desc("table_bytes", "Memory of the counter table."),
		tableBytesMax:   desc("table_bytes_max", "Bound of headgate_table_bytes."),
		tableFull:       desc("table_full_total", "Charges whose counter found no room, so that on_full decided, by what was full.", "bound"),
		tableReclaimed:  desc("table_reclaimed_total", "Counters forgotten because they equalled fresh ones."),

		quotaCounters:    desc("quota_counters", "Counters of quotas in memory."),
		quotaCountersMax: desc("quota_counters_max", "Bound of headgate_quota_counters."),
		quotaParked:      desc("quota_parked_calls", "Calls that wait for units of a quota."),
		quotaWaits:       desc("quota_waits_total", "Charges of quotas that had to wait, by how that ended.", "result"),
		quotaRefused:     desc("quota_refused_total", "Charges of quotas that found no room, by what was full.", "bound"),
		quotaMarks:       desc("quota_marks_total", "Marks (notify) that use of a quota has reached, by whether the log has them.", "result"),
		quotaUnits:       desc("quota_units_total", "Units of quotas, by what became of them.", "what"),
		quotaEntries:     desc("quota_entries_total", "Entries of the quota log that were committed."),
		quotaLost:        desc("quota_commands_lost_total", "Commands of quotas that got no answer from the log."),
		quotaStranded:    desc("quota_stranded_units", "Units of quotas that count as spent until their periods end, since processes that held them were lost."),

		connections: desc("grpc_connections", "gRPC connections open now."),
		faults:      desc("faults_total", "Requests answered with an error: malformed, beyond a bound, unknown domain."),
		late:        desc("late_total", "Decisions that were not made in time, so that on_unavailable decided."),
		held:        desc("held_calls", "Calls that a pace has decided or may decide, whose answer waits for its turn."),
		shed:        desc("shed_total", "What was turned away for overload, by the bound that it was beyond.", "bound"),
		abuse:       desc("abuse_total", "What gRPC clients did beyond what the protocol or a bound allows, by kind.", "kind"),
		panics:      desc("panics_total", "Panics recovered: the request failed, the process went on."),

		tlsNotAfter: desc("tls_certificate_not_after_seconds", "When the certificate in use, or one that it needs, expires, Unix time, by port.", "port"),
		tlsReloads:  desc("tls_reloads_total", "Times that changed certificate files were read, by port and result.", "port", "result"),
	}
}

// Describe implements prometheus.Collector.
func (r *readings) Describe(ch chan<- *prometheus.Desc) {
	ch <- r.build.Desc()
	for _, d := range []*prometheus.Desc{
		r.ready, r.policyInfo, r.policyLoaded, r.policyRejected, r.policyLimits, r.policyDomains, r.policyMode,
		r.tableEntries, r.tableEntriesMax, r.tableBytes, r.tableBytesMax, r.tableFull, r.tableReclaimed,
		r.quotaCounters, r.quotaCountersMax, r.quotaParked, r.quotaWaits, r.quotaRefused, r.quotaMarks, r.quotaUnits, r.quotaEntries, r.quotaLost, r.quotaStranded,
		r.connections, r.faults, r.late, r.held, r.shed, r.abuse, r.panics,
		r.tlsNotAfter, r.tlsReloads,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (r *readings) Collect(ch chan<- prometheus.Metric) {
	gauge, counter := emitters(ch)
	ch <- r.build
	gauge(r.ready, truth(read(r.config.Ready)))

	p := read(r.config.Policy)
	gauge(r.policyInfo, float64(p.Version), p.Hash)
	gauge(r.policyLoaded, float64(p.LoadedAt)/float64(time.Second))
	gauge(r.policyRejected, truth(p.Rejected))
	gauge(r.policyLimits, float64(p.Limits))
	gauge(r.policyDomains, float64(p.Domains))
	for _, m := range r.config.Modes() {
		ch <- prometheus.MustNewConstMetric(r.policyMode, prometheus.GaugeValue, 1, m.Domain, m.Mode)
	}

	t := read(r.config.Table)
	gauge(r.tableEntries, float64(t.Entries))
	gauge(r.tableEntriesMax, float64(t.EntriesMax))
	gauge(r.tableBytes, float64(t.Bytes))
	gauge(r.tableBytesMax, float64(t.BytesMax))
	counter(r.tableFull, t.Full, "table")
	counter(r.tableFull, t.ShareFull, "share")
	counter(r.tableReclaimed, t.Reclaimed)

	q := read(r.config.Quota)
	gauge(r.quotaCounters, float64(q.Counters))
	gauge(r.quotaCountersMax, float64(q.CountersMax))
	gauge(r.quotaParked, float64(q.Parked))
	counter(r.quotaWaits, q.Waited-q.Failed, "answered")
	counter(r.quotaWaits, q.Failed, "failed")
	counter(r.quotaRefused, q.Refused, "node")
	counter(r.quotaRefused, q.ShareFull, "share")
	counter(r.quotaMarks, q.Marks, "told")
	counter(r.quotaMarks, q.MarksMissed, "missed")
	counter(r.quotaUnits, q.Spent, "spent")
	counter(r.quotaUnits, q.Refunded, "given_back")
	counter(r.quotaUnits, q.Dropped, "not_credited")
	counter(r.quotaUnits, q.Owed, "owed")
	counter(r.quotaUnits, q.Lost, "unrecorded")
	counter(r.quotaUnits, q.Stuck, "stuck")
	counter(r.quotaEntries, q.Entries)
	counter(r.quotaLost, q.CommandsLost)
	gauge(r.quotaStranded, float64(q.Stranded))

	e := read(r.config.Edge)
	gauge(r.connections, float64(e.Connections))
	counter(r.faults, e.Faults)
	counter(r.late, e.Late)
	counter(r.shed, e.Refused, "connections_max")
	counter(r.shed, e.Shed, "behind_max")
	counter(r.shed, e.Unheld, "held_max")
	gauge(r.held, float64(e.Held))
	for _, a := range e.Abuse {
		counter(r.abuse, a.Count, a.Kind)
	}
	counter(r.panics, e.Panics)

	for _, t := range read(r.config.TLS) {
		gauge(r.tlsNotAfter, float64(t.NotAfter.Unix()), t.Port)
		counter(r.tlsReloads, t.Applied, t.Port, string(ReloadApplied))
		counter(r.tlsReloads, t.Unchanged, t.Port, string(ReloadUnchanged))
		counter(r.tlsReloads, t.Rejected, t.Port, string(ReloadRejected))
	}
}

// read calls f, if there is one.
func read[T any](f func() T) T {
	if f == nil {
		var zero T
		return zero
	}
	return f()
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
