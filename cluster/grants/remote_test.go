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
		far, other := grants.Part{Group: 6, Commands: commands[1:]}, grants.Part{Group: 2, Commands: []quota.Command{ensure(of(2, 0), 1, 7)}}
		r.Forward(t.Context(), consensus.Server{ID: "a"}, []*grants.Part{&far, &other})
		if far.Err != nil || other.Err != nil || len(other.Results) != 1 || other.Results[0].Granted != 7 {
			t.Fatalf("%v, %v, %+v", far.Err, other.Err, other.Results)
		}
		near, err := d.Serve(t.Context(), 6, far.Commands) // again: it changes nothing
		if err != nil || !reflect.DeepEqual(far.Results, near) {
			t.Errorf("%v\n%v\n%v", err, far.Results, near)
		}
		if at, err := r.Clock(t.Context(), consensus.Server{ID: "a"}); err != nil || at != time.Now().UnixMilli() {
			t.Errorf("clock %d, %v", at, err)
		}
		stop(t, d)
		far.Results = nil
		if r.Forward(t.Context(), consensus.Server{ID: "a"}, []*grants.Part{&far}); far.Err == nil || !strings.Contains(far.Err.Error(), "stopped") {
			t.Errorf("a stopped driver answers: %v", far.Err)
		}
	})
}

func TestAMessageThatIsNotOneIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := start(t, settings(newGroups()))
		defer stop(t, d)
		for _, tc := range []struct{ name, request, want string }{
			{"nothing", "", "must begin with version 2"},
			{"another version", "\x01\x01\x00\x00", "must begin with version 2"},
			{"another kind", "\x02\x03", "request 3"},
			{"no part", "\x02\x01", "group"},
			{"no such group", "\x02\x01\x08\x00", "group=8: must be below 8"},
			{"no count", "\x02\x01\x00", "count"},
			{"too many", "\x02\x01\x00\x81\x08", "count=1025: must be at most 1024"},
			{"fewer than it says", "\x02\x01\x00\x02", "0 of 2 commands"},
			{"a group twice", "\x02\x01\x03\x00\x03\x00", "group 3 comes twice"},
			{"no command", "\x02\x01\x00\x01\xff", "command 0 of group 0: quota: malformed"},
		} {
			if _, err := d.Handle(t.Context(), 0, []byte(tc.request)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: %v", tc.name, err)
			}
		}
		for _, tc := range []struct{ name, response string }{
			{"nothing", ""},
			{"no such status", "\x02"},
			{"no result", "\x00"},
			{"half a result", "\x00\x01\x05"},
			{"no such code", "\x00\xff\x00\x00\x00\x00\x00\x00"},
			{"two results", "\x00\x01\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00"},
			{"half an error", "\x01\x05late"},
			{"too long an error", "\x01\x81\x08" + strings.Repeat("x", 1025)},
		} {
			r := grants.Remote{Caller: wire(func(context.Context, uint32, []byte) ([]byte, error) { return []byte(tc.response), nil })}
			p := grants.Part{Commands: make([]quota.Command, 1)}
			if r.Forward(t.Context(), consensus.Server{}, []*grants.Part{&p}); p.Err == nil || p.Results != nil {
				t.Errorf("%s is a result", tc.name)
			}
		}
		for _, response := range []string{"", "\xff", "\x01\x05", "\xff\xff\xff\xff\xff\xff\xff\xff\x7f"} {
			r := grants.Remote{Caller: wire(func(context.Context, uint32, []byte) ([]byte, error) { return []byte(response), nil })}
			if at, err := r.Clock(t.Context(), consensus.Server{}); !errors.Is(err, grants.ErrMalformed) {
				t.Errorf("%q: the clock is %d, %v", response, at, err)
			}
		}
	})
}

func FuzzHandle(f *testing.F) {
	c := ensure(of(0, 0), 1, 10)
	f.Add(append(c.AppendTo([]byte("\x02\x01\x00\x01")), 5, 0))
	f.Add([]byte("\x02\x02"))
	f.Add([]byte("\x02\x01\x00\x00"))
	f.Add([]byte("\x01"))
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
