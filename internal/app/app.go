package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/headgate/headgate/api"
	"github.com/headgate/headgate/api/rest"
	"github.com/headgate/headgate/api/rpc"
	"github.com/headgate/headgate/cluster"
	"github.com/headgate/headgate/cluster/reservations"
	"github.com/headgate/headgate/internal/audit"
	"github.com/headgate/headgate/internal/clock"
	"github.com/headgate/headgate/internal/config"
	"github.com/headgate/headgate/internal/obs"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/table"
	"github.com/headgate/headgate/policy"
	"github.com/headgate/headgate/storage"
)

// Options are what a node is told besides its settings.
type Options struct {
	Config config.Config // valid
	Build  obs.Build

	// Log is where the node logs. Nil: standard error, as Config.Log says.
	Log *slog.Logger
	// Signals is what NotifySignals returns, or nil: the node then only ends
	// with its context.
	Signals <-chan os.Signal
	// Started is called once, when the node is ready. It may be nil.
	Started func(Addrs)

	// room is storage.Room of the quota store. Nil: the disk is asked.
	room func() error
}

// Addrs are where a node listens, host:port. Port 0 in the settings has become
// the one that the system chose.
type Addrs struct{ GRPC, HTTP, Admin string }

// The states of a node, in order.
type nodeState int32

const (
	starting nodeState = iota
	serving
	draining
	stopping
)

func (s nodeState) String() string {
	return [...]string{"starting", "serving", "draining", "stopping"}[s]
}

// A node is one running Headgate. Its fields are set by build, before anything
// runs.
type node struct {
	Options
	startedAt time.Time
	state     atomic.Int32

	data      *dataDir
	clock     *clock.Clock
	collector *collector // nil: Go's own variables say
	table     *table.Table
	router    cluster.Router
	reserved  *reservations.Reservations
	quotas    *quotas
	saved     savedTable
	held      savedReservations
	policies  *policies
	modes     *modes
	counters  *counters
	control   *controlPlane // nil: none
	metrics   *obs.Metrics
	rest      *rest.Handler
	server    *rpc.Server
	doors     []*door
	grpcTLS   *encryptedPort // nil: cleartext
	webTLS    *encryptedPort
	convert   chan struct{} // counters may wait for a conversion; room for one
	reread    chan struct{} // a signal asks to read all files again; room for one
}

// Run runs a node until ctx ends or a signal says so, and stops it gracefully:
// accepted requests get their answers within Config.Shutdown.DrainMax, then what
// is open is cut and the counters are saved. The rest of Config.Shutdown.Timeout
// is for that, but saving is never cut: half of the counters would be none. A
// second SIGINT or SIGTERM cuts the drain short and still saves.
func Run(ctx context.Context, o Options) error {
	n := &node{Options: o, clock: clock.New(), convert: make(chan struct{}, 1), reread: make(chan struct{}, 1)}
	if n.Log == nil {
		n.Log = obs.NewLogger(os.Stderr, o.Config.Log.Level, o.Config.Log.Format)
	}
	n.startedAt = n.clock.Now().Time()
	n.collector = newCollector(&o.Config.Runtime, n.Log)
	data, err := openDataDir(o.Config.DataDir)
	if err != nil {
		return err
	}
	n.data = data
	changes, err := audit.Open(data.file(auditName))
	if err != nil {
		return errors.Join(err, data.close())
	}
	n.modes = &modes{file: data.file(modesName), audit: changes, now: n.clock.Now, log: n.Log}
	return errors.Join(n.run(ctx), n.stopQuotas(context.WithoutCancel(ctx)), changes.Close(), data.close())
}

// stopQuotas gives back what is held of quotas, once, in what a stop leaves after
// the drain.
func (n *node) stopQuotas(ctx context.Context) error {
	if n.quotas == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, n.Config.Shutdown.Timeout-n.Config.Shutdown.DrainMax())
	defer cancel()
	return n.quotas.stop(ctx)
}

// run is Run with the data directory locked.
func (n *node) run(ctx context.Context) error {
	if err := n.build(); err != nil {
		return err
	}
	if err := n.listen(ctx); err != nil {
		n.server.Close() // it has goroutines of its own
		return err
	}
	if !n.policies.remote {
		n.resumeReservations(n.policies.current.Load().Limits())
	}
	failed := make(chan error, len(n.doors))
	var doors, background sync.WaitGroup
	for _, d := range n.doors {
		doors.Go(func() {
			if err := d.serve(); err != nil {
				failed <- err
			}
		})
	}
	loops, endLoops := context.WithCancel(context.WithoutCancel(ctx))
	n.startLoops(loops, &background)
	if !n.awaits() {
		n.ready()
	}

	delay, err := n.wait(ctx, failed)

	err = errors.Join(err, n.drain(context.WithoutCancel(ctx), delay))
	n.state.Store(int32(stopping))
	doors.Wait()
	endLoops()
	background.Wait()
	err = errors.Join(err, n.stopQuotas(context.WithoutCancel(ctx)))
	if n.Config.Table.Save {
		err = errors.Join(err, n.saved.save(n.table))
	}
	err = errors.Join(err, n.saveReservations())
	n.Log.Info("stopped", slog.Bool("gracefully", err == nil))
	return err
}

// build makes the components, bottom up. Nothing runs yet.
func (n *node) build() error {
	c := &n.Config
	if err := n.encrypt(); err != nil {
		return err
	}
	secret, err := n.data.keySecret()
	if err != nil {
		return err
	}
	if n.table, err = newTable(&c.Table); err != nil {
		return err
	}
	if err := n.loadSaved(); err != nil {
		return err
	}
	n.router.Table = n.table
	n.quotas = &quotas{dir: n.data.file(quotasName), data: n.data, settings: &c.Quotas, now: n.clock.Now, log: n.Log, router: &n.router, room: n.room}
	if n.quotas.room == nil {
		n.quotas.room = func() error { return storage.Room(storage.Default(filepath.Join(n.quotas.dir, storeName))) }
	}
	if n.reserved, err = n.newReservations(); err != nil {
		return err
	}
	n.metrics = obs.New(n.metricsConfig())
	if n.control, err = newControlPlane(&c.Policy.XDS, n); err != nil {
		return err
	}
	n.policies = &policies{
		paths: c.Policy.Paths, envoy: envoyFiles{dir: c.Policy.Envoy.Dir, root: c.Policy.Envoy.Root, dotFiles: c.Policy.Envoy.DotFiles},
		imports: envoyOptions(&c.Policy.Envoy), remote: n.control != nil, first: make(chan struct{}),
		options: policy.Options{
			Hasher:          limiter.NewKeyHasher(secret),
			OnUnknownDomain: onUnknownDomain(c.Policy.OnUnknownDomain),
			Prefetch:        n.table.Prefetch,
			PrefetchQuota:   n.router.PrefetchQuota,
		},
		now:      n.clock.Now,
		log:      n.Log,
		accept:   n.quotas.ready,
		install:  n.install,
		reloaded: n.metrics.Reloaded,
	}
	n.modes.policies = n.policies
	n.counters = &counters{table: n.table, policies: n.policies, audit: n.modes.audit, now: n.clock.Now, log: n.Log}
	if err := n.modes.load(); err != nil {
		return err
	}
	if err := n.policies.load(); err != nil {
		return err
	}
	gate := &api.Gate{Policies: &n.policies.current, Decider: &n.router, Observer: n.metrics.Decisions}
	edge := rpcConfig(c)
	edge.TLS, edge.Reservations = n.grpcTLS.config(), n.reserved
	if n.server, err = rpc.New(edge, gate, n.clock.Now, rpc.Events{Panic: n.panicked}); err != nil {
		return err
	}
	if n.rest, err = n.newREST(edge); err != nil {
		n.server.Close() // it has goroutines of its own
	}
	return err
}

// loadSaved reads what the process before has left.
func (n *node) loadSaved() error {
	n.saved = savedTable{savedFile: savedFile{file: n.data.file(savedName), what: "counters", log: n.Log}, clock: n.clock}
	n.held = savedReservations{savedFile: savedFile{file: n.data.file(heldName), what: "reservations", log: n.Log}}
	if n.Config.Table.Save {
		if err := n.saved.load(n.table); err != nil {
			return err
		}
	}
	return n.held.load()
}

// newREST makes the doors of the HTTP port that decide, with the bounds of gRPC's.
func (n *node) newREST(edge *rpc.Config) (*rest.Handler, error) {
	c := &n.Config.HTTP
	trusted, err := config.Prefixes(c.TrustedProxies)
	if err != nil {
		return nil, err
	}
	return rest.New(rest.Config{
		Desk: n.server.Desk(), Native: n.server.Native(), Bounds: edge.Bounds, RLS: edge.Headers,
		Trusted: trusted, Hops: c.TrustedHops, DenyStatus: c.DenyStatus,
		Behind: n.server.Behind, Ready: n.isReady, Panic: n.panicked,
	})
}

// install makes the limits of the next policy known to those who count.
func (n *node) install(version uint64, limits []*limiter.Limit) {
	n.table.Install(limits)
	n.quotas.install(version, limits)
	n.metrics.Decisions.Install(limits)
	if n.policies.remote && n.policies.received {
		n.resumeReservations(limits)
	}
	select {
	case n.convert <- struct{}{}:
	default: // it will be looked at anyway
	}
}

func (n *node) panicked(method string, value any, stack []byte) {
	n.Log.Error("panic while serving: this request failed, the node goes on",
		slog.String("method", method), slog.Any("panic", value), slog.String("stack", string(stack)))
}

// ready tells everybody that the node serves.
func (n *node) ready() {
	if err := n.saved.forget(); err != nil {
		n.Log.Warn("saved counters stay behind: after a crash they would be loaded once more", slog.String("error", err.Error()))
	}
	n.server.SetServing(true)
	n.state.Store(int32(serving))
	a := n.addrs()
	n.Log.Info("headgate is ready", slog.String("grpc", a.GRPC), slog.String("http", a.HTTP), slog.String("admin", a.Admin),
		slog.String("data_dir", n.data.path), slog.String("version", n.Build.Version))
	n.tellSystemd(systemdReady)
	if n.Started != nil {
		n.Started(a)
	}
}

// awaits reports whether the node is not ready before its control plane has
// published something.
func (n *node) awaits() bool { return n.control != nil && n.Config.Policy.XDS.AwaitInitial }

// wait serves until ctx ends, a signal says stop or a door fails, and returns
// how long to go on serving then.
func (n *node) wait(ctx context.Context, failed <-chan error) (delay time.Duration, err error) {
	var first <-chan struct{} // nil: the node is ready already
	if n.awaits() {
		first = n.policies.first
	}
	for {
		select {
		case <-first:
			first = nil
			n.ready()
		case <-ctx.Done():
			return n.Config.Shutdown.DrainDelay, nil
		case err := <-failed:
			return 0, err
		case s := <-n.Signals:
			if s == syscall.SIGHUP {
				select {
				case n.reread <- struct{}{}:
				default: // it will be done anyway
				}
				continue
			}
			n.Log.Info("stopping: once more stops at once", slog.String("signal", s.String()))
			if s == os.Interrupt { // a person at a terminal: no load balancer has to notice
				return 0, nil
			}
			return n.Config.Shutdown.DrainDelay, nil
		}
	}
}

// drain closes the doors: first nobody new is sent here, then those who are
// here get their answers.
func (n *node) drain(ctx context.Context, delay time.Duration) error {
	n.server.SetServing(false)
	n.state.Store(int32(draining))
	n.tellSystemd(systemdStopping)
	n.Log.Info("draining", slog.Duration("delay", delay), slog.Duration("timeout", n.Config.Shutdown.DrainMax()))
	ctx, cancel := context.WithTimeout(ctx, n.Config.Shutdown.DrainMax())
	defer cancel()
	var impatience sync.WaitGroup
	impatience.Go(func() { n.cutShort(ctx, cancel) })
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	var err error
	for _, d := range n.doors { // gRPC first: /readyz and /metrics answer as long as it serves
		if stopErr := d.stop(ctx); stopErr != nil {
			err = errors.Join(err, fmt.Errorf("app: stop %s: %w", d.name, stopErr))
		}
	}
	cancel()
	impatience.Wait()
	return err
}

// cutShort cancels ctx when another signal to stop comes, and ends with it.
func (n *node) cutShort(ctx context.Context, cancel func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-n.Signals:
			if s != syscall.SIGHUP {
				n.Log.Warn("stopping at once", slog.String("signal", s.String()))
				cancel()
			}
		}
	}
}

func (n *node) isReady() bool { return nodeState(n.state.Load()) == serving }

func (n *node) addrs() Addrs {
	return Addrs{GRPC: n.doors[0].addr(), HTTP: n.doors[1].addr(), Admin: n.doors[2].addr()}
}

// A door is a listener and who serves it.
type door struct {
	name     string
	listener net.Listener
	serve    func() error
	stop     func(context.Context) error // ends serve
}

func (d *door) addr() string { return d.listener.Addr().String() }
