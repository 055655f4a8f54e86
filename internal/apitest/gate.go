package apitest

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/limiter/table"
	"github.com/headgate/headgate/policy"
)

// File is the name that positions in Gate's policy have.
const File = "shop.yaml"

// Version is the policy's version where the options say none.
const Version = 7

// Gate returns a gate for the policy in text and, unless d is given, a table of its
// own.
func Gate(tb testing.TB, text string, o policy.Options, d api.Decider) *api.Gate {
	tb.Helper()
	docs, problems := policy.Parse([]policy.Source{{Name: File, Text: []byte(text)}})
	if len(problems) > 0 {
		tb.Fatal(problems)
	}
	if o.Version == 0 {
		o.Version = Version
	}
	snapshot, problems := policy.Compile(docs, o)
	if len(problems) > 0 {
		tb.Fatal(problems)
	}
	if d == nil {
		counters, err := table.New(table.Config{EntriesMax: 1 << 16})
		if err != nil {
			tb.Fatal(err)
		}
		counters.Install(snapshot.Limits())
		d = counters
	}
	g := &api.Gate{Policies: new(atomic.Pointer[policy.Snapshot]), Decider: d}
	g.Policies.Store(snapshot)
	return g
}

// Strict has a domain that the policy does not have be an error.
func Strict() policy.Options { return policy.Options{OnUnknownDomain: policy.UnknownDomainError} }

// Recorded returns the requests that a real Envoy sent, by name: the files
// testdata/envoy-recorded/*.bin of the package that is tested.
func Recorded(tb testing.TB) map[string][]byte {
	tb.Helper()
	paths, err := filepath.Glob("testdata/envoy-recorded/*.bin")
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no recorded requests: %v", err)
	}
	requests := make(map[string][]byte, len(paths))
	for _, path := range paths {
		b, err := os.ReadFile(filepath.Clean(path))
		if err != nil {
			tb.Fatal(err)
		}
		requests[strings.TrimSuffix(filepath.Base(path), ".bin")] = b
	}
	return requests
}
