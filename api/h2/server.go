package h2

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// handshakeGrace is what a drain leaves those who are connecting: some clients
// send requests without waiting for the handshake's end.
const handshakeGrace = 250 * time.Millisecond

// Stats are counters since the server was made, and how many connections are
// open now.
type Stats struct {
	Connections int64  // open now
	Accepted    uint64 // connections
	Fast        uint64 // answers of Fast methods
	Rest        uint64 // answers of Rest
	Shed        uint64 // calls of Fast methods that came too late to be decided
	Refused     uint64 // requests refused by Authorize, or because they were no gRPC requests
	Panics      uint64
	Abuse       [abuses]uint64 // by Abuse
}

// A Server serves HTTP/2. Make one with New.
type Server struct {
	cfg     Config
	methods []method
	byPath  map[string]uint32 // 1 + index to methods
	ctx     context.Context   //nolint:containedctx // of all requests of Rest; ends with the server
	cancel  context.CancelFunc

	mu        sync.Mutex     // guards what follows
	conns     map[*conn]bool // whether its handshake is over
	listeners map[net.Listener]struct{}
	draining  bool
	closed    bool
	gone      chan struct{} // closed when draining and conns is empty

	loops, handlers sync.WaitGroup
	open            atomic.Int64
	turned          atomic.Int64  // see turnAway
	lag             atomic.Int64  // of the scheduler, ns: see watchLag
	asked           atomic.Uint64 // how often Behind was
	batches         atomic.Uint64
	stop            chan struct{}

	accepted, fast, rests, shed, refusals, panics atomic.Uint64
	abuse                                         [abuses]atomic.Uint64

	works, ins, outs, bodies sync.Pool
}

// New returns a server.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, byPath: map[string]uint32{}, conns: map[*conn]bool{}, listeners: map[net.Listener]struct{}{},
		gone: make(chan struct{}), stop: make(chan struct{}),
	}
	for path, unary := range cfg.Fast {
		s.methods = append(s.methods, method{path, unary})
		s.byPath[path] = uint32(len(s.methods))
	}
	s.works.New = func() any { return new(work) }
	s.ins.New = func() any { return new([largeInBytes]byte) }
	s.bodies.New = func() any { b := make([]byte, 0, frameBytesMax); return &b }
	s.outs.New = func() any { return new([outPoolBytes]byte) }
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.loops.Go(s.janitor)
	if cfg.BehindMax > 0 && cfg.CPU != nil {
		s.loops.Go(s.watchLag)
	}
	return s, nil
}

// Serve serves the connections of l until Drain or Close, which make it return
// nil. It closes l.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		return errors.Join(l.Close())
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() { _ = l.Close() }()
	for {
		nc, err := l.Accept()
		if err != nil {
			s.mu.Lock()
			draining := s.draining
			s.mu.Unlock()
			if draining {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("h2: serve %s: %w", l.Addr(), err)
			}
			time.Sleep(acceptPause) // out of files, most likely
			continue
		}
		s.accept(nc)
	}
}

const acceptPause = 5 * time.Millisecond

// accept starts a connection's read loop, or refuses the connection.
func (s *Server) accept(nc net.Conn) {
	if s.cfg.Accept != nil {
		if s.cfg.Accept(nc) != nil {
			_ = nc.Close()
			return
		}
	}
	if s.open.Add(1) > int64(s.cfg.Connections) {
		s.open.Add(-1)
		s.count(AbuseConnections)
		s.turnAway(nc)
		return
	}
	s.accepted.Add(1)
	c := newConn(s, nc)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.open.Add(-1)
		_ = nc.Close()
		return
	}
	s.conns[c] = false
	s.loops.Go(c.serve)
	s.mu.Unlock()
}

// turnedMax is how many connections at once are told that they are too many.
// The others are closed without a word, as all are that expect TLS.
const turnedMax = 100

// turnAway closes a connection that is one too many.
func (s *Server) turnAway(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.TLS != nil || s.closed || s.turned.Load() >= turnedMax {
		_ = nc.Close()
		return
	}
	s.turned.Add(1)
	s.loops.Go(func() {
		defer s.turned.Add(-1)
		defer func() { _ = nc.Close() }()
		b := appendFrameHeader(nil, frameHeader{0, frameSettings, 0, 0})
		reason := fmt.Sprintf("connections_max: %d connections are open", s.cfg.Connections)
		_ = nc.SetWriteDeadline(time.Now().Add(lingerTimeout))
		_, _ = nc.Write(appendGoAway(b, 0, codeEnhanceCalm, reason))
		linger(nc, nc)
	})
}

// established notes that a handshake is over.
func (s *Server) established(c *conn) {
	s.mu.Lock()
	s.conns[c] = true
	draining := s.draining
	s.mu.Unlock()
	if draining {
		c.mu.Lock()
		c.goAway()
		c.mu.Unlock()
	}
}

// remove forgets a connection that has ended.
func (s *Server) remove(c *conn) {
	s.open.Add(-1)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.checkGone()
}

func (s *Server) checkGone() {
	if s.draining && len(s.conns) == 0 {
		select {
		case <-s.gone:
		default:
			close(s.gone)
		}
	}
}

// list returns the connections whose handshake is over, or not.
func (s *Server) list(established bool) []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	conns := make([]*conn, 0, len(s.conns))
	for c, e := range s.conns {
		if e == established {
			conns = append(conns, c)
		}
	}
	return conns
}

// Drain stops gracefully: no connection is accepted, clients are asked to go
// away, and Drain returns when all requests have their answers and handlers have
// returned. Connections that have said nothing yet are closed soon. When ctx
// ends, what is left is cut and Drain returns an error that wraps ctx's.
func (s *Server) Drain(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	for l := range s.listeners {
		_ = l.Close()
	}
	s.checkGone()
	s.mu.Unlock()
	for _, c := range s.list(true) {
		c.mu.Lock()
		c.goAway()
		c.flushSoon()
		c.mu.Unlock()
	}
	grace := time.NewTimer(handshakeGrace)
	defer grace.Stop()
	for {
		select {
		case <-s.gone:
			s.Close()
			return nil
		case <-grace.C:
			for _, c := range s.list(false) {
				_ = c.raw.Close()
			}
		case <-ctx.Done():
			s.Close()
			return fmt.Errorf("h2: drain: %w", ctx.Err())
		}
	}
}

// Close stops at once, and returns when all read loops and handlers have.
func (s *Server) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed, s.draining = true, true
		close(s.stop)
	}
	for l := range s.listeners {
		_ = l.Close()
	}
	s.mu.Unlock()
	s.cancel()
	for _, c := range slices.Concat(s.list(true), s.list(false)) {
		_ = c.raw.Close()
	}
	s.loops.Wait()
	s.handlers.Wait()
}

// Behind reports whether work that is ready waits for a processor for longer than
// Config.BehindMax, because of this process's own load: for doors beside this one,
// whose calls come too late to be decided then.
func (s *Server) Behind() bool {
	if s.cfg.BehindMax <= 0 {
		return false
	}
	s.asked.Add(1)
	return s.lag.Load() > int64(s.cfg.BehindMax)
}

// Stats returns the present counts.
func (s *Server) Stats() Stats {
	t := Stats{
		Connections: s.open.Load(), Accepted: s.accepted.Load(), Fast: s.fast.Load(), Rest: s.rests.Load(),
		Shed: s.shed.Load(), Refused: s.refusals.Load(), Panics: s.panics.Load(),
	}
	for i := range t.Abuse {
		t.Abuse[i] = s.abuse[i].Load()
	}
	return t
}

func (s *Server) count(a Abuse) { s.abuse[a].Add(1) }

func (s *Server) refused() { s.refusals.Add(1) }

func (s *Server) panicked(path string, v any, stack []byte) {
	s.panics.Add(1)
	if s.cfg.Panic != nil {
		s.cfg.Panic(path, v, stack)
	}
}

// streamsEach returns how many requests each connection may have in flight.
func (s *Server) streamsEach() int {
	n := s.cfg.StreamsTotal / int(max(s.open.Load(), 1))
	// Powers of two, so that few connections are told of each that comes or goes.
	for n&(n-1) != 0 {
		n &= n - 1
	}
	return min(max(n, streamsLeast), s.cfg.Streams)
}

// streamsLeast is what each connection may have in flight, however many there
// are.
const streamsLeast = 8

func (s *Server) getWork() *work {
	w, _ := s.works.Get().(*work) // the pool holds nothing else
	return w
}

func (s *Server) putWork(w *work) { s.works.Put(w) }

func (s *Server) getIn() []byte {
	b, _ := s.ins.Get().(*[largeInBytes]byte) // the pool holds nothing else
	return b[:]
}

func (s *Server) putIn(b []byte) { s.ins.Put((*[largeInBytes]byte)(b[:largeInBytes])) }

func (s *Server) getBody() *[]byte {
	b, _ := s.bodies.Get().(*[]byte) // the pool holds nothing else
	return b
}

func (s *Server) putBody(b *[]byte) {
	if cap(*b) <= 2*streamWindow {
		s.bodies.Put(b)
	}
}

// outPoolBytes is how large an output buffer of the pool is: the answers to the
// requests of one batch fit, if they are short. One that grew is not kept.
const outPoolBytes = 64 << 10

func (s *Server) getOut() []byte {
	b, _ := s.outs.Get().(*[outPoolBytes]byte) // the pool holds nothing else
	return b[:0]
}

func (s *Server) putOut(b []byte) {
	if cap(b) == outPoolBytes {
		s.outs.Put((*[outPoolBytes]byte)(b[:outPoolBytes]))
	}
}
