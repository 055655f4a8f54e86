package config

import (
	"strconv"
	"strings"
)

// YAML returns c as a settings file: loading it gives c again. No setting is a
// secret, so nothing is hidden; the key secret is a file of the data directory.
func (c *Config) YAML() string {
	var b strings.Builder
	section := ""
	for _, f := range Fields(c) {
		name := f.Path
		if s, key, ok := strings.Cut(f.Path, "."); ok {
			if s != section {
				b.WriteString(s + ":\n")
				section = s
			}
			name = "  " + key
		}
		b.WriteString(name + ": " + f.yaml() + "\n")
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
