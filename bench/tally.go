package bench

import "github.com/HdrHistogram/hdrhistogram-go"

// A fault is a way in which a request ends without a status.
type fault int

const (
	faultConnect  fault = iota // a connection could not be made; counted per attempt
	faultLost                  // the connection ended first
	faultReset                 // RST_STREAM
	faultResponse              // an answer that is not one: no status, a malformed or second message, items missing
	faultTimeout               // no answer within DrainTimeout after the end
	faultsMax
)

// String returns the fault's name in reports.
func (f fault) String() string {
	return [faultsMax]string{"connect", "connection_lost", "stream_reset", "bad_response", "timeout"}[f]
}

// codeName returns the name of a gRPC status code as the specification spells it.
func codeName(code int) string {
	return [codesMax]string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
		"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
		"UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}[code]
}

// A tally counts what became of the requests that started in one phase. All but
// requests are in checks; connect faults are in attempts.
type tally struct {
	requests          uint64 // ended, in whichever way
	ok, over, unknown uint64
	codes             [codesMax]uint64    // checks without a verdict, by gRPC status code
	statuses          [statusesMax]uint64 // by HTTP status, over HTTP
	faults            [faultsMax]uint64
	inWindow          uint64 // verdicts that arrived within the measurement, whenever they were asked for
	requestsInWindow  uint64 // answers with status OK that did
	dropped           uint64 // requests that were due and never sent
}

func (t *tally) verdicts() uint64 { return t.ok + t.over + t.unknown }

func (t *tally) errors() (n uint64) {
	for _, c := range t.codes {
		n += c
	}
	for _, c := range t.statuses {
		n += c
	}
	for _, f := range t.faults {
		n += f
	}
	return n
}

func (t *tally) add(o *tally) {
	t.requests += o.requests
	t.ok += o.ok
	t.over += o.over
	t.unknown += o.unknown
	for i, n := range o.codes {
		t.codes[i] += n
	}
	for i, n := range o.statuses {
		t.statuses[i] += n
	}
	for i, n := range o.faults {
		t.faults[i] += n
	}
	t.inWindow += o.inWindow
	t.requestsInWindow += o.requestsInWindow
	t.dropped += o.dropped
}

// latencyMax is the longest latency that is told from longer ones, in ns.
const latencyMax = 600_000_000_000

// newHistogram returns a histogram of nanoseconds, exact to 1 %.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(100, latencyMax, 2) }

func observe(h *hdrhistogram.Histogram, ns int64) {
	_ = h.RecordValue(max(0, min(ns, latencyMax))) // fails only beyond the bounds
}
