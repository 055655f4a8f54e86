package backup

import (
	"bytes"
	"io"
	"testing"

	"github.com/headgate/headgate/storage/ledger"
)

const benchCounters = 20_000

func BenchmarkWrite(b *testing.B) {
	c := contents(ledgers(b, benchCounters))
	for b.Loop() {
		if _, err := Write(io.Discard, c); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchCounters, "ns/counter")
}

func BenchmarkVerify(b *testing.B) {
	whole := written(b, benchCounters)
	for b.Loop() {
		if _, err := Read(bytes.NewReader(whole), Use{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchCounters, "ns/counter")
	b.ReportMetric(float64(len(whole))/benchCounters, "bytes/counter")
}

func BenchmarkImport(b *testing.B) {
	whole := written(b, benchCounters)
	for b.Loop() {
		b.StopTimer()
		to := ledgers(b, 0)
		b.StartTimer()
		_, err := Read(bytes.NewReader(whole), Use{Group: func(group int, from io.Reader) (ledger.Summary, error) { return to[group].Import(from) }})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchCounters, "ns/counter")
}
