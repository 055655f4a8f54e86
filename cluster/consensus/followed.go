package consensus

import "github.com/hashicorp/raft"

// A followed log tells Events.Followed what comes from another leader.
type followed struct {
	*raft.LogCache
	group *group
}

// StoreLogs implements raft.LogStore.
func (f followed) StoreLogs(entries []*raft.Log) error {
	if tell := f.group.cfg.Events.Followed; tell != nil && f.group.opened.Load() && !f.group.leads() {
		tell(f.group.id)
	}
	return f.LogCache.StoreLogs(entries)
}
