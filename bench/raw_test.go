package bench

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A rawConn is the server's side of a connection, for tests that decide frame by
// frame. It checks that the client stays within the windows that it is granted.
type rawConn struct {
	net.Conn
	t      *testing.T
	number int // of the connection, from 0
	fr     *http2.Framer
	hdec   *hpack.Decoder
	hbuf   bytes.Buffer
	henc   *hpack.Encoder

	// grant is called with each DATA frame, and stream 0 if it is the last of its
	// stream; by default it gives back what came.
	grant         func(id uint32, n int)
	window        int64
	initialWindow int64
	windows       map[uint32]int64
	bodies        map[uint32][]byte
	path          string
	acks          map[[8]byte]bool // of PING
	tables        []uint32         // header table sizes, by SETTINGS that are not acknowledged
}

// serveRaw has handle serve each connection, and returns the address. Whatever
// is open when the test ends is closed.
func serveRaw(t *testing.T, handle func(*rawConn)) string {
	t.Helper()
	l := listen(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for n := 0; ; n++ {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, nc)
			mu.Unlock()
			wg.Go(func() {
				defer nc.Close()
				handle(newRawConn(t, nc, n))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

func newRawConn(t *testing.T, nc net.Conn, number int) *rawConn {
	t.Helper()
	c := &rawConn{
		Conn: nc, t: t, number: number, fr: http2.NewFramer(nc, nc),
		window: 65_535, initialWindow: 65_535, windows: map[uint32]int64{}, bodies: map[uint32][]byte{},
		acks: map[[8]byte]bool{},
	}
	c.hdec = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == ":path" {
			c.path = f.Value
		}
	})
	c.henc = hpack.NewEncoder(&c.hbuf)
	c.grant = func(id uint32, n int) {
		c.grow(0, n)
		if id != 0 {
			c.grow(id, n)
		}
	}
	return c
}

// handshake reads the preface and sends settings.
func (c *rawConn) handshake(s ...http2.Setting) {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c, preface); err == nil && string(preface) != http2.ClientPreface {
		c.t.Errorf("preface %q", preface)
	}
	c.settings(s...)
}

func (c *rawConn) settings(s ...http2.Setting) {
	table := uint32(4096)
	for _, s := range s {
		switch s.ID { //nolint:exhaustive // the others are the client's business
		case http2.SettingInitialWindowSize:
			by := int64(s.Val) - c.initialWindow
			c.initialWindow += by
			for id := range c.windows {
				c.windows[id] += by
			}
		case http2.SettingHeaderTableSize:
			table = s.Val
		}
	}
	c.tables = append(c.tables, table)
	c.try(c.fr.WriteSettings(s...))
}

// try reports an error that is not the end of the connection.
func (c *rawConn) try(err error) {
	var op *net.OpError
	if err != nil && !errors.As(err, &op) && !errors.Is(err, io.EOF) {
		c.t.Error(err)
	}
}

func (c *rawConn) grow(id uint32, n int) {
	if id == 0 {
		c.window += int64(n)
	} else {
		c.windows[id] += int64(n)
	}
	c.try(c.fr.WriteWindowUpdate(id, uint32(n)))
}

// next returns the next request that is complete, or 0 at the end.
func (c *rawConn) next() (id uint32) {
	for {
		f, err := c.fr.ReadFrame()
		if err != nil {
			return 0
		}
		switch f := f.(type) {
		case *http2.HeadersFrame:
			c.path = ""
			if _, err := c.hdec.Write(f.HeaderBlockFragment()); err != nil || !f.HeadersEnded() || c.hdec.Close() != nil {
				c.t.Errorf("request headers: %v", err)
			}
			if c.path != rlsPath {
				c.t.Errorf("path %q", c.path)
			}
			c.windows[f.StreamID] = c.initialWindow
		case *http2.DataFrame:
			id, n := f.StreamID, int(f.Length)
			c.window -= int64(n)
			c.windows[id] -= int64(n)
			if c.window < 0 || c.windows[id] < 0 {
				c.t.Errorf("stream %d: %d bytes leave windows of %d and %d", id, n, c.window, c.windows[id])
			}
			c.bodies[id] = append(c.bodies[id], f.Data()...)
			if f.StreamEnded() {
				message(c.t, c.bodies[id])
				delete(c.windows, id)
				delete(c.bodies, id)
				c.grant(0, n)
				return id
			}
			c.grant(id, n)
		case *http2.SettingsFrame:
			if f.IsAck() { // from here on the client keeps to it
				c.hdec.SetAllowedMaxDynamicTableSize(c.tables[0])
				c.hdec.SetMaxDynamicTableSize(c.tables[0])
				c.tables = c.tables[1:]
			}
		case *http2.PingFrame:
			if f.IsAck() {
				c.acks[f.Data] = true
			}
		case *http2.GoAwayFrame:
			c.t.Errorf("the client says %v", f)
		}
	}
}

// block encodes response headers, given as name, value, name, value.
func (c *rawConn) block(h ...string) []byte {
	c.hbuf.Reset()
	for i := 0; i < len(h); i += 2 {
		if err := c.henc.WriteField(hpack.HeaderField{Name: h[i], Value: h[i+1]}); err != nil {
			c.t.Error(err)
		}
	}
	return c.hbuf.Bytes()
}

func (c *rawConn) headers(id uint32, end bool, h ...string) {
	c.try(c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block(h...), EndHeaders: true, EndStream: end}))
}

func (c *rawConn) data(id uint32, end bool, b ...byte) { c.try(c.fr.WriteData(id, end, b)) }

// allowed is the body of an answer that says OK.
func allowed() []byte { return []byte{0, 0, 0, 0, 2, 8, 1} }

// answer says OK.
func (c *rawConn) answer(id uint32) {
	c.headers(id, false, ":status", "200", "content-type", "application/grpc")
	c.data(id, false, allowed()...)
	c.headers(id, true, "grpc-status", "0")
}

// answerAll says OK to all requests until the end.
func (c *rawConn) answerAll() {
	for id := c.next(); id != 0; id = c.next() {
		c.answer(id)
	}
}
