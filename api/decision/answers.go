package decision

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
)

// Tags of CheckStreamResponse and StreamAnswer.
const (
	tagAllowed       = 1<<3 | message
	tagAnswers       = 2<<3 | message
	tagStreamVersion = 3<<3 | number

	tagAnswerID       = 1<<3 | number
	tagAnswerResponse = 2<<3 | message
	tagAnswerError    = 3<<3 | message
)

// answerBytesMax is where a CheckStreamResponse is sent, whatever is to come:
// the next answer may make it some kilobytes longer. Clients of the usual
// libraries take 4 MiB.
const answerBytesMax = 256 << 10

// keepBytesMax is how much room answers keep for the next ones.
const keepBytesMax = 64 << 10

// Answers are a CheckStreamResponse as it grows. The zero value is empty.
type answers struct {
	allowed []byte // packed
	other   []byte // fields of the message
	version uint64 // of the policies; 0: none yet
}

// fits reports whether the answer of x can go into this message: all of one have
// the same policies.
func (a *answers) fits(x *api.Exchange) bool {
	if len(a.other) >= answerBytesMax {
		return false
	}
	return a.version == 0 || x.Snapshot == nil || a.version == x.Snapshot.Version()
}

// add adds the answer of x, which is decided and has no Fault.
func (a *answers) add(x *api.Exchange) {
	a.version = x.Snapshot.Version()
	if x.Errand.Flags == 0 && passes(x) {
		a.allowed = protowire.AppendVarint(a.allowed, x.Errand.ID)
		return
	}
	dst, at := wire.Open(a.other, tagAnswers)
	dst = wire.AppendUint(dst, tagAnswerID, x.Errand.ID)
	dst, inner := wire.Open(dst, tagAnswerResponse)
	if x.Errand.Flags == 0 {
		dst = appendDecision(dst, x)
	} else {
		dst = Append(dst, x, x.Errand.Flags&flagExplain != 0)
	}
	a.other = wire.Shut(wire.Shut(dst, inner), at)
}

// passes reports whether x is allowed, by its counters, and need not wait.
func passes(x *api.Exchange) bool {
	if x.Call.Wait() > 0 {
		return false
	}
	charges := x.Call.Charges()
	for i := range charges {
		if d := &charges[i].Decision; d.Verdict != limiter.Allowed || d.Degraded != limiter.NotDegraded {
			// A shadow limit or one of several alternatives may deny.
			v, _ := x.Verdict()
			return v == limiter.Allowed && summarize(charges).degraded == limiter.NotDegraded
		}
	}
	v, _ := x.Verdict() // an unknown domain has no charges
	return v == limiter.Allowed
}

// addError adds why check id was not decided.
func (a *answers) addError(id uint64, err error) {
	dst, at := wire.Open(a.other, tagAnswers)
	dst = wire.AppendUint(dst, tagAnswerID, id)
	a.other = wire.Shut(appendError(dst, tagAnswerError, err), at)
}

// trim gives room back that is seldom needed. a is empty.
func (a *answers) trim() {
	if cap(a.other) > keepBytesMax {
		a.other = nil
	}
}

// empty reports whether there is nothing to send.
func (a *answers) empty() bool { return len(a.allowed)+len(a.other) == 0 }

// take appends the message to dst and empties a.
func (a *answers) take(dst []byte) []byte {
	if len(a.allowed) > 0 {
		dst = protowire.AppendVarint(append(dst, tagAllowed), uint64(len(a.allowed)))
		dst = append(dst, a.allowed...)
	}
	dst = append(dst, a.other...)
	dst = wire.AppendUint(dst, tagStreamVersion, a.version)
	a.allowed, a.other, a.version = a.allowed[:0], a.other[:0], 0
	return dst
}
