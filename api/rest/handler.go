package rest

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"github.com/headgate/headgate/api"
	native "github.com/headgate/headgate/api/decision"
	"github.com/headgate/headgate/api/rls"
)

// HopsMax bounds Config.Hops.
const HopsMax = 16

// A Config says how to answer.
type Config struct {
	Desk   *api.Desk
	Native *native.Service // answers what is about reservations
	Bounds api.Bounds
	// RLS names the headers in the answers of /json.
	RLS rls.Headers

	// Trusted are the networks of proxies: only they may say for whom they ask
	// (X-Forwarded-*, X-Original-*, X-Real-IP) and choose with X-RateLimit-*.
	Trusted []netip.Prefix
	// Hops is how many addresses at the right end of X-Forwarded-For are proxies'
	// whatever their network; 0 to HopsMax.
	Hops int
	// DenyStatus is the status of a denial by forward-auth; 400 to 599.
	DenyStatus int

	// Behind says whether calls come too late to be decided now: each limit's
	// on_unavailable then decides. Nil: they never do.
	Behind func() bool
	// Ready says what /healthcheck answers.
	Ready func() bool
	// Panic is told of a panic while a request was answered; nil: nobody is.
	Panic func(method string, value any, stack []byte)
}

// Validate reports all settings that are out of bounds.
func (c *Config) Validate() error {
	errs := []error{c.Bounds.Validate(), c.RLS.Validate()}
	if c.Hops < 0 || c.Hops > HopsMax {
		errs = append(errs, fmt.Errorf("rest: trusted_hops: %d is not in [0, %d]", c.Hops, HopsMax))
	}
	if c.DenyStatus < 400 || c.DenyStatus > 599 {
		errs = append(errs, fmt.Errorf("rest: deny_status: %d is not in [400, 599]", c.DenyStatus))
	}
	return errors.Join(errs...)
}

// A Handler answers the routes of this package. Make one with New.
type Handler struct {
	Config
	mux    *http.ServeMux
	panics atomic.Uint64
	shed   atomic.Uint64
}

// Panics returns how many requests ended with a panic, which was recovered.
func (h *Handler) Panics() uint64 { return h.panics.Load() }

// Shed returns how many requests came too late to be decided.
func (h *Handler) Shed() uint64 { return h.shed.Load() }

// isBehind reports whether the request at hand comes too late to be decided, and
// counts it then.
func (h *Handler) isBehind() bool {
	late := h.Behind != nil && h.Behind()
	if late {
		h.shed.Add(1)
	}
	return late
}

// decideAt has the desk decide x.Req, without its counters if it is late, and
// returns the exchange that holds the decisions.
func (h *Handler) decideAt(ctx context.Context, x *api.Exchange, late bool) *api.Exchange {
	if late {
		h.Desk.Shed(h.Desk.Now(), x)
		return x
	}
	return h.Desk.Decide(ctx, x)
}

//go:embed openapi.json
var openAPI []byte

// OpenAPI returns the OpenAPI document of all routes, JSON.
func OpenAPI() []byte { return openAPI }

// New returns a handler for the routes of [Routes].
func New(c Config) (*Handler, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	h := &Handler{Config: c, mux: http.NewServeMux()}
	h.mux.HandleFunc("/v1/check", only(http.MethodPost, h.check))
	h.mux.HandleFunc("/v1/batch", only(http.MethodPost, h.batch))
	h.reservationRoutes()
	h.mux.HandleFunc("/json", only(http.MethodPost, h.rateLimit))
	guber := h.gubernatorDoor()
	h.mux.HandleFunc("/v1/GetRateLimits", only(http.MethodPost, guber.getRateLimits))
	h.mux.HandleFunc("/v1/HealthCheck", only(http.MethodGet, guber.healthCheck))
	h.mux.HandleFunc("/v1/LiveCheck", only(http.MethodGet, guber.liveCheck))
	h.mux.HandleFunc("/healthcheck", only(http.MethodGet, h.healthcheck))
	h.mux.HandleFunc("/openapi.json", only(http.MethodGet, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(openAPI) // an error is the reader's: it went away
	}))
	return h, nil
}

// Routes returns the paths that a Handler answers. One that ends in a slash
// stands for all below it.
func Routes() []string {
	return []string{
		"/v1/check", "/v1/batch", "/v1/reserve", "/v1/extend", "/v1/settle", "/v1/cancel", forwardPath, forwardPath + "/", "/json", "/healthcheck",
		"/v1/GetRateLimits", "/v1/HealthCheck", "/v1/LiveCheck", "/openapi.json",
	}
}

// Serves reports whether path is one of a Handler's routes. Those of forward-auth
// are not cleaned: their end is another request's path.
func Serves(path string) bool {
	for _, route := range Routes() {
		if path == route || strings.HasSuffix(route, "/") && strings.HasPrefix(path, route) {
			return true
		}
	}
	return false
}

// ServeHTTP answers r.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer h.recovered(w, r)
	if r.URL.Path == forwardPath || strings.HasPrefix(r.URL.Path, forwardPath+"/") {
		h.forwardAuth(w, r)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// recovered turns a panic into an answer. http.ErrAbortHandler is net/http's own.
func (h *Handler) recovered(w http.ResponseWriter, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	h.panics.Add(1)
	if h.Panic != nil {
		h.Panic(r.Method+" "+r.URL.Path, v, debug.Stack())
	}
	problem{Title: "Internal error", Status: http.StatusInternalServerError}.write(w)
}

// only answers other methods than method with 405.
func only(method string, serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method && (method != http.MethodGet || r.Method != http.MethodHead) {
			w.Header().Set("Allow", method)
			problem{
				Title: "Method not allowed", Status: http.StatusMethodNotAllowed,
				Detail: "method: " + api.Quote([]byte(r.Method)) + ": must be " + method,
			}.write(w)
			return
		}
		serve(w, r)
	}
}

// healthcheck answers as Envoy's reference service does.
func (h *Handler) healthcheck(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	if !h.Ready() {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	_, _ = w.Write([]byte("OK")) // an error is the reader's
}
