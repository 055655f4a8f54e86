package policy

import (
	"time"

	"github.com/headgate/headgate/limiter"
)

// Bounds of a test file. ParseTests reports what exceeds them.
const (
	// TestsMax is how many tests a file has at most, and StepsMax how many steps
	// a test has.
	TestsMax = 1000
	StepsMax = 10_000
	// RepeatMax is how often one step asks at most, and AsksMax how often all
	// steps of a file do.
	RepeatMax = 1_000_000
	AsksMax   = 10_000_000
	// TestPathsMax is how many policy files and directories a file names at most.
	TestPathsMax = 100
)

// Tests are a test file: requests over simulated time, and what a node with the
// policies is expected to answer. Package internal/policytest runs them.
type Tests struct {
	File     string
	Policies []string // files and directories, as written: relative to the file
	Start    limiter.Instant
	Tests    []Test
}

// A Test begins at Tests.Start with fresh counters.
type Test struct {
	Name  string
	Steps []Step
	Pos   Position
}

// A Step is one request, asked one or more times, and what is expected.
type Step struct {
	At     time.Duration // since the start; never before the step before
	Domain string
	// Descriptors are the request's, each an ordered list of attributes.
	Descriptors [][]Label
	Op          limiter.Op
	Cost        uint64
	// Holder is the id that acquires, renews or releases slots; "": they are anonymous.
	Holder   string
	Lifetime time.Duration // of the holder's slots; 0: as long as their limits say
	CanWait  bool          // the caller waits as long as a pace says
	Repeat   uint64        // how often it is asked, at least 1
	Every    time.Duration // between two of them

	Expect Expectation
	Pos    Position
}

// An Expectation is what is expected of a step. What its file does not say is not
// compared.
type Expectation struct {
	Verdict    *Expected[limiter.Verdict] // of each request
	Allowed    *Expected[uint64]          // how many of the requests
	Denied     *Expected[uint64]
	DeniedBy   *Expected[string]        // limit that the last denial names
	RetryAfter *Expected[time.Duration] // of the last denial, rounded up to milliseconds
	Wait       *Expected[time.Duration] // of the last request that is allowed, rounded up to milliseconds
	Remaining  *Expected[uint64]        // the least of the enforced limits, after the last request
	Limits     *Expected[[]string]      // that the last request reached, in any order
}

// An Expected is one expected value, and where it was written.
type Expected[T any] struct {
	Want T
	Pos  Position
}
