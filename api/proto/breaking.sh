#!/bin/sh
# Fails if the public protos break those of the last release; before the first
# one, those of the main branch or, on the main branch itself, of the commit
# before. It needs only the local clone, and uses `git archive`, so that a
# detached or shallow one will do.
set -eu
cd "$(dirname "$0")/../.."
buf="go tool -modfile=internal/tools/go.mod buf"

ref=${1:-}
if [ -z "$ref" ]; then
	ref=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null || true)
fi
head=$(git rev-parse HEAD)
for candidate in origin/main main HEAD~1 HEAD; do
	[ -n "$ref" ] && break
	commit=$(git rev-parse --quiet --verify "$candidate^{commit}" || true)
	if [ -n "$commit" ] && { [ "$commit" != "$head" ] || [ "$candidate" = HEAD ]; }; then
		ref=$candidate
	fi
done
if ! git cat-file -e "$ref:buf.yaml" 2>/dev/null; then
	echo "buf breaking: $ref has no protos yet, nothing to compare with"
	exit 0
fi

against=$(mktemp -d)
trap 'rm -rf "$against"' EXIT
git archive "$ref" buf.yaml api/proto | tar -x -C "$against"
$buf breaking --against "$against"
echo "buf breaking: compatible with $ref"
