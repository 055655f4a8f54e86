package arch

import (
	"path"
	"strings"
)

// Module is the path that every package of ours starts with.
const Module = "github.com/headgate/headgate"

// A Layer says what the packages under one path may import.
type Layer struct {
	// Path is the package's directory, or a pattern of path.Match. The first
	// layer that matches a package is the one that counts.
	Path string
	// Ours lists the packages of this module that it may import; each is a
	// directory or a pattern, and "…/**" stands for a whole subtree.
	Ours []string
	// Pure bans what a computation has no use for: clocks, I/O, locks,
	// goroutines, logs and every dependency that is not in Theirs.
	Pure bool
	// Theirs lists the other modules' packages that a pure layer may import.
	Theirs []string
	// Shell packages may ask the clock, the environment and the terminal, and
	// may have package variables.
	Shell bool
	// Times packages may use package time's clock and timers: they wait for the
	// network, and have deadlines that the node's clock can't give them.
	Times bool
}

// Table returns the import table: docs/architecture.md explains it. A package
// that no layer matches is a violation, so that each new one is a decision.
func Table() []Layer {
	const (
		lim = "limiter"
		pol = "policy"
		pb  = "api/proto/**"
	)
	door := []string{"api", "api/batch", "api/headers", "api/wire", lim, pol, pb}
	return []Layer{
		// The kernel and what is pure around it.
		{Path: "limiter", Pure: true, Theirs: []string{"github.com/dchest/siphash"}},
		{Path: "limiter/prefetch", Pure: true},
		{Path: "limiter/slots", Pure: true, Ours: []string{lim}},
		{Path: "limiter/hold", Pure: true, Ours: []string{lim}},
		{Path: "limiter/quota", Pure: true, Ours: []string{lim}},
		{Path: "limiter/quota/calendar", Pure: true, Ours: []string{lim}},
		{Path: "limiter/table", Ours: []string{lim, "limiter/slots", "limiter/prefetch"}},
		{Path: "policy", Ours: []string{lim, "limiter/prefetch"}},

		// The cluster.
		{Path: "cluster", Ours: []string{"cluster/*", lim, "limiter/*"}},
		{Path: "cluster/consensus", Times: true},
		{Path: "cluster/consensus/consensustest"},
		{Path: "cluster/holdings", Ours: []string{lim, "limiter/prefetch", "limiter/quota", "limiter/quota/calendar"}},
		{Path: "cluster/reservations", Ours: []string{lim, "limiter/hold"}},
		{Path: "cluster/grants", Times: true, Ours: []string{lim, "limiter/quota", "cluster/consensus"}},

		// What is on disk.
		{Path: "storage"},
		{Path: "storage/raftlog", Ours: []string{"storage"}},
		{Path: "storage/ledger", Ours: []string{"storage", lim, "limiter/quota"}},
		{Path: "storage/backup", Ours: []string{"storage", "storage/ledger"}},
		{Path: "storage/storagetest"},

		// The edge.
		{Path: "api", Ours: []string{lim, pol}},
		{Path: "api/rpc", Ours: append([]string{"api/rls", "api/authz", "api/decision", "api/gubernator", "api/h2"}, door...)},
		{Path: "api/wire"},
		{Path: "api/batch", Ours: []string{"api", "api/wire", lim}},
		{Path: "api/headers", Ours: []string{"api", lim, pol}},
		{Path: "api/rest", Ours: append([]string{"api/rls", "api/decision", "api/gubernator"}, door...)},
		{Path: "api/rls", Ours: door},
		{Path: "api/authz", Ours: door},
		{Path: "api/decision", Ours: append([]string{"limiter/hold"}, door...)},
		{Path: "api/gubernator", Ours: door},
		{Path: "api/admin", Ours: []string{"api", pol}},
		{Path: "api/h2", Times: true, Ours: []string{"api/h2/hpack"}},
		{Path: "api/h2/hpack"},
		{Path: "api/proto"},
		{Path: "api/proto/headgate/v1", Ours: []string{pb}},

		// The shell.
		{Path: "cmd/headgate", Shell: true, Ours: []string{"internal/**", lim, pol, "bench/**", pb, "api/admin"}},
		{Path: "internal/app", Shell: true, Ours: []string{"**"}},
		{Path: "internal/audit"},
		{Path: "internal/clock", Shell: true, Ours: []string{lim}},
		{Path: "internal/config", Shell: true},
		{Path: "internal/certs"},
		{Path: "internal/certs/certstest"},
		{Path: "internal/stock", Shell: true, Ours: []string{"api", "api/rls", "api/rpc", "internal/clock", "internal/config", "internal/obs", lim, "limiter/table", pol}},
		{Path: "internal/voter", Shell: true, Ours: []string{"api", "api/rpc", "cluster", "cluster/*", "internal/clock", "internal/config", "internal/obs", lim, "limiter/*", pol, "storage", "storage/*"}},
		{Path: "internal/dropin", Ours: []string{"internal/config"}},
		{Path: "internal/xds", Times: true, Ours: []string{pol}},
		{Path: "internal/xds/xdstest", Times: true, Ours: []string{pol}},
		{Path: "internal/apitest", Ours: []string{"api", "api/decision", "cluster", "cluster/reservations", lim, "limiter/table", pol}},
		{Path: "internal/policytest", Ours: []string{"api", "cluster/holdings", lim, "limiter/quota", "limiter/quota/calendar", "limiter/table", pol}},
		{Path: "internal/obs", Ours: []string{"api", lim, pol}},
		{Path: "internal/arch"},
		{Path: "internal/e2e"},
		{Path: "internal/conformance"},
		{Path: "bench", Shell: true, Ours: []string{lim, pb, "bench/**"}},
		{Path: "bench/*", Shell: true, Ours: []string{lim, pb, "bench/**"}},
	}
}

// layerOf returns the layer that counts for the package in dir, or nil.
func layerOf(table []Layer, dir string) *Layer {
	for i := range table {
		if matches(table[i].Path, dir) {
			return &table[i]
		}
	}
	return nil
}

// mayImport reports whether the layer allows the package of ours in dir.
func (l *Layer) mayImport(dir string) bool {
	for _, pattern := range l.Ours {
		if matches(pattern, dir) {
			return true
		}
	}
	return false
}

// matches reports whether dir is what pattern describes.
func matches(pattern, dir string) bool {
	if pattern == "**" {
		return true
	}
	if subtree, ok := strings.CutSuffix(pattern, "/**"); ok {
		return dir == subtree || strings.HasPrefix(dir, subtree+"/")
	}
	ok, err := path.Match(pattern, dir)
	return ok && err == nil
}
