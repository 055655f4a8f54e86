package obs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headgate/headgate/limiter"
)

func decisionsDesc() *prometheus.Desc {
	return desc("decisions_total",
		"Charges decided, by domain, limit and verdict. A request has one per limit that applies.",
		"domain", "limit", "verdict")
}

func requestsDesc() *prometheus.Desc {
	return desc("requests_total", "Requests decided, by outcome.", "outcome")
}

func degradedDesc() *prometheus.Desc {
	return desc("degraded_total", "Charges decided without their counter, by reason.", "reason")
}

func durationDesc() *prometheus.Desc {
	return desc("decision_seconds",
		"Time from the request's clock reading to its decision, for one request in 16. The requests of a batch share a reading.")
}

func verdictNames() [cellCount]string {
	return [cellCount]string{"allowed", "denied", "shadow_denied", "given_back"}
}

func outcomeNames() [requestCount]string {
	return [requestCount]string{"allowed", "denied", "unmatched", "unknown_domain", "error"}
}

// Describe implements prometheus.Collector.
func (d *Decisions) Describe(ch chan<- *prometheus.Desc) {
	ch <- decisionsDesc()
	ch <- requestsDesc()
	ch <- degradedDesc()
	ch <- durationDesc()
}

// Collect implements prometheus.Collector.
func (d *Decisions) Collect(ch chan<- prometheus.Metric) {
	d.collectSeries(ch)
	for outcome, name := range outcomeNames() {
		n := uint64(0)
		for i := range d.stripes {
			n += d.stripes[i].requests[outcome].Load()
		}
		ch <- prometheus.MustNewConstMetric(requestsDesc(), prometheus.CounterValue, float64(n), name)
	}
	for r := 1; r < limiter.DegradedCount; r++ {
		n := uint64(0)
		for i := range d.stripes {
			n += d.stripes[i].degraded[r].Load()
		}
		ch <- prometheus.MustNewConstMetric(degradedDesc(), prometheus.CounterValue, float64(n), limiter.Degraded(r).String())
	}
	d.collectDurations(ch)
}

// collectSeries reports allowed and denied of every limit, so that a rate
// starts from 0, and the rarer verdicts once they occurred.
func (d *Decisions) collectSeries(ch chan<- prometheus.Metric) {
	d.mu.Lock()
	defer d.mu.Unlock()
	pages := d.index.Load().pages
	about := decisionsDesc()
	for series, name := range d.series.names {
		if name == (seriesName{}) {
			continue
		}
		for cell, verdict := range verdictNames() {
			n := uint64(0)
			for i := range pages {
				n += pages[i][series/pageSeries][series%pageSeries][cell].Load()
			}
			if n > 0 || (series > 0 && cell <= cellDenied) {
				ch <- prometheus.MustNewConstMetric(about, prometheus.CounterValue, float64(n), name.domain, name.limit, verdict)
			}
		}
	}
}

func (d *Decisions) collectDurations(ch chan<- prometheus.Metric) {
	bounds := durationBounds()
	buckets := make(map[float64]uint64, len(bounds))
	count, sum := uint64(0), time.Duration(0)
	for i := range d.stripes {
		sum += time.Duration(d.stripes[i].durations.sum.Load())
	}
	for b := range durationBuckets {
		for i := range d.stripes {
			count += d.stripes[i].durations.buckets[b].Load()
		}
		if b < len(bounds) {
			buckets[bounds[b].Seconds()] = count
		}
	}
	ch <- prometheus.MustNewConstHistogram(durationDesc(), count, sum.Seconds(), buckets)
}
