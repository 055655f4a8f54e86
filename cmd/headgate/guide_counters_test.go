package main

import "testing"

// TestTheGuideOfCountersIsTrue runs docs/guides/counters.md against a node with
// the policy that the page shows.
func TestTheGuideOfCountersIsTrue(t *testing.T) {
	runGuideOnNode(t, "docs/guides/counters.md", "counters.txtar", `headgate() {
		if [ "$1" = check ]; then command headgate "$@" --server "$GRPC"; else command headgate "$@" --admin "$ADMIN"; fi
	}
`)
}
