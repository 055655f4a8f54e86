package consensus

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestMoveGivesToWhoLeadsFewest(t *testing.T) {
	b, c := Server{ID: "b"}, Server{ID: "c"}
	led := func(leader string, takers ...Server) seat { return seat{leader: leader, takers: takers} }
	for _, tc := range []struct {
		name  string
		seats []seat
		to    string // empty: nothing moves
	}{
		{"no group", nil, ""},
		{"a lone voter keeps what it leads", []seat{led("a"), led("a"), led("a")}, ""},
		{"one more than another is even enough", []seat{led("a", b), led("a", b), led("b")}, ""},
		{"two more than another is not", []seat{led("a", b), led("a", b)}, "b"},
		{"the one that leads fewest gets it", []seat{led("a", b, c), led("a", b, c), led("a", b, c), led("b")}, "c"},
		{"among equals the first name gets it", []seat{led("a", c, b), led("a", c, b)}, "b"},
		{"the group with the better taker goes", []seat{led("a", b), led("a", c), led("a", b), led("a", b), led("b")}, "c"},
		{"only who leads moves", []seat{led("b"), led("b"), led("b")}, ""},
		{"a group without a leader counts for nobody", []seat{led(""), led(""), led("a", b)}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for i := range tc.seats {
				tc.seats[i].group = uint32(i)
			}
			group, to, ok := move("a", tc.seats)
			if to.ID != tc.to || ok != (tc.to != "") {
				t.Fatalf("group %d to %q, %t", group, to.ID, ok)
			}
			if ok && tc.seats[group].leader != "a" {
				t.Errorf("group %d is not a's", group)
			}
		})
	}
}

// TestMovingEndsAndIsEven lets nodes move in any order, from any start.
func TestMovingEndsAndIsEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes, groups := rapid.IntRange(1, 5).Draw(t, "nodes"), rapid.IntRange(1, 16).Draw(t, "groups")
		var servers []Server
		for i := range nodes {
			servers = append(servers, Server{ID: fmt.Sprint(i)})
		}
		leader := make([]int, groups)
		for g := range leader {
			leader[g] = rapid.IntRange(0, nodes-1).Draw(t, "leader")
		}
		step := func(self int) bool {
			seats := make([]seat, groups)
			for g, l := range leader {
				seats[g] = seat{group: uint32(g), leader: servers[l].ID}
				if l == self {
					seats[g].takers = append(append([]Server(nil), servers[:l]...), servers[l+1:]...)
				}
			}
			group, to, ok := move(servers[self].ID, seats)
			if ok {
				leader[group] = slices.Index(servers, to)
			}
			return ok
		}
		moves := 0
		for still := 0; still < nodes; {
			still++
			for self := range nodes {
				if step(self) {
					still = 0
					if moves++; moves > groups {
						t.Fatalf("%d moves for %d groups", moves, groups)
					}
				}
			}
		}
		led := make([]int, nodes)
		for _, l := range leader {
			led[l]++
		}
		for _, n := range led {
			if n < groups/nodes || n > (groups+nodes-1)/nodes {
				t.Fatalf("%v lead %d groups of %d nodes", led, groups, nodes)
			}
		}
	})
}
