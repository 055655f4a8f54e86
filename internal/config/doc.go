// Package config holds the settings of a Headgate process: what they are,
// their defaults and bounds, and where they come from.
//
// It is not the policy (what is limited is package policy's), and it opens
// nothing but the settings file.
//
// The main type is [Config], one struct per component. [Load] builds it from
// defaults, then a YAML file, then environment variables, then flags, each
// overriding the one before, and reports every problem at once as [Problems].
// The struct tags are the single source of the reference documentation, of the
// bounds that [Config.Validate] checks, of the names that each source uses and of
// the JSON Schema that editors read.
// A Config is a plain value without locks: set it up, then only read it.
//
// See docs/adr/0008-life-cycle.md and docs/reference/config.md.
package config
