package authz

import (
	"errors"
	"strconv"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/headers"
	"github.com/headgate/headgate/api/wire"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/policy"
)

// Field tags of CheckResponse and of the messages in it: number << 3 | type.
const (
	tagStatus = 1<<3 | byte(protowire.BytesType)
	tagDenied = 2<<3 | byte(protowire.BytesType)
	tagOK     = 3<<3 | byte(protowire.BytesType)

	tagDeniedStatus  = 1<<3 | byte(protowire.BytesType) // HttpStatus
	tagDeniedHeaders = 2<<3 | byte(protowire.BytesType)
	tagDeniedBody    = 3<<3 | byte(protowire.BytesType)
	tagOKHeaders     = 6<<3 | byte(protowire.BytesType) // response_headers_to_add

	tagHeader       = 1<<3 | byte(protowire.BytesType) // of HeaderValueOption
	tagHeaderAction = 3<<3 | byte(protowire.VarintType)
	tagHeaderKey    = 1<<3 | byte(protowire.BytesType)
	tagHeaderValue  = 2<<3 | byte(protowire.BytesType)

	tagCode = 1<<3 | byte(protowire.VarintType) // of google.rpc.Status and HttpStatus
)

// overwrite is HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD.
const overwrite = 2

// Names of our own header fields, as on the HTTP port.
const (
	limitField    = "x-headgate-limit"
	degradedField = "x-headgate-degraded"
)

// Append appends the CheckResponse for x, which is decided and has no Fault, and
// returns the extended buffer. It allocates only to grow dst.
func (s *Service) Append(dst []byte, x *api.Exchange) []byte {
	v, _ := x.Verdict()
	degraded := headers.Degraded(x)
	if v != limiter.Denied {
		dst = append(dst, tagStatus, 0) // OK
		dst, at := wire.Open(dst, tagOK)
		dst = appendFields(dst, tagOKHeaders, x)
		if degraded != limiter.NotDegraded {
			dst = appendHeader(dst, tagOKHeaders, degradedField, degraded.String())
		}
		return wire.Shut(dst, at)
	}
	dst, at := openDenied(dst, codes.ResourceExhausted, uint64(x.Errand.Flags))
	dst = appendFields(dst, tagDeniedHeaders, x)
	name := headers.DeniedBy(x)
	dst = appendHeader(dst, tagDeniedHeaders, limitField, name)
	if degraded != limiter.NotDegraded {
		dst = appendHeader(dst, tagDeniedHeaders, degradedField, degraded.String())
	}
	dst, body := wire.Open(dst, tagDeniedBody)
	dst = appendDenial(dst, name, degraded, x.Errand.Flags)
	dst = wire.Shut(dst, body)
	return wire.Shut(dst, at)
}

// AppendFault appends the CheckResponse for a request that was not decided because of
// err, a *api.Fault.
func (s *Service) AppendFault(dst []byte, err error) []byte {
	code, title := uint64(400), "Bad request"
	var f *api.Fault
	errors.As(err, &f)
	switch {
	case f == nil:
		code, title = 500, "Internal error"
	case f.Reason == api.UnknownDomain:
		code, title = 404, "Unknown domain"
	case f.Reason == api.TooManyCharges:
		code, title = 422, "Too many charges"
	}
	dst, at := openDenied(dst, api.Code(err), code)
	dst, body := wire.Open(dst, tagDeniedBody)
	dst = appendText(append(dst, `{"title":`...), title)
	dst = strconv.AppendUint(append(dst, `,"status":`...), code, 10)
	if f != nil {
		dst = appendText(append(dst, `,"detail":`...), f.Error())
		dst = appendText(append(dst, `,"field":`...), f.Field)
	}
	dst = append(dst, '}')
	dst = wire.Shut(dst, body)
	return wire.Shut(dst, at)
}

// openDenied begins a denial: its status of gRPC, which only must not be OK, and of
// HTTP, and the header fields that all have.
func openDenied(dst []byte, code codes.Code, status uint64) (_ []byte, at int) {
	dst = append(dst, tagStatus, 2, tagCode, byte(code))
	dst, at = wire.Open(dst, tagDenied)
	dst, inner := wire.Open(dst, tagDeniedStatus)
	dst = protowire.AppendVarint(append(dst, tagCode), status)
	dst = wire.Shut(dst, inner)
	dst = appendHeader(dst, tagDeniedHeaders, "content-type", "application/problem+json")
	return appendHeader(dst, tagDeniedHeaders, "cache-control", "no-store"), at
}

// appendFields appends the header fields that the domain's policy chose.
func appendFields(dst []byte, tag byte, x *api.Exchange) []byte {
	set := x.Req.Headers
	if set == 0 {
		set = policy.HeadersDraft | policy.HeadersRetryAfter
	}
	var l headers.List
	l.Fill(x, set)
	for i := range l.Len() {
		name, value := l.Field(i)
		dst = appendHeader(dst, tag, name, value)
	}
	return dst
}

// appendHeader appends a HeaderValueOption that replaces a field of this name. Bytes
// that a field can't hold become '?': a limit's name may be any text.
func appendHeader[T string | []byte](dst []byte, tag byte, key string, value T) []byte {
	dst, at := wire.Open(dst, tag)
	dst, inner := wire.Open(dst, tagHeader)
	dst = wire.AppendString(dst, tagHeaderKey, key)
	dst = protowire.AppendVarint(append(dst, tagHeaderValue), uint64(len(value)))
	for i := range len(value) {
		c := value[i]
		if c < ' ' || c > '~' {
			c = '?'
		}
		dst = append(dst, c)
	}
	dst = wire.Shut(dst, inner)
	dst = append(dst, tagHeaderAction, overwrite)
	return wire.Shut(dst, at)
}

// appendDenial appends the problem that a denial is, as the HTTP port has it.
func appendDenial(dst []byte, name string, why limiter.Degraded, status uint32) []byte {
	title := "Quota exceeded"
	kind := headers.ProblemType(why)
	if kind == headers.ReducedCapacity {
		title = "Temporarily reduced capacity"
	}
	dst = appendText(append(dst, `{"type":`...), kind)
	dst = appendText(append(dst, `,"title":`...), title)
	dst = strconv.AppendUint(append(dst, `,"status":`...), uint64(status), 10)
	dst = append(dst, `,"detail":"denied by limit `...)
	var quoted [4*policy.NameBytesMax + 2]byte
	dst = appendEscaped(dst, strconv.AppendQuote(quoted[:0], name))
	if kind == headers.ReducedCapacity {
		dst = append(dst, ", which was decided without its counter: "...)
		dst = append(dst, why.String()...)
	}
	dst = append(dst, `","violated-policies":[`...)
	return append(appendText(dst, name), `]}`...)
}

// appendText appends a string of JSON.
func appendText(dst []byte, s string) []byte {
	return append(appendEscaped(append(dst, '"'), s), '"')
}

// appendEscaped appends what stands between a JSON string's quotes.
func appendEscaped[T string | []byte](dst []byte, s T) []byte {
	const digits = "0123456789abcdef"
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			var few [utf8.UTFMax]byte
			r, n := utf8.DecodeRune(few[:copy(few[:], s[i:])])
			dst = utf8.AppendRune(dst, r) // what is no text becomes U+FFFD
			i += n
			continue
		}
		i++
	}
	return dst
}
