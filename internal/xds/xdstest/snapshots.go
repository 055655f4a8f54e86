package xdstest

import (
	rlsconfv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/headgate/headgate/policy"
)

// The node ids by which the two control planes know their rate-limit service.
const (
	EnvoyGatewayNode   = "envoy-ratelimit"
	EnvoyAIGatewayNode = "envoy-ai-gateway-ratelimit"
)

// Message writes a configuration as a control plane does.
func Message(c *policy.EnvoyConfig) *rlsconfv3.RateLimitConfig {
	return &rlsconfv3.RateLimitConfig{Name: c.Name, Domain: c.Domain, Descriptors: messages(c.Descriptors)}
}

func messages(list []policy.EnvoyDescriptor) []*rlsconfv3.RateLimitDescriptor {
	out := make([]*rlsconfv3.RateLimitDescriptor, len(list))
	for i := range list {
		d := &list[i]
		m := &rlsconfv3.RateLimitDescriptor{
			Key: d.Key, Value: d.Value, ShadowMode: d.ShadowMode, DetailedMetric: d.DetailedMetric, QuotaMode: d.QuotaMode,
			Descriptors: messages(d.Descriptors),
		}
		if l := d.Limit; l != nil {
			m.RateLimit = &rlsconfv3.RateLimitPolicy{
				Unit: rlsconfv3.RateLimitUnit(rlsconfv3.RateLimitUnit_value[l.Unit]), RequestsPerUnit: l.Amount, Unlimited: l.Unlimited, Name: l.Name,
			}
			for _, name := range l.Replaces {
				m.RateLimit.Replaces = append(m.RateLimit.Replaces, &rlsconfv3.RateLimitReplace{Name: name})
			}
		}
		if d.Metadata {
			m.Metadata = &structpb.Struct{Fields: map[string]*structpb.Value{"k": structpb.NewStringValue("v")}}
		}
		out[i] = m
	}
	return out
}

// EnvoyGateway returns what Envoy Gateway 1.9 publishes for a listener with four
// limited routes and for a policy that two routes share: per route a generic key,
// below it the matches of a rule. The first counts each value of a header apart,
// the second matches a header, then clients of one network, in shadow mode; the
// third has two rules, of a month and of a year, the fourth one client.
func EnvoyGateway() []policy.EnvoyConfig {
	const route, second, third, fourth = "first-route", "second-route", "third-route", "fourth-route"
	const shared = "test-namespace/test-policy-1/rule/0"
	return []policy.EnvoyConfig{
		{Name: "default/eg/http", Domain: "default/eg/http", Descriptors: []policy.EnvoyDescriptor{
			{Key: route, Value: route, Descriptors: []policy.EnvoyDescriptor{
				{Key: "rule-0-match-0", Limit: limit(5, "HOUR")},
			}},
			{Key: second, Value: second, Descriptors: []policy.EnvoyDescriptor{
				{Key: "rule-0-match-0", Value: "rule-0-match-0", ShadowMode: true, Descriptors: []policy.EnvoyDescriptor{
					{Key: "masked_remote_address", Value: "192.168.0.0/16", ShadowMode: true, Limit: limit(2, "HOUR")},
				}},
			}},
			{Key: third, Value: third, Descriptors: []policy.EnvoyDescriptor{
				{Key: "rule-0-match-0", Value: "rule-0-match-0", Limit: limit(3, "MONTH")},
				{Key: "rule-1-match--1", Value: "rule-1-match--1", Limit: limit(1, "YEAR")},
			}},
			{Key: fourth, Value: fourth, Descriptors: []policy.EnvoyDescriptor{
				{Key: "masked_remote_address", Value: "192.168.0.10/32", Limit: limit(0, "HOUR")},
			}},
		}},
		{Name: "test-namespace/test-policy-1", Domain: "test-namespace/test-policy-1", Descriptors: []policy.EnvoyDescriptor{
			{Key: shared, Value: shared, Descriptors: []policy.EnvoyDescriptor{
				{Key: "rule-0-match-0", Value: "rule-0-match-0", Limit: limit(4, "DAY")},
			}},
		}},
	}
}

// EnvoyAIGateway returns what Envoy AI Gateway 1.1 publishes for a QuotaPolicy:
// all limits in quota mode, per backend and model, with a bucket per client and
// a default one, and a quota for all other models of the backend.
func EnvoyAIGateway() []policy.EnvoyConfig {
	quota := func(d policy.EnvoyDescriptor) policy.EnvoyDescriptor { d.QuotaMode = true; return d }
	return []policy.EnvoyConfig{{
		Name: "ai-gateway-quota", Domain: "ai-gateway-quota", Descriptors: []policy.EnvoyDescriptor{
			{Key: "backend_name", Value: "default/openai", Descriptors: []policy.EnvoyDescriptor{
				{Key: "model_name_override", Value: "gpt-4", Descriptors: []policy.EnvoyDescriptor{
					quota(policy.EnvoyDescriptor{Key: "rule-0-x-user-id-match-0", Limit: limit(100, "HOUR")}),
					quota(policy.EnvoyDescriptor{Key: "rule-1-match--1", Value: "rule-1-match--1", Limit: limit(1000, "DAY")}),
				}},
				quota(policy.EnvoyDescriptor{Key: "model_name_override", Value: "gpt-4o-mini", Limit: limit(50, "MINUTE")}),
				quota(policy.EnvoyDescriptor{Key: "model_name_override", Limit: limit(10, "HOUR")}),
			}},
		},
	}}
}

func limit(amount uint32, unit string) *policy.EnvoyLimit {
	return &policy.EnvoyLimit{Unit: unit, Amount: amount}
}
