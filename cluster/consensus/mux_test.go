package consensus_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/consensus/consensustest"
	"github.com/headgate/headgate/internal/certs/certstest"
)

// refusals collects Events.Refused.
type refusals struct {
	mu   sync.Mutex
	errs []string
}

func (r *refusals) add(_ string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs = append(r.errs, err.Error())
}

func (r *refusals) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.errs, "; ")
}

func TestStrangersAreRefusedAndNobodyElseNotices(t *testing.T) {
	for _, tc := range []struct {
		name   string
		says   string
		answer string // what it is told before the connection is closed
		event  string
	}{
		{"another protocol", "GET / HTTP/1.1\r\n\r\n", "", "not a raft connection"},
		{"too new a version", "HGRF\x02\x00\x00\x00\x00", "\x02", "unknown version of the preamble: 2, not 1"},
		{"no such group", "HGRF\x01\x00\x00\x00\x02", "\x03", "no such group: 2: there are 2"},
		{"a group beyond any int32", "HGRF\x01\xff\xff\xff\xfe", "\x03", "no such group: 4294967294"},
		{"silence", "", "", "i/o timeout"},
		{"half a preamble", "HGRF\x01", "", "i/o timeout"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, refused := consensustest.New(), &refusals{}
				m := cluster(t, n, 2, func(c *consensus.Config) { c.Events.Refused = refused.add }, "a")["a"]
				defer m.halt(t)
				leaderOf(t, 0, m)
				conn, err := n.Dialer("stranger")(t.Context(), "a:1")
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				began := time.Now()
				go func() { _, _ = io.WriteString(conn, tc.says) }()
				answer, err := io.ReadAll(conn)
				if err != nil && !errors.Is(err, io.ErrClosedPipe) {
					t.Fatal(err)
				}
				if string(answer) != tc.answer {
					t.Errorf("answer %q", answer)
				}
				if took := time.Since(began); took > consensus.Default().HandshakeTimeout {
					t.Errorf("refused after %s", took)
				}
				synctest.Wait()
				if !strings.Contains(refused.all(), tc.event) {
					t.Errorf("events %q", refused.all())
				}
				if s := m.Stats(); s.ConnsIn != 0 || s.ConnsOut != 0 {
					t.Errorf("connections are left: %+v", s)
				}
				propose(t, m, 0, "x")
			})
		})
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, refused := consensustest.New(), &refusals{}
		m := cluster(t, n, 1, func(c *consensus.Config) {
			c.ConnsMax, c.HandshakesMax = 2, 3
			c.Events.Refused = refused.add
		}, "a")["a"]
		defer m.halt(t)
		open := func() net.Conn {
			conn, err := n.Dialer("peer")(t.Context(), "a:1")
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
		greet := func(conn net.Conn) byte {
			if _, err := io.WriteString(conn, "HGRF\x01\x00\x00\x00\x00"); err != nil {
				t.Fatal(err)
			}
			var answer [1]byte
			if _, err := io.ReadFull(conn, answer[:]); err != nil {
				t.Fatal(err)
			}
			return answer[0]
		}
		one, two, three := open(), open(), open()
		if a, b, c := greet(one), greet(two), greet(three); a != 1 || b != 1 || c != 4 {
			t.Errorf("answers %d, %d, %d: two fit", a, b, c)
		}
		_ = one.Close()
		synctest.Wait()
		four := open()
		if a := greet(four); a != 1 {
			t.Errorf("answer %d after one left", a)
		}
		var silent [3]net.Conn // hold every place for a handshake
		for i := range silent {
			silent[i] = open()
		}
		synctest.Wait()
		five := open()
		if _, err := five.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a fourth handshake: %v", err)
		}
		if !strings.Contains(refused.all(), "too many connections") {
			t.Errorf("events %q", refused.all())
		}
		for _, conn := range append(silent[:], two, three, four, five) {
			_ = conn.Close()
		}
	})
}

// TestGroupsElectAndReplicateOverTLS is the real thing: loopback, TLS, real time.
func TestGroupsElectAndReplicateOverTLS(t *testing.T) {
	ca := certstest.NewAuthority(t, "peers", time.Now())
	server, client := ca.Issue(t, certstest.Leaf{}).Load(t), ca.Issue(t, certstest.Leaf{Client: true}).Load(t)
	in := &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(), MinVersion: tls.VersionTLS13}
	out := &tls.Dialer{Config: &tls.Config{Certificates: []tls.Certificate{client}, RootCAs: ca.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS13}}

	ids := []string{"a", "b", "c"}
	voters := make([]consensus.Server, len(ids))
	listeners := make([]net.Listener, len(ids))
	for i, id := range ids {
		l, err := tls.Listen("tcp", "127.0.0.1:0", in)
		if err != nil {
			t.Fatal(err)
		}
		listeners[i], voters[i] = l, consensus.Server{ID: id, Addr: l.Addr().String()}
	}
	ms := make([]*machine, len(ids))
	for i, id := range ids {
		m := newMachine(consensustest.New(), id, 8)
		m.cfg.Addr, m.cfg.Listener, m.cfg.Bootstrap = voters[i].Addr, listeners[i], voters
		m.cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return out.DialContext(ctx, "tcp", addr) }
		m.cfg.Heartbeat, m.cfg.Lease = 300*time.Millisecond, 200*time.Millisecond
		for range m.stores {
			m.journals = append(m.journals, &journal{})
		}
		node, err := consensus.Start(m.cfg)
		if err != nil {
			t.Fatal(err)
		}
		m.Node, ms[i] = node, m
	}
	for g := range uint32(8) {
		eventually(t, "an entry is applied everywhere", func() bool {
			leader := leaderOf(t, g, ms...)
			_, err := leader.Propose(t.Context(), g, []byte("x"))
			if err != nil && !errors.Is(err, consensus.ErrNotLeader) && !errors.Is(err, consensus.ErrUnknown) {
				t.Fatal(err)
			}
			return err == nil
		})
		eventually(t, "the followers have applied it", func() bool {
			for _, m := range ms {
				if len(m.journals[g].all()) == 0 {
					return false
				}
			}
			return true
		})
	}
	for _, m := range ms {
		m.halt(t)
	}
}
