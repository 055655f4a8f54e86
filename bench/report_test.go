package bench

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata/*.golden anew")

// sampleReport has every field set.
func sampleReport() *Report {
	return &Report{
		Target: "127.0.0.1:8081", Protocol: Batch, Loop: "open", Began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Interrupted: true, Connections: 8, InFlight: 32, Batch: 100, Keys: 10_000, Distribution: "zipf 1.1", Headers: EnvoyHeaders,
		MeasuredSeconds: 5, RequestsPerSecond: 2000, DecisionsPerSecond: 200_000, Requests: 10_000,
		Verdicts:            Verdict{OK: 999_000, OverLimit: 700, Unknown: 100},
		LatencyNanoseconds:  Latency{Mean: 200_000, P50: 123_456, P90: 1_234_567, P99: 12_345_678, P999: 123_456_789, Max: 1_234_567_890},
		ClientCPUPerMillion: 0.5,
		Errors:              map[string]uint64{"UNAVAILABLE": 100, "NOT_FOUND": 50},
		TransportErrors:     map[string]uint64{"timeout": 50},
		Reconnects:          2, GoAways: 1,
		Open: &OpenLoop{
			Rate: 2000, Dropped: 3, BacklogTop: 17, Behind: true,
			LagNanoseconds: Latency{Mean: 1, P50: 50_000, P90: 2, P99: 3_000_000, P999: 4, Max: 5_000_000},
		},
		Server:   &Process{PID: 4711, CPUSeconds: 5, CPUPerMillion: 5, RSSBytes: 100 << 20, RSSMaxBytes: 200 << 20},
		Warnings: []string{"the generator fell behind"},
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s (-update writes it anew):\n%s", path, got)
	}
}

func TestReportsLookAsRecorded(t *testing.T) {
	other := sampleReport()
	other.Target, other.DecisionsPerSecond = "127.0.0.1:8181", 100_000
	server := *other.Server
	server.CPUPerMillion = 4
	other.Server = &server
	cmp := &Comparison{
		Target: "127.0.0.1:8081", Versus: "127.0.0.1:8181", Warnings: []string{},
		Rounds: []Round{{Target: sampleReport(), Versus: other, Throughput: 2, ServerCPU: 1.25, P50: 1, P99: 1}},
	}
	cmp.sum()
	for _, tc := range []struct {
		name  string
		write func(*bytes.Buffer) error
	}{
		{"report.json", func(b *bytes.Buffer) error { return sampleReport().WriteJSON(b) }},
		{"report.txt", func(b *bytes.Buffer) error { return sampleReport().WriteText(b) }},
		{"comparison.txt", func(b *bytes.Buffer) error { return cmp.WriteText(b) }},
		{"comparison.json", func(b *bytes.Buffer) error {
			cmp.Rounds = []Round{} // reports are above
			return cmp.WriteJSON(b)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := tc.write(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, tc.name, b.Bytes())
		})
	}
}

// Scripts rely on lists and maps being there when they are empty.
func TestAnEmptyReportHasNoNulls(t *testing.T) {
	c := small(start(t, &fake{}))
	var b bytes.Buffer
	if err := mustRun(t, c).WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for k, v := range got {
		if v == nil {
			t.Errorf("%s is null", k)
		}
	}
}
