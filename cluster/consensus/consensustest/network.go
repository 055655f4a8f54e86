// Package consensustest is a network in memory for tests of what runs on
// package consensus: pipes between named nodes, and cables that can be cut. It
// works in simulated time (testing/synctest). It is no simulator: who runs on the
// nodes, and in which order, is the test's and the scheduler's business.
//
// The main type is [Network], which is safe for concurrent use. Its errors say
// that a node can't be reached.
//
// See docs/adr/0014-raft-groups-on-one-port.md.
package consensustest

import (
	"context"
	"errors"
	"net"
	"sync"
)

// What a dial meets.
var (
	errUnreachable = errors.New("consensustest: unreachable")
	errRefused     = errors.New("consensustest: refused")
)

// A Network connects nodes by their addresses. Make one with New.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*listener
	cut       map[string]bool        // nodes nobody reaches and who reach nobody
	severed   map[[2]string]bool     // pairs that don't reach each other, in order
	conns     map[net.Conn][2]string // those that were dialled, from and to
}

// New returns a network without nodes.
func New() *Network {
	return &Network{listeners: map[string]*listener{}, cut: map[string]bool{}, severed: map[[2]string]bool{}, conns: map[net.Conn][2]string{}}
}

// Listen returns the listener of a node, in place of an earlier one.
func (n *Network) Listen(addr string) net.Listener {
	l := &listener{addr: addr, queue: make(chan net.Conn), done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[addr] = l
	return l
}

// Dialer returns how the node at from dials others.
func (n *Network) Dialer(from string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, to string) (net.Conn, error) {
		n.mu.Lock()
		l := n.listeners[to]
		n.mu.Unlock()
		if l == nil || !n.Reachable(from, to) {
			return nil, errUnreachable
		}
		here, there := net.Pipe()
		select {
		case l.queue <- there:
		case <-l.done:
			return nil, errRefused
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.conns[here] = [2]string{from, to}
		return here, nil
	}
}

// Reachable reports whether neither node is cut off, nor one from the other.
func (n *Network) Reachable(from, to string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.cut[from] && !n.cut[to] && !n.severed[pair(from, to)]
}

// pair returns two addresses in order.
func pair(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

// Sever cuts the cable between two nodes, and closes their connections; others reach
// both.
func (n *Network) Sever(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.severed[pair(a, b)] = true
	for c, ends := range n.conns {
		if pair(ends[0], ends[1]) == pair(a, b) {
			_ = c.Close()
			delete(n.conns, c)
		}
	}
}

// Mend connects two nodes again.
func (n *Network) Mend(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.severed, pair(a, b))
}

// Isolate cuts a node off, and closes its connections.
func (n *Network) Isolate(addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[addr] = true
	for c, ends := range n.conns {
		if ends[0] == addr || ends[1] == addr {
			_ = c.Close()
			delete(n.conns, c)
		}
	}
}

// Heal connects a node again; what it needs, it dials.
func (n *Network) Heal(addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cut, addr)
}

// A listener is one node's.
type listener struct {
	addr  string
	queue chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return address(l.addr) }

// An address is a node's name in the network.
type address string

// Network implements net.Addr.
func (address) Network() string { return "memory" }

// String implements net.Addr.
func (a address) String() string { return string(a) }
