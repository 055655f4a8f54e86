package consensustest_test

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/headgate/headgate/cluster/consensus/consensustest"
)

func TestACutCableEndsConnectionsAndDials(t *testing.T) {
	n := consensustest.New()
	l := n.Listen("a")
	dial := n.Dialer("b")
	greet := func() error {
		accepted := make(chan net.Conn, 1)
		go func() {
			c, _ := l.Accept()
			accepted <- c
		}()
		c, err := dial(t.Context(), "a")
		if err != nil {
			_ = l.Close()
			<-accepted
			l = n.Listen("a")
			return err
		}
		there := <-accepted
		go func() { _, _ = there.Write([]byte("x")) }()
		_, err = io.ReadFull(c, make([]byte, 1))
		n.Isolate("b")
		if _, err := c.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("written over a cut cable: %v", err)
		}
		return err
	}
	if err := greet(); err != nil {
		t.Fatal(err)
	}
	if err := greet(); err == nil {
		t.Error("dialled over a cut cable")
	}
	n.Heal("b")
	if err := greet(); err != nil {
		t.Error(err)
	}
	if _, err := n.Dialer("a")(t.Context(), "c"); err == nil {
		t.Error("dialled nobody")
	}
	_ = l.Close()
	n.Heal("b")
	if _, err := dial(t.Context(), "a"); err == nil {
		t.Error("dialled a closed listener")
	}
}

func TestASeveredCableIsBetweenTwoNodesAlone(t *testing.T) {
	n := consensustest.New()
	reaches := func(a, b string, want bool) {
		t.Helper()
		if n.Reachable(a, b) != want || n.Reachable(b, a) != want {
			t.Errorf("%s and %s reach each other: %v", a, b, !want)
		}
	}
	l := n.Listen("a")
	defer l.Close()
	go func() { _, _ = l.Accept() }()
	c, err := n.Dialer("b")(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	n.Sever("b", "a")
	if _, err := c.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("written over a severed cable: %v", err)
	}
	reaches("a", "b", false)
	reaches("a", "c", true)
	reaches("b", "c", true)
	n.Mend("a", "b")
	reaches("a", "b", true)
}
