package bench

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestDefaultLacksOnlyATarget(t *testing.T) {
	c := Default()
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "target") {
		t.Fatalf("without a target: %v", err)
	}
	c.Target = "127.0.0.1:8081"
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestValidateNamesWhatIsWrong(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		change     func(*Config)
	}{
		{"a target without a port", "target", func(c *Config) { c.Target = "host" }},
		{"another target without a port", "versus", func(c *Config) { c.Versus = "host" }},
		{"an unknown protocol", "protocol", func(c *Config) { c.Protocol = "smtp" }},
		{"an unknown distribution", "distribution", func(c *Config) { c.Distribution = "normal" }},
		{"a Zipf exponent of 0", "zipf_s", func(c *Config) { c.Distribution, c.ZipfS = Zipf, 0 }},
		{"a Zipf exponent that is no number", "zipf_s", func(c *Config) { c.Distribution, c.ZipfS = Zipf, math.NaN() }},
		{"no domain", "domain", func(c *Config) { c.Domain = "" }},
		{"no descriptor", "descriptors", func(c *Config) { c.Descriptors = nil }},
		{"a descriptor that is empty", "descriptors[0]", func(c *Config) { c.Descriptors = []string{""} }},
		{"a descriptor without =", "descriptors[1]", func(c *Config) { c.Descriptors = []string{"a=b", "c"} }},
		{"a key with the placeholder", "descriptors[0]", func(c *Config) { c.Descriptors = []string{"a%d=b"} }},
		{"two descriptors for a native check", "descriptors", func(c *Config) {
			c.Protocol, c.Descriptors = Native, []string{"a=b", "c=d"}
		}},
		{"no keys", "keys", func(c *Config) { c.Keys = 0 }},
		{"no hits", "hits", func(c *Config) { c.Hits = 0 }},
		{"a batch that is too large", "batch", func(c *Config) { c.Protocol, c.Batch = Batch, 1001 }},
		{"no connection", "connections", func(c *Config) { c.Connections = 0 }},
		{"nothing in flight", "in_flight", func(c *Config) { c.InFlight = 0 }},
		{"a rate below 0", "rate", func(c *Config) { c.Rate = -1 }},
		{"a rate that is no number", "rate", func(c *Config) { c.Rate = math.NaN() }},
		{"a backlog below 0", "backlog", func(c *Config) { c.Backlog = -1 }},
		{"no duration", "duration", func(c *Config) { c.Duration = 0 }},
		{"a warm-up below 0", "warmup", func(c *Config) { c.Warmup = -time.Second }},
		{"no time to connect", "connect_timeout", func(c *Config) { c.ConnectTimeout = 0 }},
		{"a drain timeout below 0", "drain_timeout", func(c *Config) { c.DrainTimeout = -1 }},
		{"a process id below 0", "server_pid", func(c *Config) { c.ServerPID = -1 }},
		{"another process id below 0", "versus_pid", func(c *Config) { c.VersusPID = -1 }},
		{"no rounds", "rounds", func(c *Config) { c.Rounds = 0 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := Default()
			c.Target = "127.0.0.1:8081"
			tc.change(&c)
			err := c.Validate()
			if err == nil || !strings.Contains(err.Error(), tc.want+":") {
				t.Errorf("Validate() = %v, want a problem with %s", err, tc.want)
			}
		})
	}
}

func TestValidateReportsAllProblemsAtOnce(t *testing.T) {
	c := Config{}
	err := c.Validate()
	for _, path := range []string{"target", "protocol", "domain", "descriptors", "keys", "distribution", "hits", "connections", "duration"} {
		if err == nil || !strings.Contains(err.Error(), path+":") {
			t.Errorf("no problem with %s in: %v", path, err)
		}
	}
}
