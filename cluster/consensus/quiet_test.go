package consensus_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/cluster/consensus/consensustest"
)

// complaints is what raft finds worth a warning.
type complaints struct {
	mu   sync.Mutex
	list []string
}

func (c *complaints) note(group uint32, severity consensus.Severity, msg string, attrs []any) {
	if severity == consensus.Info {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, fmt.Sprint(group, ": ", msg, attrs))
}

// take returns what was noted since it was called last.
func (c *complaints) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.list
	c.list = nil
	return list
}

func TestAGracefulStopIsNothingToComplainOf(t *testing.T) {
	for _, ids := range [][]string{{"a"}, {"a", "b", "c"}} {
		t.Run(fmt.Sprintf("nodes=%d", len(ids)), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := consensustest.New()
				heard := map[string]*complaints{}
				ms := cluster(t, n, 8, func(c *consensus.Config) {
					heard[c.ID] = &complaints{}
					c.Events.Log = heard[c.ID].note
				}, ids...)
				for g := range uint32(8) {
					propose(t, leaderOf(t, g, list(ms)...), g, "x")
				}
				stops := ms["a"]
				heard["a"].take()
				stops.halt(t)
				synctest.Wait()
				if list := heard["a"].take(); len(list) > 0 {
					t.Errorf("the node that stops complains: %q", list)
				}
				haltAll(t, others(ms, stops)...)
			})
		})
	}
}
