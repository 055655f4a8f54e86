package obs

import "github.com/prometheus/client_golang/prometheus"

// A ReservationReading is the state of the reservations.
type ReservationReading struct {
	RecordsMax, ShareMax uint64 // bounds of Records in all, and of a domain while there are several
	Domains              []ReservationCounts
}

// ReservationCounts are of one domain, or with Domain "" of all that no policy has.
type ReservationCounts struct {
	Domain        string
	Open, Records uint64 // open, open or remembered
	// What has happened: made; ended in time; ended late; not ended in time; given back
	// since the decision came too late; denied for want of room on the node, and in the
	// domain's share.
	Made, Settled, Late, Expired, Undone, Refused, ShareFull uint64
	Short                                                    uint64 // of those that were ended: cost more than could be counted
}

// reservations turns a ReservationReading into metrics, one call per scrape.
type reservations struct {
	read                 func() ReservationReading
	open, records        *prometheus.Desc
	recordsMax, shareMax *prometheus.Desc
	events, short        *prometheus.Desc
}

func newReservations(c Config) *reservations {
	return &reservations{
		read:       c.Reservations,
		open:       desc("reservations_open", "Reservations that are open.", "domain"),
		records:    desc("reservation_records", "Reservations that are open or remembered.", "domain"),
		recordsMax: desc("reservation_records_max", "Bound of the sum of headgate_reservation_records."),
		shareMax:   desc("reservation_share_max", "Bound of headgate_reservation_records of a domain while there are several."),
		events:     desc("reservations_total", "Reservations, by what has happened to them.", "domain", "event"),
		short:      desc("reservations_uncharged_total", "Reservations whose call cost more of a limit than could be charged or recorded as debt.", "domain"),
	}
}

// Describe implements prometheus.Collector.
func (r *reservations) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{r.open, r.records, r.recordsMax, r.shareMax, r.events, r.short} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (r *reservations) Collect(ch chan<- prometheus.Metric) {
	s := read(r.read)
	gauge := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(r.recordsMax, s.RecordsMax)
	gauge(r.shareMax, s.ShareMax)
	for i := range s.Domains {
		c := &s.Domains[i]
		gauge(r.open, c.Open, c.Domain)
		gauge(r.records, c.Records, c.Domain)
		for event, v := range map[string]uint64{
			"made": c.Made, "settled": c.Settled, "settled_late": c.Late, "expired": c.Expired, "undone": c.Undone,
			"refused": c.Refused, "refused_share": c.ShareFull,
		} {
			counter(r.events, v, c.Domain, event)
		}
		counter(r.short, c.Short, c.Domain)
	}
}
