package gubernator

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
)

// Tags of RateLimitResp, and of an entry of its metadata.
const (
	tagStatus    = 1<<3 | byte(protowire.VarintType)
	tagLimit     = 2<<3 | byte(protowire.VarintType)
	tagRemaining = 3<<3 | byte(protowire.VarintType)
	tagResetTime = 4<<3 | byte(protowire.VarintType)
	tagError     = 5<<3 | byte(protowire.BytesType)
	tagMetadata  = 6<<3 | byte(protowire.BytesType)
	tagMapKey    = 1<<3 | byte(protowire.BytesType)
	tagMapValue  = 2<<3 | byte(protowire.BytesType)
)

// overLimit is the status of a denial.
const overLimit = 1

// metadataDegraded is the key under which an answer says that it was decided
// without its counter, and why.
const metadataDegraded = "degraded"

// appendItem appends the fields of the RateLimitResp for x, which was decided as of
// now or, if err is not nil, was not.
func appendItem(dst []byte, now limiter.Instant, x *api.Exchange, err error) []byte {
	if err != nil {
		return wire.AppendString(dst, tagError, err.Error())
	}
	l := x.Req.Carried()
	remaining, resetAfter := l.Amount, time.Duration(0)
	var degraded limiter.Degraded
	if charges := x.Call.Charges(); len(charges) > 0 {
		d := &charges[len(charges)-1].Decision // a restart comes before the charge
		if v, _ := x.Verdict(); v == limiter.Denied {
			dst = append(dst, tagStatus, overLimit)
		}
		remaining, resetAfter, degraded = d.Remaining, d.ResetAfter, d.Degraded
	}
	dst = wire.AppendUint(dst, tagLimit, l.Amount)
	dst = wire.AppendUint(dst, tagRemaining, remaining)
	if l.Kind == limiter.KindRate || !l.Restart {
		if l.Kind == limiter.KindFixed && resetAfter == 0 {
			resetAfter = l.Left() // of a window that a charge would open now
		}
		dst = wire.AppendUint(dst, tagResetTime, uint64(millis(now.Add(resetAfter))))
	}
	if degraded != limiter.NotDegraded {
		var at int
		dst, at = wire.Open(dst, tagMetadata)
		dst = wire.AppendString(dst, tagMapKey, metadataDegraded)
		dst = wire.Shut(wire.AppendString(dst, tagMapValue, degraded.String()), at)
	}
	return dst
}

// millis returns i in whole milliseconds since the epoch, rounded up.
func millis(i limiter.Instant) int64 {
	return (int64(i) + int64(time.Millisecond) - 1) / int64(time.Millisecond)
}
