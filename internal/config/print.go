package config

import (
	"strconv"
	"strings"
)

// YAML returns c as a settings file: loading it gives c again. No setting is a
// secret, so nothing is hidden; the key secret is a file of the data directory.
func (c *Config) YAML() string {
	var b strings.Builder
	var open []string // the sections that the previous setting is in
	for _, f := range Fields(c) {
		keys := strings.Split(f.Path, ".")
		last := len(keys) - 1
		for i, section := range keys[:last] {
			if i < len(open) && open[i] == section {
				continue
			}
			b.WriteString(strings.Repeat("  ", i) + section + ":\n")
			open = open[:0] // what is deeper is another's
		}
		open = keys[:last]
		b.WriteString(strings.Repeat("  ", last) + keys[last] + ": " + f.yaml() + "\n")
	}
	return b.String()
}

func (f Field) yaml() string {
	switch v := f.value.Interface().(type) {
	case string:
		return strconv.Quote(v)
	case []string:
		quoted := make([]string, len(v))
		for i, s := range v {
			quoted[i] = strconv.Quote(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	default:
		return f.Text()
	}
}
