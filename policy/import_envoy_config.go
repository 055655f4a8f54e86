package policy

import (
	"fmt"
	"slices"
)

// An EnvoyConfig is one configuration of Envoy's reference service as its
// control planes send it: a ratelimit.config.ratelimit.v3.RateLimitConfig.
// What a file can say and the message can't, value_to_metric and
// share_threshold, is absent.
type EnvoyConfig struct {
	Name        string // of the resource, as problems name it
	Domain      string
	Descriptors []EnvoyDescriptor
}

// An EnvoyDescriptor is one descriptor of an EnvoyConfig. Value is empty if it
// has none.
type EnvoyDescriptor struct {
	Key, Value  string
	Limit       *EnvoyLimit // nil: no rate_limit
	Descriptors []EnvoyDescriptor

	ShadowMode, QuotaMode, DetailedMetric bool
	Metadata                              bool // it has some
}

// An EnvoyLimit is a rate_limit.
type EnvoyLimit struct {
	Unit      string // SECOND … YEAR; anything else is none
	Amount    uint32
	Unlimited bool
	Name      string
	Replaces  []string
}

// ImportEnvoyConfigs is ImportEnvoy for what a control plane sent. Problems name
// the resource and the descriptor instead of a line.
func ImportEnvoyConfigs(configs []EnvoyConfig, o EnvoyOptions) ([]*Document, error) {
	im := &envoyImporter{EnvoyOptions: o}
	var domains []*envoyDomain
	names := make([]string, len(configs))
	for i := range configs {
		c := &configs[i]
		at := Position{File: c.source()}
		names[i] = at.File
		if c.Domain == "" {
			im.problem(at, "", "domain is missing or empty")
			continue
		}
		domains = im.join(domains, &envoyDomain{name: c.Domain, at: at, roots: im.nodes(c.Descriptors, at, "", 1)})
	}
	return im.documents(domains, names)
}

// source is what stands for a file's name.
func (c *EnvoyConfig) source() string { return fmt.Sprintf("resource %q", c.Name) }

// nodes turns descriptors, all of them siblings, into nodes.
func (im *envoyImporter) nodes(list []EnvoyDescriptor, at Position, parent string, depth int) []*envoyNode {
	if len(list) > 0 && depth > DepthMax {
		im.problem(at, parent, fmt.Sprintf("descriptors are nested more than %d deep", DepthMax))
		return nil
	}
	nodes := make([]*envoyNode, 0, len(list))
	for i := range list {
		d := &list[i]
		n := &envoyNode{
			at: at, key: d.Key, value: d.Value,
			shadow: d.ShadowMode, quota: d.QuotaMode, detailed: d.DetailedMetric,
		}
		n.path = joinEnvoyPath(parent, n.composite())
		if n.key == "" {
			im.problem(at, n.path, "descriptor has no key")
			continue
		}
		if d.Metadata {
			n.metadata = &n.at
		}
		n.limit = im.configLimit(d.Limit, n)
		n.children = im.nodes(d.Descriptors, at, n.path, depth+1)
		nodes = append(nodes, n)
	}
	return nodes
}

func (im *envoyImporter) configLimit(c *EnvoyLimit, n *envoyNode) *envoyLimit {
	if c == nil {
		return nil
	}
	l := &envoyLimit{
		at: n.at, unit: envoyUnit(c.Unit), amount: uint64(c.Amount),
		unlimited: c.Unlimited, name: c.Name, replaces: c.Replaces,
	}
	if slices.Contains(c.Replaces, "") {
		im.problem(n.at, n.path, "replaces has an entry without a name")
	}
	im.checkLimit(l, c.Unit, n.path)
	return l
}
