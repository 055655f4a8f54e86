package app

import (
	"runtime"

	"github.com/headgate/headgate/api/admin"
	"github.com/headgate/headgate/api/h2"
	"github.com/headgate/headgate/internal/obs"
	"github.com/headgate/headgate/policy"
)

// metricsConfig says where metrics read from. Nothing is read before build has
// ended.
func (n *node) metricsConfig() obs.Config {
	return obs.Config{
		LimitsMax: n.Config.Metrics.LimitsMax,
		TopKeys:   n.Config.Admin.TopKeys,
		Stripes:   2 * runtime.GOMAXPROCS(0),
		Now:       n.clock.Now,
		Build:     n.Build,
		Table: func() obs.TableReading {
			s := n.table.Stats()
			return obs.TableReading{
				Entries: uint64(s.Entries), EntriesMax: uint64(s.EntriesMax),
				Bytes: uint64(s.Bytes), BytesMax: uint64(s.BytesMax),
				Full:      uint64(s.TableFullAllowed + s.TableFullDenied),
				ShareFull: uint64(s.ShareFullAllowed + s.ShareFullDenied),
				Reclaimed: s.Reclaimed,
			}
		},
		Quota:        func() obs.QuotaReading { return n.quotas.reading() },
		Store:        func() *obs.StoreReading { return n.quotas.meters.reading() },
		Reservations: n.readReservations,
		Edge: func() obs.EdgeReading {
			s := n.server.Stats()
			e := obs.EdgeReading{
				Connections: uint64(s.Front.Connections), Refused: s.Front.Abuse[h2.AbuseConnections], Shed: s.Front.Shed + n.rest.Shed(),
				Faults: s.Faults, Late: s.Late, Panics: s.Panics + n.rest.Panics(),
				Held: s.Held, Unheld: s.Unheld,
			}
			for _, a := range h2.Abuses() {
				e.Abuse = append(e.Abuse, obs.Abuse{Kind: a.String(), Count: s.Front.Abuse[a]})
			}
			return e
		},
		Policy: func() obs.PolicyReading { return n.policies.reading() },
		Modes:  n.modes.readings,
		TLS:    n.tlsReadings,
		Ready:  n.isReady,
	}
}

func (n *node) adminSources() *admin.Sources {
	settings := n.Config.YAML()
	quotas := &quotaViews{quotas: n.quotas, policies: n.policies, audit: n.modes.audit, now: n.clock.Now, log: n.Log}
	saves := &backups{quotas: n.quotas, secret: n.data.keySecret, build: n.Build.Version, audit: n.modes.audit, now: n.clock.Now, log: n.Log}
	return &admin.Sources{
		Status: n.status,
		Config: func() string { return settings },
		Policy: n.policyReport,
		Lines: func() string {
			snapshot, _ := n.policies.snapshot()
			return policy.EnvoyLines(snapshot)
		},
		Top: func() admin.Top {
			return admin.Top{Hot: topKeys(n.metrics.Hot), Denied: topKeys(n.metrics.Denied)}
		},
		Table:    n.tableReport,
		ReadOnly: n.Config.Admin.ReadOnly,
		Modes:    n.modes.report,
		SetMode:  n.modes.change,
		Audit:    n.modes.history,

		Counters: n.counters.list, Counter: n.counters.get, ResetCounters: n.counters.reset,
		Quotas: quotas.list, Quota: quotas.get, AdjustQuota: quotas.adjust, ResetQuota: quotas.reset,
		Backup: saves.begin,
	}
}

func (n *node) status() admin.Status {
	a := n.addrs()
	return admin.Status{
		State: nodeState(n.state.Load()).String(), Ready: n.isReady(),
		Version: n.Build.Version, Revision: n.Build.Revision, Go: n.Build.Go,
		StartedAt: n.startedAt, Now: n.clock.Now().Time(),
		DataDir: n.data.path, GRPC: a.GRPC, HTTP: a.HTTP, Admin: a.Admin,
	}
}

func (n *node) policyReport() admin.Policy {
	snapshot, state := n.policies.snapshot()
	p := admin.Policy{
		Version: snapshot.Version(), Hash: snapshot.Hash(),
		Domains: snapshot.Domains(), Limits: len(snapshot.Limits()),
		Files: state.Files, AppliedAt: state.AppliedAt, ReadAt: state.TriedAt,
	}
	p.Problems = state.problems()
	p.Refused = len(p.Problems) > 0
	return p
}

func (n *node) tableReport() admin.Table {
	s := n.table.Stats()
	t := admin.Table{
		Entries: s.Entries, EntriesMax: s.EntriesMax, Capacity: s.Capacity, Bytes: s.Bytes, BytesMax: s.BytesMax,
		Reclaimed: s.Reclaimed, Converted: s.Converted, Refused: s.Refused,
		Full: s.TableFullAllowed + s.TableFullDenied, ShareFull: s.ShareFullAllowed + s.ShareFullDenied,
		Converting: s.Converting, Domains: make(map[string]int64, len(s.Domains)),
	}
	for _, d := range s.Domains {
		t.Domains[d.Domain] = d.Entries
	}
	return t
}

func topKeys(t *obs.Top) []admin.TopKey {
	keys := t.Keys()
	out := make([]admin.TopKey, len(keys))
	for i, k := range keys {
		out[i] = admin.TopKey(k)
	}
	return out
}
