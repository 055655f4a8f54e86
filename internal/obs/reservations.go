package obs

import "github.com/prometheus/client_golang/prometheus"

// A ReservationReading is the state of the reservations.
type ReservationReading struct {
	Open, Records, RecordsMax uint64 // open, open or remembered, and the bound of these
	// What has happened: made; ended in time; ended late; not ended in time; given back
	// since the decision came too late; denied for want of room.
	Made, Settled, Late, Expired, Undone, Refused uint64
	Short                                         uint64 // of those that were ended: cost more than could be counted
}

// reservations turns a ReservationReading into metrics, one call per scrape.
type reservations struct {
	read                                     func() ReservationReading
	open, records, recordsMax, events, short *prometheus.Desc
}

func newReservations(c Config) *reservations {
	return &reservations{
		read:       c.Reservations,
		open:       desc("reservations_open", "Reservations that are open."),
		records:    desc("reservation_records", "Reservations that are open or remembered."),
		recordsMax: desc("reservation_records_max", "Bound of headgate_reservation_records."),
		events:     desc("reservations_total", "Reservations, by what has happened to them.", "event"),
		short:      desc("reservations_uncharged_total", "Reservations whose call cost more of a limit than could be charged or recorded as debt."),
	}
}

// Describe implements prometheus.Collector.
func (r *reservations) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{r.open, r.records, r.recordsMax, r.events, r.short} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (r *reservations) Collect(ch chan<- prometheus.Metric) {
	s := read(r.read)
	for d, v := range map[*prometheus.Desc]uint64{r.open: s.Open, r.records: s.Records, r.recordsMax: s.RecordsMax} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	for event, v := range map[string]uint64{
		"made": s.Made, "settled": s.Settled, "settled_late": s.Late, "expired": s.Expired, "undone": s.Undone, "refused": s.Refused,
	} {
		ch <- prometheus.MustNewConstMetric(r.events, prometheus.CounterValue, float64(v), event)
	}
	ch <- prometheus.MustNewConstMetric(r.short, prometheus.CounterValue, float64(s.Short))
}
