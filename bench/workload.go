package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	common "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rls "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/proto"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

// The methods that are called.
const (
	rlsPath    = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
	checkPath  = "/headgate.v1.DecisionService/Check"
	batchPath  = "/headgate.v1.DecisionService/CheckBatch"
	streamPath = "/headgate.v1.DecisionService/CheckStream"
	httpPath   = "/v1/check"
)

// placeholder stands for the key's number in a descriptor's value.
const placeholder = "%d"

// grpcPrefixLen is the length of what gRPC puts before a message: a flag and
// the message's length.
const grpcPrefixLen = 5

// A workload is the requests of a run: one body, in which the numbers of the
// keys are the only thing that differs. Immutable; shared by all lanes.
type workload struct {
	path    string
	body    []byte                      // gRPC prefix and message; over HTTP the JSON
	digits  []int                       // where in body each number begins, in order
	width   int                         // of a number, in digits
	keys    uint64                      // how many numbers there are; 1 without a placeholder
	checks  int                         // how many a request carries
	perItem bool                        // checks may fail one by one
	decode  func([]byte, *outcome) bool // nil for a stream, and over HTTP
	ids     *checkIDs                   // of a stream
}

func newWorkload(c *Config) (*workload, error) {
	w := &workload{
		width:  len(strconv.Itoa(c.Keys - 1)),
		keys:   uint64(c.Keys),
		checks: c.checks(),
	}
	if c.Protocol == Stream {
		w.ids = newCheckIDs(c)
	}
	// All digits of the two numbers differ, and nothing else does.
	zeros, err := w.message(c, strings.Repeat("0", w.width), w.ids.first())
	if err != nil {
		return nil, err
	}
	ones, err := w.message(c, strings.Repeat("1", w.width), w.ids.first())
	if err != nil {
		return nil, err
	}
	if c.Protocol != HTTP {
		w.body = make([]byte, grpcPrefixLen, grpcPrefixLen+len(zeros))
		binary.BigEndian.PutUint32(w.body[1:], uint32(len(zeros)))
	}
	prefix := len(w.body)
	w.body = append(w.body, zeros...)
	w.digits = differences(zeros, ones, w.width, prefix)
	if len(w.digits) == 0 {
		w.keys = 1
	}
	if w.ids != nil {
		other, err := w.message(c, strings.Repeat("0", w.width), w.ids.other())
		if err != nil {
			return nil, err
		}
		w.ids.at = differences(zeros, other, w.ids.width, prefix)
	}
	return w, nil
}

// differences returns where a and b differ, as the beginnings of runs of width
// bytes in a body, in which they come after a prefix.
func differences(a, b []byte, width, prefix int) (at []int) {
	for i := 0; i < len(a); i++ {
		if a[i] != b[i] {
			at = append(at, prefix+i)
			i += width - 1
		}
	}
	return at
}

// message renders the request for the key whose number is given. All checks of a
// stream have the given id.
func (w *workload) message(c *Config, number string, id uint64) ([]byte, error) {
	var m proto.Message
	switch c.Protocol {
	case HTTP:
		w.path = httpPath
		return checkJSON(c, number)
	case RLS:
		w.path, w.decode = rlsPath, decodeRLS
		r := &rls.RateLimitRequest{Domain: c.Domain}
		if c.Hits != 1 { // 0 means 1: that is what Envoy sends
			r.HitsAddend = c.Hits
		}
		for _, d := range c.Descriptors {
			entries, err := parseDescriptor(d)
			if err != nil {
				return nil, fmt.Errorf("bench: %w", err)
			}
			rd := &common.RateLimitDescriptor{}
			for _, e := range entries {
				rd.Entries = append(rd.Entries, &common.RateLimitDescriptor_Entry{
					Key: e.key, Value: strings.ReplaceAll(e.value, placeholder, number),
				})
			}
			r.Descriptors = append(r.Descriptors, rd)
		}
		m = r
	default:
		entries, err := parseDescriptor(c.Descriptors[0])
		if err != nil {
			return nil, fmt.Errorf("bench: %w", err)
		}
		check := &headgatev1.CheckRequest{Domain: c.Domain}
		if c.Hits != 1 {
			check.Cost = proto.Uint64(uint64(c.Hits))
		}
		for _, e := range entries {
			check.Attributes = append(check.Attributes, &headgatev1.Attribute{
				Key: e.key, Value: strings.ReplaceAll(e.value, placeholder, number),
			})
		}
		m = w.several(c, check, id)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("bench: encode the request: %w", err)
	}
	return b, nil
}

// several makes of a check what the protocol sends.
func (w *workload) several(c *Config, check *headgatev1.CheckRequest, id uint64) proto.Message {
	switch c.Protocol {
	case Batch:
		b := &headgatev1.CheckBatchRequest{}
		for range c.Batch {
			b.Checks = append(b.Checks, check)
		}
		w.path, w.decode, w.perItem = batchPath, decodeBatch, true
		return b
	case Stream:
		s := &headgatev1.CheckStreamRequest{}
		for range c.Batch {
			s.Checks = append(s.Checks, &headgatev1.StreamCheck{Id: id, Check: check})
		}
		w.path, w.perItem = streamPath, true
		return s
	default:
		w.path, w.decode = checkPath, decodeCheck
		return check
	}
}

// appendBody appends the body of the next request to dst. Each check has a key
// of its own; all of a check's placeholders have the same number.
func (w *workload) appendBody(dst []byte, k *keyGenerator) []byte {
	start := len(dst)
	dst = append(dst, w.body...)
	body := dst[start:]
	perCheck := len(w.digits) / w.checks
	for digits := w.digits; len(digits) > 0; digits = digits[perCheck:] {
		n := k.next()
		for _, at := range digits[:perCheck] {
			putDigits(body[at:at+w.width], n)
		}
	}
	return dst
}

// putDigits writes n in decimal with leading zeros, as many digits as fit dst.
func putDigits(dst []byte, n uint64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
}

type entry struct{ key, value string }

// parseDescriptor reads "key=value[,key=value…]".
func parseDescriptor(s string) ([]entry, error) {
	if s == "" {
		return nil, errors.New("must not be empty")
	}
	var entries []entry
	for pair := range strings.SplitSeq(s, ",") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%q is not key=value", pair)
		}
		if strings.Contains(key, placeholder) {
			return nil, fmt.Errorf("%q: %s stands for the key's number in values only", pair, placeholder)
		}
		entries = append(entries, entry{key, value})
	}
	return entries, nil
}
