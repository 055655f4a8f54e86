package main

import "testing"

// TestTheGuideOfBackupsIsTrue runs docs/guides/backup.md against a node with the policy
// that the page shows.
func TestTheGuideOfBackupsIsTrue(t *testing.T) {
	runGuideOnNode(t, "docs/guides/backup.md", "backup.txtar", `headgate() {
		case "$1 $2" in
		"check "*) command headgate "$@" --server "$GRPC" ;;
		"backup verify") command headgate "$@" ;;
		"backup "*) command headgate "$@" --admin "$ADMIN" ;;
		*) command headgate "$@" ;;
		esac
	}
`)
}
