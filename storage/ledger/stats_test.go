package ledger

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
)

func TestUnitsThatMoveAreCounted(t *testing.T) {
	b := mustOpen(t, vfs.NewMem())
	like := ensure(now, 1, 0).Commands[0]
	command := func(c quota.Command) quota.Command {
		c.Key, c.Window, c.Holder, c.Version, c.Limit = like.Key, like.Window, like.Holder, 1, 100
		return c
	}
	id := limiter.Key{Hi: 1}
	for i, c := range []quota.Command{
		{Op: quota.OpEnsure, Floor: 30, Target: 30},
		{Op: quota.OpEnsure, Floor: 10, Target: 10}, // it has them
		{Op: quota.OpEnsure, Floor: 200},            // there are too few
		{Op: quota.OpReturn, Total: 5},
		{Op: quota.OpReturn, Total: 5}, // again
		{Op: quota.OpSpend, Request: id, Cost: 20},
		{Op: quota.OpSettle, Request: id, Cost: 12},
		{Op: quota.OpClose, Spent: 15},
	} {
		batch := &quota.Batch{At: now, Commands: []quota.Command{command(c)}}
		if _, ok := b.ledger.Apply(log(uint64(i+1), batch)).([]quota.Result); !ok {
			t.Fatal(i)
		}
	}
	b.ledger.Apply(log(1, ensure(now, 1, 50))) // it was applied before
	if s := b.ledger.Stats(); s != (Stats{Entries: 8, Commands: 8, Granted: 30, Returned: 15, Charged: 20, Credited: 8}) {
		t.Errorf("%+v", s)
	}
}

func TestUnitsThatBecomeFreeOrAreTakenAwayAreTold(t *testing.T) {
	b := mustOpen(t, vfs.NewMem())
	var told []Growth
	b.ledger.config.Grown = func(list []Growth) { told = append(told, list...) }
	replaced := 0
	b.ledger.config.Replaced = func() { replaced++ }
	window := ensure(now, 1, 0).Commands[0].Window
	rolls := quota.Window{Start: window.Start, End: window.End, Rolling: 2}
	id := limiter.Key{Hi: 1}
	index := uint64(0)
	apply := func(c quota.Command) {
		t.Helper()
		like := ensure(now, 1, 0).Commands[0]
		c.Key, c.Holder, c.Version, c.Limit = like.Key, like.Holder, max(c.Version, 1), max(c.Limit, 100)
		if c.Window.End == 0 {
			c.Window = window
		}
		told, index = told[:0], index+1
		if r, ok := b.ledger.Apply(log(index, &quota.Batch{At: now, Commands: []quota.Command{c}})).([]quota.Result); !ok || r[0].Code != quota.OK {
			t.Fatalf("%+v: %+v", c, r)
		}
	}
	for _, tc := range []struct {
		name string
		c    quota.Command
		free uint64 // that is told; 0: nothing is
	}{
		{"a grant", quota.Command{Op: quota.OpEnsure, Floor: 60, Target: 100}, 0},
		{"what a holder gives back", quota.Command{Op: quota.OpReturn, Total: 30}, 30},
		{"the same again", quota.Command{Op: quota.OpReturn, Total: 30}, 0},
		{"a charge", quota.Command{Op: quota.OpSpend, Request: id, Cost: 20}, 0},
		{"a settlement below it", quota.Command{Op: quota.OpSettle, Request: id, Cost: 15}, 15},
		{"debt", quota.Command{Op: quota.OpDebt, Total: 10, MaxDebt: 50}, 0},
		{"a raised amount", quota.Command{Op: quota.OpEnsure, Version: 2, Limit: 110}, 15},
		{"a correction", quota.Command{Op: quota.OpAdjust, Version: 2, Limit: 110, Correction: 5}, 20},
		{"a correction down", quota.Command{Op: quota.OpAdjust, Version: 2, Limit: 110, Correction: 4, Revision: 1}, 19},
		{"a holder that ends", quota.Command{Op: quota.OpClose, Version: 2, Limit: 110, Spent: 69}, 20},
		{"a grant of a quota that rolls", quota.Command{Op: quota.OpEnsure, Window: rolls, Floor: 10}, 0},
	} {
		apply(tc.c)
		switch {
		case tc.free == 0 && len(told) == 0:
		case tc.free == 0 || len(told) != 1 || told[0].Free != tc.free || told[0].Window != window || told[0].Key.Lo != 1:
			t.Errorf("%s: told %+v, want %d", tc.name, told, tc.free)
		}
	}
	// Of a quota that rolls it is told that units came back though none can be granted.
	apply(quota.Command{Op: quota.OpAdjust, Window: rolls, Correction: -95})
	apply(quota.Command{Op: quota.OpReturn, Window: rolls, Total: 3})
	if len(told) != 1 || told[0].Free != 0 || told[0].Window != rolls {
		t.Errorf("told %+v", told)
	}
	if err := b.ledger.Restore(reader(persist(t, b.ledger))); err != nil || replaced != 1 {
		t.Errorf("%v, replaced %d times", err, replaced)
	}
}
