package consensus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A Handler answers another node's call about a group. The request is its to
// keep; ctx ends when the caller does not wait any more. What is returned, error
// text included, may have Config.EntryBytesMax bytes.
type Handler func(ctx context.Context, group uint32, request []byte) ([]byte, error)

// ErrRemote is what the other node's handler returned, or that there is none yet.
var ErrRemote = errors.New("consensus: the other node says")

// errNotReady is what a node without a handler says.
var errNotReady = errors.New("consensus: no calls are answered yet")

const (
	// callsGroup stands in a preamble for no group: the connection carries calls,
	// one after the other. It is beyond GroupsLimit.
	callsGroup = 1<<32 - 1

	// callsIdle bounds the connections to one node that wait for the next call.
	callsIdle = 16

	requestHeader  = 12 // payload's length, milliseconds left, group
	responseHeader = 5  // payload's length, status
)

// The status of a response.
const (
	callAnswered = 0
	callFailed   = 1 // the payload is the error's text
)

// calls carries calls between nodes, beside the groups' own connections.
type calls struct {
	cfg    *Config
	mux    *mux
	handle atomic.Pointer[Handler]
	wg     sync.WaitGroup

	mu   sync.Mutex            // guards idle
	idle map[string][]net.Conn // by address, at most callsIdle each
}

func newCalls(m *mux) *calls {
	return &calls{cfg: m.cfg, mux: m, idle: make(map[string][]net.Conn)}
}

// serve answers calls until the mux is closed.
func (c *calls) serve() {
	defer c.wg.Wait()
	for {
		conn, err := c.mux.calls.Accept()
		if err != nil {
			return
		}
		c.wg.Go(func() {
			defer conn.Close()
			for {
				if err := c.answer(conn); err != nil {
					return
				}
			}
		})
	}
}

// answer answers the next call of a connection.
func (c *calls) answer(conn net.Conn) error {
	_ = conn.SetDeadline(time.Time{}) // the next call may come in an hour
	var h [requestHeader]byte
	if _, err := io.ReadFull(conn, h[:]); err != nil {
		return err
	}
	size, budget, group := binary.BigEndian.Uint32(h[:]), binary.BigEndian.Uint32(h[4:]), binary.BigEndian.Uint32(h[8:])
	if int64(size) > int64(c.cfg.EntryBytesMax) {
		err := fmt.Errorf("%w: call of %d bytes: at most %d", ErrTooLarge, size, c.cfg.EntryBytesMax)
		c.cfg.Events.refused(conn.RemoteAddr().String(), err)
		return err
	}
	_ = conn.SetDeadline(time.Now().Add(c.cfg.IOTimeout))
	request := make([]byte, size)
	if _, err := io.ReadFull(conn, request); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.mux.ctx, min(time.Duration(budget)*time.Millisecond, c.cfg.CallTimeout))
	defer cancel()
	status, response := byte(callAnswered), []byte(nil)
	err := errNotReady
	if handle := c.handle.Load(); handle != nil {
		response, err = (*handle)(ctx, group, request)
	}
	if err == nil && len(response) > c.cfg.EntryBytesMax {
		err = fmt.Errorf("%w: response of %d bytes: at most %d", ErrTooLarge, len(response), c.cfg.EntryBytesMax)
	}
	if err != nil {
		text := err.Error()
		status, response = callFailed, []byte(text[:min(len(text), c.cfg.EntryBytesMax)])
	}
	_ = conn.SetDeadline(time.Now().Add(c.cfg.IOTimeout))
	b := binary.BigEndian.AppendUint32(make([]byte, 0, responseHeader+len(response)), uint32(len(response)))
	_, err = conn.Write(append(append(b, status), response...))
	return err
}

// call has another node's handler answer a request.
func (c *calls) call(ctx context.Context, addr string, group uint32, request []byte) ([]byte, error) {
	if len(request) > c.cfg.EntryBytesMax {
		return nil, fmt.Errorf("%w: call of %d bytes: at most %d", ErrTooLarge, len(request), c.cfg.EntryBytesMax)
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	if conn := c.take(addr); conn != nil {
		response, err := c.exchange(ctx, conn, group, request)
		if err == nil || errors.Is(err, ErrRemote) || ctx.Err() != nil {
			c.put(addr, conn, err)
			return response, err
		}
		_ = conn.Close() // the node was started again, most likely: its other connections are as dead
		c.forget(addr)
	}
	conn, err := c.mux.dial(ctx, addr, callsGroup)
	if err != nil {
		return nil, err
	}
	response, err := c.exchange(ctx, conn, group, request)
	c.put(addr, conn, err)
	return response, err
}

// exchange sends a request over a connection and reads the response.
func (c *calls) exchange(ctx context.Context, conn net.Conn, group uint32, request []byte) ([]byte, error) {
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	b := make([]byte, 0, requestHeader+len(request))
	b = binary.BigEndian.AppendUint32(b, uint32(len(request)))
	b = binary.BigEndian.AppendUint32(b, uint32(max(time.Until(deadline).Milliseconds(), 0)))
	b = binary.BigEndian.AppendUint32(b, group)
	if _, err := conn.Write(append(b, request...)); err != nil {
		return nil, err
	}
	var h [responseHeader]byte
	if _, err := io.ReadFull(conn, h[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(h[:])
	if int64(size) > int64(c.cfg.EntryBytesMax) {
		return nil, fmt.Errorf("%w: response of %d bytes: at most %d", ErrTooLarge, size, c.cfg.EntryBytesMax)
	}
	response := make([]byte, size)
	if _, err := io.ReadFull(conn, response); err != nil {
		return nil, err
	}
	if h[4] != callAnswered {
		return nil, fmt.Errorf("%w: %s", ErrRemote, response)
	}
	return response, nil
}

// take returns a connection that waits, or nil.
func (c *calls) take(addr string) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	conns := c.idle[addr]
	if len(conns) == 0 {
		return nil
	}
	conn := conns[len(conns)-1]
	c.idle[addr] = conns[:len(conns)-1]
	return conn
}

// put keeps a connection for the next call, unless the last one failed on it.
func (c *calls) put(addr string, conn net.Conn, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && !errors.Is(err, ErrRemote) || len(c.idle[addr]) >= callsIdle {
		_ = conn.Close()
		return
	}
	c.idle[addr] = append(c.idle[addr], conn)
}

// forget closes the connections to an address that wait.
func (c *calls) forget(addr string) {
	c.mu.Lock()
	conns := c.idle[addr]
	delete(c.idle, addr)
	c.mu.Unlock()
	for _, conn := range conns {
		_ = conn.Close()
	}
}

// Handle sets who answers other nodes' calls. Until then they are refused.
func (n *Node) Handle(h Handler) { n.calls.handle.Store(&h) }

// Call has the Handler of another node answer a request about a group, which need
// not be a member of it: for what only its leader can do. It ends with ctx, or
// after Config.CallTimeout. An error with ErrRemote is the handler's own; any other
// may mean that it was answered, and the answer lost. A request is sent twice if a
// connection turns out to be dead, so that it has to bear being answered twice.
func (n *Node) Call(ctx context.Context, to Server, group uint32, request []byte) ([]byte, error) {
	addr := to.Addr
	if n.cfg.Resolve != nil {
		if now, ok := n.cfg.Resolve(to.ID); ok {
			addr = now
		}
	}
	response, err := n.calls.call(ctx, addr, group, request)
	if err != nil {
		return nil, fmt.Errorf("consensus: call %s: %w", to.ID, err)
	}
	return response, nil
}
