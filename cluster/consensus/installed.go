package consensus

import (
	"sync"

	"github.com/hashicorp/raft"
)

// An entrance is a group's transport, and looks at what comes in before raft does.
//
// A follower whose own last entry is where a snapshot ends, of a leader that was lost,
// goes on to believe in that entry when the snapshot is installed: raft compares what
// comes next with what it remembers, not with the log, refuses it, and is sent the
// snapshot again, for as long as the leader has no later one. So if an entry comes right
// after the snapshot that was installed, and the log says the same of the snapshot's
// end, raft is not asked to compare. It is right: what a snapshot ends with was
// committed, and who has that has all before it.
type entrance struct {
	*raft.NetworkTransport
	log  raft.LogStore
	rpcs chan raft.RPC // to raft

	closing sync.Once
	closed  chan struct{}
	left    sync.WaitGroup

	index, term uint64 // where the last snapshot ends that was installed; of forward alone
}

// newEntrance puts an entrance before the transport.
func newEntrance(t *raft.NetworkTransport, log raft.LogStore) *entrance {
	e := &entrance{NetworkTransport: t, log: log, rpcs: make(chan raft.RPC), closed: make(chan struct{})}
	e.left.Go(e.forward)
	return e
}

// Consumer implements raft.Transport.
func (e *entrance) Consumer() <-chan raft.RPC { return e.rpcs }

// Close implements raft.WithClose.
func (e *entrance) Close() error {
	e.closing.Do(func() { close(e.closed) })
	err := e.NetworkTransport.Close()
	e.left.Wait()
	return err
}

// forward hands requests to raft until the entrance is closed.
func (e *entrance) forward() {
	for {
		select {
		case rpc := <-e.NetworkTransport.Consumer():
			switch r := rpc.Command.(type) {
			case *raft.AppendEntriesRequest:
				e.follows(r)
				e.hand(rpc)
			case *raft.InstallSnapshotRequest:
				e.install(rpc, r)
			default:
				e.hand(rpc)
			}
		case <-e.closed:
			return
		}
	}
}

// hand gives a request to raft, and returns whether it took it.
func (e *entrance) hand(rpc raft.RPC) bool {
	select {
	case e.rpcs <- rpc:
		return true
	case <-e.closed:
		return false
	}
}

// install hands a snapshot to raft, and notes where it ends when it is installed.
func (e *entrance) install(rpc raft.RPC, r *raft.InstallSnapshotRequest) {
	answers, asker := make(chan raft.RPCResponse, 1), rpc.RespChan
	rpc.RespChan = answers
	if !e.hand(rpc) {
		return
	}
	select {
	case a := <-answers:
		if done, ok := a.Response.(*raft.InstallSnapshotResponse); ok && a.Error == nil && done.Success {
			e.index, e.term = r.LastLogIndex, r.LastLogTerm
		}
		asker <- a // has room
	case <-e.closed:
	}
}

// follows takes the comparison out of a request that comes right after the snapshot. If
// the log could not be emptied for it, it still has the other entry: then raft refuses,
// and the snapshot comes again.
func (e *entrance) follows(r *raft.AppendEntriesRequest) {
	if r.PrevLogEntry == 0 || r.PrevLogEntry != e.index || r.PrevLogTerm != e.term {
		return
	}
	var end raft.Log
	if err := e.log.GetLog(e.index, &end); err == nil && end.Term == e.term {
		r.PrevLogEntry, r.PrevLogTerm = 0, 0
	}
}
