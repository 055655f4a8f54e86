package h2

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// directPair returns both ends of a TCP connection, the first with direct reads
// and writes.
func directPair(t *testing.T) (d, peer net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	peer, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	d = directly(nc)
	if _, ok := d.(*direct); !ok {
		t.Fatalf("a TCP connection is a %T: it should be direct", d)
	}
	t.Cleanup(func() { _, _ = d.Close(), peer.Close() })
	return d, peer
}

func TestDirectWritesWaitForASlowReaderAndLoseNothing(t *testing.T) {
	for _, size := range []int{1, directMax, directMax + 1, 8 << 20} {
		d, peer := directPair(t)
		sent := make([]byte, size)
		for i := range sent {
			sent[i] = byte(i * 7)
		}
		wrote := make(chan error, 1)
		go func() {
			for b := sent; len(b) > 0; {
				n, err := d.Write(b[:min(len(b), directMax)])
				if err != nil {
					wrote <- err
					return
				}
				b = b[n:]
			}
			wrote <- d.(*direct).CloseWrite()
		}()
		got, err := io.ReadAll(peer)
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%d bytes: got %d, %v", size, len(got), err)
		}
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
	}
}

func TestDirectReadsEndAsAnyOther(t *testing.T) {
	b := make([]byte, 16)
	t.Run("at the end", func(t *testing.T) {
		d, peer := directPair(t)
		_, _ = peer.Write([]byte("abc"))
		_ = peer.Close()
		if n, err := io.ReadFull(d, b[:3]); n != 3 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		if n, err := d.Read(b); n != 0 || err != io.EOF { //nolint:errorlint // io.Reader says io.EOF itself
			t.Fatalf("at the end: %d, %v", n, err)
		}
	})
	t.Run("at a deadline, and go on after it", func(t *testing.T) {
		d, peer := directPair(t)
		_ = d.SetReadDeadline(time.Unix(1, 0))
		if n, err := d.Read(b); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("past the deadline: %d, %v", n, err)
		}
		_ = d.SetReadDeadline(time.Time{})
		_, _ = peer.Write([]byte("x"))
		if n, err := d.Read(b); n != 1 || err != nil {
			t.Fatalf("after it: %d, %v", n, err)
		}
	})
	t.Run("while they wait, when it is closed", func(t *testing.T) {
		d, _ := directPair(t)
		ended := make(chan error, 1)
		go func() {
			_, err := d.Read(make([]byte, 1))
			ended <- err
		}()
		_ = d.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Fatalf("closed: %v", err)
		}
	})
	t.Run("when the peer resets", func(t *testing.T) {
		d, peer := directPair(t)
		_ = peer.(*net.TCPConn).SetLinger(0)
		_ = peer.Close()
		if n, err := d.Read(b); n != 0 || err == nil || errors.Is(err, io.EOF) {
			t.Fatalf("reset: %d, %v", n, err)
		}
		if n, err := d.Write(b); n != 0 || err == nil {
			t.Fatalf("write after a reset: %d, %v", n, err)
		}
	})
}
