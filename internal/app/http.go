package app

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"

	"github.com/headgate/headgate/api/admin"
	"github.com/headgate/headgate/api/rest"
)

const (
	httpReadTimeout   = 10 * time.Second
	httpWriteTimeout  = 30 * time.Second
	adminWriteTimeout = 90 * time.Second // a profile takes 30 s
	httpIdleTimeout   = 2 * time.Minute
	httpHeaderBytes   = 16 << 10
	// problemsShown is how many problems /readyz names; the admin API has all.
	problemsShown = 5
	// modesShown is how many domains that are not enforced /readyz names.
	modesShown = 20
)

// listen opens the doors: connections wait in the kernel until they are served.
func (n *node) listen(ctx context.Context) (err error) {
	c := &n.Config
	var opened []net.Listener
	open := func(setting, addr string) net.Listener {
		if err != nil {
			return nil
		}
		var l net.Listener
		if l, err = new(net.ListenConfig).Listen(ctx, "tcp", addr); err != nil {
			err = fmt.Errorf("app: %s: %w", setting, err)
			return nil
		}
		opened = append(opened, l)
		return l
	}
	grpc, web, adm := open("grpc.addr", c.GRPC.Addr), open("http.addr", c.HTTP.Addr), open("admin.addr", c.Admin.Addr)
	var metrics net.Listener
	if c.Metrics.Addr != "" {
		metrics = open("metrics.addr", c.Metrics.Addr)
	}
	if err != nil {
		for _, l := range opened {
			_ = l.Close()
		}
		return err
	}
	n.doors = []*door{
		{name: "gRPC", listener: grpc, serve: func() error { return n.server.Serve(grpc) }, stop: n.server.Drain},
		n.httpDoor("HTTP", netutil.LimitListener(web, c.HTTP.ConnectionsMax), n.webHandler(), httpWriteTimeout, n.webTLS.config()),
		n.httpDoor("admin", netutil.LimitListener(adm, c.Admin.ConnectionsMax), admin.Handler(n.adminSources()), adminWriteTimeout, nil),
	}
	if metrics != nil {
		mux := http.NewServeMux()
		mux.Handle(c.Metrics.Path, n.metrics.Handler())
		n.doors = append(n.doors, n.httpDoor("metrics", netutil.LimitListener(metrics, c.HTTP.ConnectionsMax), mux, httpWriteTimeout, nil))
	}
	return nil
}

// httpDoor serves h on l, encrypted unless secure is nil. A handshake has as long
// as a request's header.
func (n *node) httpDoor(name string, l net.Listener, h http.Handler, writeTimeout time.Duration, secure *tls.Config) *door {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: httpReadTimeout,
		ReadTimeout:       httpReadTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       httpIdleTimeout,
		MaxHeaderBytes:    httpHeaderBytes,
		ErrorLog:          slog.NewLogLogger(n.Log.Handler(), slog.LevelDebug),
		TLSConfig:         secure,
	}
	serve := s.Serve
	if secure != nil {
		serve = func(l net.Listener) error { return s.ServeTLS(l, "", "") } // files: secure knows them
	}
	return &door{
		name: name, listener: l,
		serve: func() error {
			if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("app: serve %s: %w", name, err)
			}
			return nil
		},
		stop: func(ctx context.Context) error {
			if err := s.Shutdown(ctx); err != nil {
				return errors.Join(err, s.Close())
			}
			return nil
		},
	}
}

// webHandler serves decisions, probes and metrics. The paths of decisions are not
// cleaned, as a mux would: they may end in the path of another request.
func (n *node) webHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", n.readyz)
	mux.Handle("GET /metrics", n.metrics.Handler())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rest.Serves(r.URL.Path) {
			n.rest.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// readiness is what /readyz says.
type readiness struct {
	Ready         bool     `json:"ready"`
	State         string   `json:"state"`
	PolicyVersion uint64   `json:"policy_version"`
	PolicyHash    string   `json:"policy_hash"`
	PolicyRefused bool     `json:"policy_refused"` // something has problems: an older policy is in force
	Problems      []string `json:"problems,omitempty"`
	// ControlPlane is the one that policy.xds names, if it does.
	ControlPlane *controlPlaneReport `json:"control_plane,omitempty"`
	// Modes are the domains that are not enforced, the first few by name.
	Modes map[string]string `json:"modes,omitempty"`
}

// readyz answers 200 if requests should be sent here. A refused policy is no
// reason not to: the previous one is in force.
func (n *node) readyz(w http.ResponseWriter, _ *http.Request) {
	snapshot, state := n.policies.snapshot()
	r := readiness{
		Ready: n.isReady(), State: nodeState(n.state.Load()).String(),
		PolicyVersion: snapshot.Version(), PolicyHash: snapshot.Hash(),
	}
	if n.control != nil {
		r.ControlPlane = n.control.report(&state)
	}
	if r.Problems = state.problems(); len(r.Problems) > 0 {
		r.PolicyRefused = true
		if more := len(r.Problems) - problemsShown; more > 0 {
			r.Problems = append(r.Problems[:problemsShown], fmt.Sprintf("… %d more: see the log or the admin API", more))
		}
	}
	for i, d := range n.modes.report().Domains {
		if i == modesShown {
			break // the admin API has all
		}
		if r.Modes == nil {
			r.Modes = map[string]string{}
		}
		r.Modes[d.Domain] = d.Mode
	}
	w.Header().Set("Content-Type", "application/json")
	if !r.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(r) // an error is the reader's: it went away
}
