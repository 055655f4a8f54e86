package bench

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"time"
)

// receiveBuffer is how much a link reads at once, and so how long a frame, or the
// head of an answer, may be.
const receiveBuffer = 64 << 10

// A dialect is what is spoken on a link: HTTP/2 (conn) or HTTP/1.1 (http1). Its
// methods are called with the lane's mutex held.
type dialect interface {
	// arrived handles all that is complete in the link's br, and returns how many
	// bytes must be there before there is more to handle.
	arrived() (need int, err error)
	// canOpen reports whether one more request may be made.
	canOpen() bool
	// open puts a request into out that was due at start.
	open(start int64, attempts uint8)
	// leave is called once, when the link takes no more requests.
	leave()
	// abandon ends every request that is not answered, with f.
	abandon(f fault)
}

// A link is one connection of a lane. Everything in it is guarded by its lane's
// mutex, except that only the reader reads br.
type link struct {
	dialect
	l    *lane
	nc   net.Conn
	made time.Time
	br   *bufio.Reader

	out, spare []byte // to be written; the other buffer
	writing    bool   // somebody writes, and will write out next
	control    int    // answers to PING and SETTINGS in out

	active  int   // requests in flight
	limit   int   // of active
	now     int64 // when what is being read arrived
	retired bool  // takes no new requests
	gone    chan struct{}
}

func newLink(l *lane, nc net.Conn, limit int) link {
	return link{
		l: l, nc: nc, made: time.Now(), br: bufio.NewReaderSize(nc, receiveBuffer),
		limit: limit, gone: make(chan struct{}),
	}
}

// connect dials the lane's target, encrypts if it is to, and says what comes first.
func connect(ctx context.Context, l *lane) (*link, error) {
	c := l.config
	ctx, cancel := context.WithTimeout(ctx, c.ConnectTimeout)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", l.target)
	if err != nil {
		return nil, fmt.Errorf("bench: dial %s: %w", l.target, err)
	}
	if c.TLS != nil {
		if nc, err = encrypt(ctx, nc, c, l.target); err != nil {
			return nil, err
		}
	}
	if c.Protocol == HTTP {
		return &newHTTP1(l, nc).link, nil
	}
	k := newConn(l, nc)
	stop := context.AfterFunc(ctx, k.hangUp)
	err = k.handshake()
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		k.hangUp()
		return nil, fmt.Errorf("bench: HTTP/2 with %s: %w", l.target, err)
	}
	return &k.link, nil
}

// read is the link's reader: it returns when the connection is over.
func (k *link) read() {
	l := k.l
	l.mu.Lock()
	need, err := k.arrived()
	for err == nil {
		// Everything that has arrived is dealt with.
		l.turn(k)
		if k.retired && k.active == 0 {
			break
		}
		l.mu.Unlock()
		_, err = k.br.Peek(need)
		now := l.now()
		l.mu.Lock()
		k.now = now
		if err == nil {
			need, err = k.arrived()
		}
	}
	k.hangUp()
	k.end(err)
	l.turn(k) // what was refused goes out on the next connection
	l.mu.Unlock()
}

// retire makes k take no new requests. The lane then connects anew.
func (k *link) retire() {
	if k.l.current == k {
		k.l.current = nil
	}
	if !k.retired {
		k.retired = true
		close(k.gone)
		k.leave()
	}
}

// flush writes what waits in out, unless somebody is about to. It is called with
// the lane's mutex held and gives it up while it writes.
func (k *link) flush() {
	if k.writing {
		return
	}
	k.writing = true
	for len(k.out) > 0 {
		b := k.out
		k.out, k.control = k.spare[:0], 0
		k.l.mu.Unlock()
		_, err := k.nc.Write(b)
		k.l.mu.Lock()
		k.spare = b[:0]
		if err != nil {
			k.hangUp() // the reader sees it, and ends k
			break
		}
	}
	k.writing = false
}

// hangUp closes the connection; whoever reads or writes it returns.
func (k *link) hangUp() { _ = k.nc.Close() }

// end accounts for what will not be answered any more.
func (k *link) end(cause error) {
	k.retire()
	if k.active > 0 && !k.l.over {
		k.l.trouble = cause
	}
	f := faultLost
	if k.l.aborted {
		f = faultTimeout
	}
	k.abandon(f)
}

// began and ended count what is in flight.
func (k *link) began() { k.active++; k.l.active++ }
func (k *link) ended() { k.active--; k.l.active-- }
