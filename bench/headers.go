package bench

// A HeaderStyle says whose headers requests have.
type HeaderStyle string

// The styles.
const (
	// MinimalHeaders are what gRPC demands, the same in each request.
	MinimalHeaders HeaderStyle = "minimal"
	// EnvoyHeaders are what Envoy 1.40 sends to a rate-limit service, encoded as
	// it does: a fresh x-request-id and traceparent in each request, which go
	// through the server's header table; a path that is spelt out each time.
	EnvoyHeaders HeaderStyle = "envoy"
)

// envoyTimeout is the timeout that the recorded Envoy was set to. Envoy's default
// of 20 ms would turn the answers of a saturated server into errors.
const (
	envoyTimeout       = "5000m"
	envoyTimeoutMillis = "5000"
)

// scheme returns the :scheme of requests.
func (c *Config) scheme() string {
	if c.TLS != nil {
		return "https"
	}
	return "http"
}

// EnvoyDescriptors returns what Config.Descriptors is for the request that was
// recorded from Envoy (two descriptors of two entries each, domain edge), with a
// number of six digits, so with 1,000,000 keys, in the place of an address and of
// the end of an API key.
func EnvoyDescriptors() []string {
	return []string{
		"path=/two-descriptors,remote_address=10.%d",
		"plan=free,api_key=key-0123456789%d",
	}
}

// newHeaders returns the fields of each request.
func newHeaders(style HeaderStyle, scheme, authority, path string) []headerField {
	if style == EnvoyHeaders {
		return []headerField{
			newHeaderField(valueFixed, ":method", "POST"),
			newHeaderField(valueUnindexed, ":path", path),
			newHeaderField(valueFixed, ":authority", authority),
			newHeaderField(valueFixed, ":scheme", scheme),
			newHeaderField(valueFixed, "te", "trailers"),
			newHeaderField(valueFixed, "grpc-timeout", envoyTimeout),
			newHeaderField(valueFixed, "content-type", "application/grpc"),
			newHeaderField(valueRequestID, "x-request-id", "01234567-89ab-cdef-0123-456789abcdef"),
			newHeaderField(valueTrace, "traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"),
			newHeaderField(valueFixed, "tracestate", ""),
			newHeaderField(valueFixed, "x-envoy-internal", "true"),
			newHeaderField(valueFixed, "x-forwarded-for", "192.0.2.2"),
			newHeaderField(valueFixed, "x-envoy-expected-rq-timeout-ms", envoyTimeoutMillis),
		}
	}
	return []headerField{
		newHeaderField(valueFixed, ":method", "POST"),
		newHeaderField(valueFixed, ":scheme", scheme),
		newHeaderField(valueFixed, ":path", path),
		newHeaderField(valueFixed, ":authority", authority),
		newHeaderField(valueFixed, "content-type", "application/grpc"),
		newHeaderField(valueFixed, "te", "trailers"),
		newHeaderField(valueFixed, "user-agent", "headgate-bench"),
	}
}
