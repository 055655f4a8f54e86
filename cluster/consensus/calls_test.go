package consensus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/consensus/consensustest"
)

// pair starts two nodes, of which b answers calls by h.
func pair(t *testing.T, n *consensustest.Network, h consensus.Handler) (a, b *machine) {
	t.Helper()
	ms := cluster(t, n, 1, func(c *consensus.Config) { c.EntryBytesMax = 1000 }, "a", "b")
	if h != nil {
		ms["b"].Handle(h)
	}
	return ms["a"], ms["b"]
}

func echo(_ context.Context, group uint32, request []byte) ([]byte, error) {
	return fmt.Appendf(nil, "%d: %s", group, request), nil
}

func TestACallIsAnsweredByTheOtherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		a, b := pair(t, n, echo)
		to := consensus.Server{ID: "b", Addr: "b:1"}
		for i := range 3 {
			got, err := a.Call(t.Context(), to, 7, []byte("hello"))
			if err != nil || string(got) != "7: hello" {
				t.Errorf("call %d: %q, %v", i, got, err)
			}
		}
		var wg sync.WaitGroup
		for i := range 40 { // more than are kept
			wg.Go(func() {
				request := fmt.Sprint(i)
				if got, err := a.Call(t.Context(), to, 0, []byte(request)); err != nil || string(got) != "0: "+request {
					t.Errorf("call %d: %q, %v", i, got, err)
				}
			})
		}
		wg.Wait()
		b.halt(t)
		if _, err := a.Call(t.Context(), to, 0, nil); err == nil {
			t.Error("a stopped node answers")
		}
		b.begin(t, n)
		b.Handle(echo)
		if got, err := a.Call(t.Context(), to, 0, []byte("again")); err != nil || string(got) != "0: again" {
			t.Errorf("after a restart: %q, %v", got, err)
		}
		haltAll(t, a, b)
		if _, err := a.Call(t.Context(), to, 0, nil); err == nil {
			t.Error("a stopped node calls")
		}
	})
}

func TestWhatGoesWrongInACallIsToldApart(t *testing.T) {
	for _, tc := range []struct {
		name    string
		handler consensus.Handler
		request []byte
		want    error
		text    string
	}{
		{"the handler refuses", func(context.Context, uint32, []byte) ([]byte, error) { return nil, errors.New("not now") }, nil, consensus.ErrRemote, "not now"},
		{"no handler", nil, nil, consensus.ErrRemote, "no calls are answered yet"},
		{"a large request", echo, make([]byte, 1001), consensus.ErrTooLarge, "1001 bytes: at most 1000"},
		{"a large response", func(context.Context, uint32, []byte) ([]byte, error) { return make([]byte, 1001), nil }, nil, consensus.ErrRemote, "response of 1001 bytes"},
		{"a large error", func(context.Context, uint32, []byte) ([]byte, error) {
			return nil, errors.New(strings.Repeat("x", 2000))
		}, nil, consensus.ErrRemote, "xxx"},
		{"a handler that waits for its end", func(ctx context.Context, _ uint32, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, nil, nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := consensustest.New()
				a, b := pair(t, n, tc.handler)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				began := time.Now()
				_, err := a.Call(ctx, consensus.Server{ID: "b", Addr: "b:1"}, 0, tc.request)
				if err == nil || tc.want != nil && !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
					t.Errorf("%v", err)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("took %s of 1 s", took)
				}
				b.Handle(echo) // the next one is answered
				if got, err := a.Call(t.Context(), consensus.Server{ID: "b", Addr: "b:1"}, 0, []byte("x")); err != nil || string(got) != "0: x" {
					t.Errorf("the next call: %q, %v", got, err)
				}
				haltAll(t, a, b)
			})
		})
	}
}

func TestACallIsMovedToWhereTheNodeIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := consensustest.New()
		ms := cluster(t, n, 1, func(c *consensus.Config) {
			c.Resolve = func(id string) (string, bool) { return id + ":1", true }
		}, "a", "b")
		ms["b"].Handle(echo)
		if _, err := ms["a"].Call(t.Context(), consensus.Server{ID: "b", Addr: "nowhere:1"}, 0, nil); err != nil {
			t.Error(err)
		}
		haltAll(t, list(ms)...)
	})
}

func TestAHugeCallIsRefusedUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, refused := consensustest.New(), &refusals{}
		m := cluster(t, n, 1, func(c *consensus.Config) { c.Events.Refused = refused.add }, "a")["a"]
		conn, err := n.Dialer("stranger")(t.Context(), "a:1")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go func() {
			_, _ = io.WriteString(conn, "HGRF\x01\xff\xff\xff\xff"+"\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00")
		}()
		if got, _ := io.ReadAll(conn); !bytes.Equal(got, []byte{1}) {
			t.Errorf("answer %q", got)
		}
		if !strings.Contains(refused.all(), "call of 4294967295 bytes") {
			t.Errorf("events %q", refused.all())
		}
		m.halt(t)
	})
}
