package h2

import "fmt"

// An Abuse is something that a peer should not do. Each is bounded, answered and
// counted: Stats.Abuse.
type Abuse uint8

// The kinds of abuse.
const (
	AbuseProtocol     Abuse = iota // breaks the protocol: PROTOCOL_ERROR and its kin
	AbusePreface                   // speaks something else than HTTP/2
	AbuseSlowPreface               // takes longer than HandshakeTimeout to begin
	AbuseTLS                       // TLS handshake failed, or without ALPN "h2"
	AbuseCompression               // a header block that can't be decoded
	AbuseContinuation              // a header block in too many pieces, or too large
	AbuseHeaders                   // a header list longer than HeaderBytes
	AbuseReset                     // cancels faster than it asks (rapid reset)
	AbuseSettings                  // SETTINGS flood
	AbusePing                      // PING flood, or more often than KeepaliveClientMin
	AbuseEmpty                     // empty DATA frames
	AbuseWindowUpdate              // WINDOW_UPDATE flood
	AbusePriority                  // PRIORITY flood
	AbuseUnknown                   // frames of unknown types
	AbuseClosed                    // DATA on closed streams
	AbuseStreamID                  // stream numbers that go back
	AbuseStreams                   // more requests in flight than it was told
	AbuseFlowControl               // more data than a window, or a window too large
	AbuseBuffer                    // requests that would pass BufferBytes
	AbuseZeroWindow                // gives no room for the answers it asked for
	AbuseStalled                   // does not read
	AbuseSlowBody                  // a request that takes longer than RequestTimeout
	AbuseSlowFrame                 // a frame or header block that does
	AbuseNoAck                     // does not acknowledge SETTINGS
	AbuseConnections               // one connection more than there may be
	AbuseSilent                    // does not answer our ping
	AbuseGzip                      // compressed messages that become too much
	abuses
)

// String returns the abuse as metrics spell it.
func (a Abuse) String() string {
	if a >= abuses {
		return fmt.Sprintf("Abuse(%d)", uint8(a))
	}
	return [abuses]string{
		"protocol", "preface", "slow_preface", "tls", "compression", "continuation", "header_list", "rapid_reset",
		"settings", "ping", "empty_frames", "window_update", "priority", "unknown_frames", "closed_stream", "stream_id",
		"streams", "flow_control", "buffer", "zero_window", "stalled", "slow_body", "slow_frame", "settings_ack",
		"connections", "silent", "gzip",
	}[a]
}

// Abuses returns all kinds.
func Abuses() []Abuse {
	all := make([]Abuse, abuses)
	for i := range all {
		all[i] = Abuse(i)
	}
	return all
}

// budgets bound the frames that make work and bring nothing: so many of a kind
// a second, and some more for each answer that the peer got.
type budgets struct {
	since    int64
	earned   int
	forgiven int // requests of Rest cancelled that waited in vain
	unpacked int // bytes of messages that came compressed
	spent    [abuses]int
}

const budgetPeriod = 1e9 // ns

// allowance returns how many frames of a kind a second brings, and how many each
// answer.
func allowance(a Abuse) (base, each int) {
	switch a {
	case AbuseReset:
		return 200, 1 // and twice as many as it may have streams: see spend
	case AbuseSettings:
		return 20, 0
	case AbusePing:
		return 50, 1
	case AbuseEmpty, AbuseUnknown:
		return 200, 0
	case AbuseWindowUpdate:
		return 1000, 4
	case AbusePriority:
		return 1000, 1
	case AbuseClosed: // many may be on their way when we end a stream of small messages
		return 5000, 1
	case AbuseStreams:
		return 1000, 1 // likewise
	default:
		return 100, 0
	}
}

// spend counts one frame. It returns an error if there were too many.
func (c *conn) spend(a Abuse) error {
	b := &c.budgets
	b.roll(c.now)
	b.spent[a]++
	base, each := allowance(a)
	if a == AbuseReset || a == AbuseStreams {
		base = max(base, 2*c.streamsNow)
	}
	if b.spent[a] <= base+each*b.earned {
		return nil
	}
	return &connError{codeEnhanceCalm, fmt.Sprintf("%s: more than %d a second", a, base), a}
}

// offend counts what the peer did wrong on a stream that is reset for it.
func (c *conn) offend(a Abuse) error {
	c.srv.count(a)
	return c.spend(a)
}

// roll begins a new second when the last is over.
func (b *budgets) roll(now int64) {
	if now-b.since > budgetPeriod {
		*b = budgets{since: now}
	}
}

// forgive reports whether one more request of Rest that is cancelled is no abuse:
// each was a goroutine, so most a second.
func (b *budgets) forgive(now int64, most int) bool {
	b.roll(now)
	b.forgiven++
	return b.forgiven <= most
}

// earn counts an answer.
func (b *budgets) earn() { b.earned++ }
