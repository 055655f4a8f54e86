package grants_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/grants"
	"github.com/headgate/headgate/limiter/quota"
)

// A wire brings calls to one handler.
type wire func(ctx context.Context, group uint32, request []byte) ([]byte, error)

func (w wire) Call(ctx context.Context, _ consensus.Server, group uint32, request []byte) ([]byte, error) {
	return w(ctx, group, request)
}

func TestARemoteDriverAnswersAsThisOneDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := start(t, settings(newGroups()))
		r := grants.Remote{Caller: wire(d.Handle)}
		var commands []quota.Command
		for i := range 1024 {
			commands = append(commands, ensure(of(6, i), 1, uint64(i%90)+1))
		}
		far, err := r.Forward(t.Context(), consensus.Server{ID: "a"}, 6, commands)
		if err != nil {
			t.Fatal(err)
		}
		near, err := d.Serve(t.Context(), 6, commands) // again: it changes nothing
		if err != nil || !reflect.DeepEqual(far, near) {
			t.Errorf("%v\n%v\n%v", err, far, near)
		}
		if at, err := r.Clock(t.Context(), consensus.Server{ID: "a"}); err != nil || at != time.Now().UnixMilli() {
			t.Errorf("clock %d, %v", at, err)
		}
		stop(t, d)
		if _, err := r.Forward(t.Context(), consensus.Server{ID: "a"}, 6, commands); err == nil {
			t.Error("a stopped driver answers")
		}
	})
}

func TestAMessageThatIsNotOneIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := start(t, settings(newGroups()))
		defer stop(t, d)
		for _, tc := range []struct{ name, request, want string }{
			{"nothing", "", "must begin with version 1"},
			{"another version", "\x02\x01\x00", "must begin with version 1"},
			{"another kind", "\x01\x03", "request 3"},
			{"no count", "\x01\x01", "count"},
			{"too many", "\x01\x01\x81\x08", "count=1025: must be at most 1024"},
			{"fewer than it says", "\x01\x01\x02", "0 of 2 commands"},
			{"more than it says", "\x01\x01\x00\x01", "and 1 bytes more"},
			{"no command", "\x01\x01\x01\xff", "command 0: quota: malformed"},
		} {
			if _, err := d.Handle(t.Context(), 0, []byte(tc.request)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: %v", tc.name, err)
			}
		}
		for _, tc := range []struct{ name, response string }{
			{"nothing", ""},
			{"half a result", "\x01\x05"},
			{"no such code", "\xff\x00\x00\x00\x00\x00\x00"},
			{"two results", "\x01\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00"},
		} {
			r := grants.Remote{Caller: wire(func(context.Context, uint32, []byte) ([]byte, error) { return []byte(tc.response), nil })}
			if _, err := r.Forward(t.Context(), consensus.Server{}, 0, make([]quota.Command, 1)); err == nil {
				t.Errorf("%s is a result", tc.name)
			}
			if at, err := r.Clock(t.Context(), consensus.Server{}); !errors.Is(err, grants.ErrMalformed) {
				t.Errorf("%s: the clock is %d, %v", tc.name, at, err)
			}
		}
	})
}

func FuzzHandle(f *testing.F) {
	c := ensure(of(0, 0), 1, 10)
	f.Add(c.AppendTo([]byte("\x01\x01\x01")))
	f.Add([]byte("\x01\x02"))
	f.Add([]byte("\x01\x01\x00"))
	f.Add([]byte("\x02"))
	g := newGroups()
	d, err := grants.Start(settings(g))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = d.Stop(context.Background()) })
	f.Fuzz(func(t *testing.T, request []byte) {
		g.set(func(g *groups) { g.fails = errors.New("nothing is applied here") })
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, _ = d.Handle(ctx, 0, request)
	})
}
