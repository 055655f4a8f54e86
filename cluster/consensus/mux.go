package consensus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// acceptQueue bounds the connections of one group that raft has not accepted yet;
// raft accepts at once, so that more are a burst that a peer repeats.
const acceptQueue = 16

// A mux shares one listener among groups. It owns every connection that came in
// or went out: closing it closes them, and with them ends whatever waits for one.
type mux struct {
	cfg    *Config
	ctx    context.Context // ends when the mux is closed
	cancel context.CancelFunc
	groups []*stream
	calls  *stream       // callsGroup's
	slots  chan struct{} // one for each connection that shakes hands
	wg     sync.WaitGroup

	mu     sync.Mutex // guards what follows
	conns  map[*trackedConn]struct{}
	in     int  // those among conns that were accepted for a group
	closed bool // no connection is added any more
}

// newMux starts to accept from cfg.Listener, if there is one. The streams are the groups', by id.
func newMux(cfg *Config) *mux {
	m := &mux{cfg: cfg, slots: make(chan struct{}, cfg.HandshakesMax), conns: make(map[*trackedConn]struct{})}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	for id := range cfg.Groups {
		m.groups = append(m.groups, m.share(uint32(id), acceptQueue))
	}
	m.calls = m.share(callsGroup, cfg.ConnsMax) // as many as are admitted: a burst of calls opens one each
	if cfg.Listener != nil {
		m.wg.Go(m.accept)
	}
	return m
}

// share returns a group's share of the mux, where up to queue connections wait to be
// accepted.
func (m *mux) share(group uint32, queue int) *stream {
	s := &stream{mux: m, group: group, queue: make(chan net.Conn, queue)}
	s.ctx, s.cancel = context.WithCancel(m.ctx)
	return s
}

// accept hands connections out until the listener is closed.
func (m *mux) accept() {
	for {
		conn, err := m.cfg.Listener.Accept()
		if err != nil {
			if m.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			m.cfg.Events.refused("", fmt.Errorf("consensus: accept: %w", err))
			if !pause(m.ctx, 10*time.Millisecond) { // out of files, most likely: not in a tight loop
				return
			}
			continue
		}
		select {
		case m.slots <- struct{}{}:
		default:
			m.refuse(conn, errBusy)
			continue
		}
		m.wg.Go(func() {
			defer func() { <-m.slots }()
			m.welcome(conn)
		})
	}
}

// welcome reads a connection's preamble, answers it and gives it to its group.
func (m *mux) welcome(raw net.Conn) {
	conn, err := m.track(raw)
	if err != nil {
		m.refuse(raw, err)
		return
	}
	_ = conn.SetDeadline(time.Now().Add(m.cfg.HandshakeTimeout))
	s, err := m.admit(conn)
	if a := answerTo(err); a != 0 {
		if _, werr := conn.Write([]byte{byte(a)}); err == nil {
			err = werr
		}
	}
	if err == nil {
		_ = conn.SetDeadline(time.Time{})
		select {
		case s.queue <- conn:
			return
		default:
			err = errBusy
		}
	}
	m.refuse(conn, err)
}

// admit reads which group a connection is for, and counts it.
func (m *mux) admit(conn *trackedConn) (*stream, error) {
	group, err := readPreamble(conn)
	if err != nil {
		return nil, err
	}
	s := m.calls
	if group != callsGroup {
		if int64(group) >= int64(len(m.groups)) {
			return nil, fmt.Errorf("%w: %d: there are %d", errGroup, group, len(m.groups))
		}
		s = m.groups[group]
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.in >= m.cfg.ConnsMax {
		return nil, errBusy
	}
	m.in++
	conn.admitted = true
	return s, nil
}

// refuse closes a connection and says why.
func (m *mux) refuse(conn net.Conn, err error) {
	_ = conn.Close()
	if m.ctx.Err() == nil {
		m.cfg.Events.refused(conn.RemoteAddr().String(), err)
	}
}

// dial opens a connection to the group on the node at addr.
func (m *mux) dial(ctx context.Context, addr string, group uint32) (net.Conn, error) {
	if m.cfg.Dial == nil {
		return nil, fmt.Errorf("consensus: dial %s: %w", addr, errAlone)
	}
	raw, err := m.cfg.Dial(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("consensus: dial %s: %w", addr, err)
	}
	conn, err := m.track(raw)
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if _, err = conn.Write(preamble(group)); err == nil {
		err = readAnswer(conn)
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("consensus: open group %d at %s: %w", group, addr, err)
	}
	_ = conn.SetDeadline(time.Time{})
	return conn, nil
}

// track takes a connection over: ErrStopped if the mux is closed.
func (m *mux) track(raw net.Conn) (*trackedConn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrStopped
	}
	c := &trackedConn{Conn: raw, mux: m}
	m.conns[c] = struct{}{}
	return c, nil
}

// close ends the mux and everything that waits for one of its connections.
func (m *mux) close() {
	m.mu.Lock()
	m.closed = true
	conns := make([]*trackedConn, 0, len(m.conns))
	for c := range m.conns {
		conns = append(conns, c)
	}
	m.mu.Unlock()
	m.cancel()
	if m.cfg.Listener != nil {
		_ = m.cfg.Listener.Close()
	}
	for _, c := range conns {
		_ = c.Close()
	}
	m.wg.Wait()
	for _, s := range append(m.groups, m.calls) {
		s.drain()
	}
}

// open returns how many connections are open.
func (m *mux) open() (in, out int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.in, len(m.conns) - m.in
}

// A trackedConn tells its mux when it is closed.
type trackedConn struct {
	net.Conn
	mux      *mux
	admitted bool // counted in mux.in; guarded by mux.mu
	once     sync.Once
}

// Close implements net.Conn. It may be called twice.
func (c *trackedConn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		m := c.mux
		m.mu.Lock()
		delete(m.conns, c)
		if c.admitted {
			m.in--
		}
		m.mu.Unlock()
		err = c.Conn.Close()
	})
	return err
}

// A stream is one group's share of the mux: raft's StreamLayer.
type stream struct {
	mux    *mux
	group  uint32
	queue  chan net.Conn
	ctx    context.Context // ends when raft closes the stream, or the mux is closed
	cancel context.CancelFunc
}

var _ raft.StreamLayer = (*stream)(nil)

// Accept implements net.Listener.
func (s *stream) Accept() (net.Conn, error) {
	select {
	case conn := <-s.queue:
		return conn, nil
	case <-s.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener: it ends Accept and Dial of this group.
func (s *stream) Close() error {
	s.cancel()
	s.drain()
	return nil
}

// drain closes what nobody will accept.
func (s *stream) drain() {
	for {
		select {
		case conn := <-s.queue:
			_ = conn.Close()
		default:
			return
		}
	}
}

// Addr implements net.Listener: the address that other nodes dial.
func (s *stream) Addr() net.Addr { return advertised(s.mux.cfg.Addr) }

// Dial implements raft.StreamLayer.
func (s *stream) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	return s.mux.dial(ctx, string(addr), s.group)
}

// advertised is an address as other nodes see it, which is not the listener's.
type advertised string

// Network implements net.Addr.
func (advertised) Network() string { return "tcp" }

// String implements net.Addr.
func (a advertised) String() string { return string(a) }

// pause waits for d and reports whether ctx is still alive then.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
