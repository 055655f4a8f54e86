package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/grants"
	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage"
	"github.com/headgate/headgate/storage/ledger"
	"github.com/headgate/headgate/storage/raftlog"
)

// A voter is a member's share in the groups, and what brings commands to their leaders.
type voter struct {
	db      *storage.DB
	ledgers ledger.Set
	node    *consensus.Node
	driver  *grants.Driver
}

// openVoter starts a member in a new directory, with the settings of a node.
func openVoter(members []consensus.Server, number int, dir string, now func() limiter.Instant) (*voter, error) {
	db, err := storage.Open(storage.Default(filepath.Join(dir, "store")))
	if err != nil {
		return nil, err
	}
	self := members[number]
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", self.Addr)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	v := &voter{db: db, ledgers: make(ledger.Set, quota.Groups)}
	var told atomic.Pointer[grants.Driver]
	v.node, err = consensus.Start(consensus.Config{
		ID: self.ID, Addr: self.Addr, Groups: quota.Groups, Bootstrap: members, Listener: l,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
		SpreadInterval: time.Second,
		Events: consensus.Events{Followed: func(g uint32) {
			if d := told.Load(); d != nil {
				d.Followed(g)
			}
		}},
		Stores: func(g uint32) (consensus.Stores, error) { return v.stores(g, filepath.Join(dir, "snapshots")) },
		FSM:    func(g uint32) (raft.FSM, error) { return v.ledgers[g], nil },
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	remote := grants.Remote{Caller: v.node}
	v.driver, err = grants.Start(grants.Config{
		ID: self.ID, Groups: v.node, Ledger: v.ledgers, Now: now, Wall: func() int64 { return time.Now().UnixMilli() },
		Clock: remote.Clock, Forward: remote.Forward,
	})
	if err != nil {
		return nil, err
	}
	v.node.Handle(v.driver.Handle)
	told.Store(v.driver)
	return v, nil
}

func (v *voter) stores(g uint32, dir string) (consensus.Stores, error) {
	dir = filepath.Join(dir, strconv.Itoa(int(g)))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return consensus.Stores{}, err
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, hclog.NewNullLogger())
	if err != nil {
		return consensus.Stores{}, err
	}
	if v.ledgers[g], err = ledger.Open(ledger.Config{DB: v.db, Group: storage.Group(g)}); err != nil {
		return consensus.Stores{}, err
	}
	log, err := raftlog.Open(v.db, storage.Group(g), snapshots)
	return consensus.Stores{Log: log, Stable: log, Snapshots: snapshots}, err
}

// stop ends the member; what its commands wait for is given up.
func (v *voter) stop(ctx context.Context) error {
	return errors.Join(v.driver.Stop(ctx), v.node.Stop(ctx), v.db.Close())
}
