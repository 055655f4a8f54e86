package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDefaultsAreValid(t *testing.T) {
	c := Default()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestEveryFieldIsDocumentedAndBounded(t *testing.T) {
	c := Default()
	for _, f := range Fields(&c) {
		if f.Path == "" || strings.HasSuffix(f.Path, ".") || f.Doc == "" {
			t.Errorf("%q: key or doc missing", f.Path)
		}
		if f.Bound == "" && f.Path != "data_dir" && f.Path != "policy.paths" {
			t.Errorf("%s: no bound", f.Path)
		}
		if low := f.tag.Get("min"); low != "" {
			for _, text := range []string{low, f.tag.Get("max")} {
				if _, want := parseNumber(f.value, text); want != "" {
					t.Errorf("%s: bound %q %s", f.Path, text, want)
				}
			}
		}
	}
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "headgate.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestLaterSourcesOverrideEarlierOnes(t *testing.T) {
	file := writeFile(t, "grpc:\n  addr: file:1\n  streams_max: 7\nhttp:\n  addr: file:1\nadmin:\n  addr: localhost:1\nlog:\n")
	c, err := Load(Sources{
		File:  file,
		Env:   []string{"HEADGATE_HTTP_ADDR=env:2", "HEADGATE_ADMIN_ADDR=localhost:2", "HEADGATE_CONFIG=x", "PATH=/bin"},
		Flags: []Flag{{Path: "admin.addr", Name: "--admin", Values: []string{"localhost:3"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{c.GRPC.Addr, c.HTTP.Addr, c.Admin.Addr, c.Log.Level}
	if want := []string{"file:1", "env:2", "localhost:3", "info"}; !slices.Equal(got, want) {
		t.Errorf("addresses = %v, want %v", got, want)
	}
	if c.GRPC.StreamsMax != 7 {
		t.Errorf("streams_max = %d, want 7", c.GRPC.StreamsMax)
	}
}

func TestAllKindsOfValues(t *testing.T) {
	file := writeFile(t, `# settings
data_dir: "/var/lib/x"
policy:
  paths: [a.yaml, 'b']
  debounce: 1s
grpc: {reflection: false, message_bytes_max: 2MiB}
table:
  bytes_max: 3000000
`)
	c, err := Load(Sources{File: file, Env: []string{"HEADGATE_POLICY_POLL_INTERVAL=1h"}})
	if err != nil {
		t.Fatal(err)
	}
	if c.DataDir != "/var/lib/x" || !slices.Equal(c.Policy.Paths, []string{"a.yaml", "b"}) ||
		c.Policy.Debounce != time.Second || c.Policy.PollInterval != time.Hour ||
		c.GRPC.Reflection || c.GRPC.MessageBytesMax != 2*MiB || c.Table.BytesMax != 3_000_000 {
		t.Errorf("got %+v", c)
	}
}

func TestListsComeFromEnvironmentAndFlags(t *testing.T) {
	c, err := Load(Sources{Env: []string{"HEADGATE_POLICY_PATHS=a, b,"}})
	if err != nil || !slices.Equal(c.Policy.Paths, []string{"a", "b"}) {
		t.Errorf("environment: %q, %v", c.Policy.Paths, err)
	}
	c, err = Load(Sources{Flags: []Flag{{Path: "policy.paths", Name: "--policy", Values: []string{"x,y", "z"}}}})
	if err != nil || !slices.Equal(c.Policy.Paths, []string{"x,y", "z"}) {
		t.Errorf("flags: %q, %v", c.Policy.Paths, err)
	}
}

// FILE stands for the settings file's path.
func TestProblemsNameSourcePathValueAndBound(t *testing.T) {
	tests := []struct {
		name string
		file string
		env  []string
		flag []Flag
		want []string
	}{
		{
			name: "unknown key with a suggestion",
			file: "grpc:\n  adr: :1\n",
			want: []string{`FILE:2:3: grpc.adr: unknown setting; did you mean "addr"?`},
		},
		{
			name: "unknown section with a suggestion",
			file: "polcy:\n  paths: []\n",
			want: []string{`FILE:1:1: polcy: unknown setting; did you mean "policy"?`},
		},
		{
			name: "unknown key like none",
			file: "grpc:\n  fantasy: 1\n",
			want: []string{`FILE:2:3: grpc.fantasy: unknown setting`},
		},
		{
			name: "unknown environment variable",
			env:  []string{"HEADGATE_GRPC_ADRR=:1"},
			want: []string{`HEADGATE_GRPC_ADRR: unknown setting; did you mean "HEADGATE_GRPC_ADDR"?`},
		},
		{
			name: "unknown flag path",
			flag: []Flag{{Path: "no.such", Name: "--no-such"}},
			want: []string{`--no-such: no.such: unknown setting`},
		},
		{
			name: "out of bounds, once per source that counts",
			file: "grpc:\n  streams_max: 0\n",
			env:  []string{"HEADGATE_TABLE_SHARE_PERCENT=101"},
			flag: []Flag{{Path: "log.level", Name: "--log-level", Values: []string{"loud"}}},
			want: []string{
				`FILE:2:16: grpc.streams_max: "0": must be 1 to 1000000`,
				`HEADGATE_TABLE_SHARE_PERCENT: table.share_percent: "101": must be 1 to 100`,
				`--log-level: log.level: "loud": must be one of debug, info, warn, error`,
			},
		},
		{
			name: "not of the type",
			file: "grpc:\n  streams_max: many\n  reflection: yes\n  message_bytes_max: -1\npolicy:\n  debounce: 5\n",
			want: []string{
				`FILE:2:16: grpc.streams_max: "many": must be a whole number`,
				`FILE:3:15: grpc.reflection: "yes": must be true or false`,
				`FILE:4:22: grpc.message_bytes_max: "-1": must be a size such as 512, 64KiB or 1GiB`,
				`FILE:6:13: policy.debounce: "5": must be a duration such as 250ms, 90s or 24h`,
			},
		},
		{
			name: "not of the shape",
			file: "grpc: 5\nlog: [a]\npolicy:\n  paths: {a: b}\nhttp:\n  addr: [a]\n",
			want: []string{
				`FILE:1:7: grpc: must be a mapping of settings`,
				`FILE:2:6: log: must be a mapping of settings`,
				`FILE:4:10: policy.paths: must be a list of texts`,
				`FILE:6:9: http.addr: must be a single value`,
			},
		},
		{
			name: "list of lists",
			file: "policy:\n  paths: [[a]]\n",
			want: []string{`FILE:2:11: policy.paths: must be a list of texts`},
		},
		{
			name: "two documents",
			file: "log:\n  level: info\n---\nlog:\n  level: info\n",
			want: []string{`FILE:4:4: a settings file has one document`},
		},
		{
			name: "bad addresses",
			file: "grpc:\n  addr: \"8081\"\nhttp:\n  addr: \":99999\"\n",
			want: []string{
				`FILE:2:9: grpc.addr: "8081": must be host:port, port 0 to 65535`,
				`FILE:4:9: http.addr: ":99999": must be host:port, port 0 to 65535`,
			},
		},
		{
			name: "an entry longer than a message, and a connection without a life",
			file: "grpc:\n  message_bytes_max: 1KiB\n  value_bytes_max: 2KiB\n  connection_age_max: 1ms\n",
			want: []string{
				`FILE:3:20: grpc.value_bytes_max: "2KiB": must be at most grpc.message_bytes_max, 1KiB`,
				`FILE:4:23: grpc.connection_age_max: "1ms": must be 0 or at least 1s`,
			},
		},
		{
			name: "a path as a key",
			file: "grpc.addr: :9000\nlog:\n  level: info\n",
			want: []string{`FILE:1:1: grpc.addr: must be nested: one key for each part of the path`},
		},
		{
			name: "bad header",
			file: "rls:\n  limit_header: X-Limit\n",
			want: []string{`FILE:2:17: rls.limit_header: "X-Limit": must be lower-case letters, digits, -, _ and .`},
		},
		{
			name: "admin beyond loopback",
			env:  []string{"HEADGATE_ADMIN_ADDR=0.0.0.0:8082"},
			want: []string{`HEADGATE_ADMIN_ADDR: admin.addr: "0.0.0.0:8082": must be a loopback address such as 127.0.0.1:8082: the admin API has no access control yet`},
		},
		{
			name: "admin on all addresses",
			env:  []string{"HEADGATE_ADMIN_ADDR=:8082"},
			want: []string{`HEADGATE_ADMIN_ADDR: admin.addr: ":8082": must be a loopback address such as 127.0.0.1:8082: the admin API has no access control yet`},
		},
		{
			name: "a drain delay that leaves no time to save counters",
			env:  []string{"HEADGATE_SHUTDOWN_TIMEOUT=10s", "HEADGATE_SHUTDOWN_DRAIN_DELAY=9s"},
			want: []string{`HEADGATE_SHUTDOWN_DRAIN_DELAY: shutdown.drain_delay: "9s": must be shorter than four fifths of shutdown.timeout, 8s`},
		},
		{
			name: "halves of TLS",
			file: "grpc:\n  tls:\n    cert_file: a.pem\nhttp:\n  tls: {key_file: a.key}\n",
			want: []string{
				`FILE:3:16: grpc.tls.cert_file: "a.pem": needs grpc.tls.key_file`,
				`FILE:5:19: http.tls.key_file: "a.key": needs http.tls.cert_file`,
			},
		},
		{
			name: "clients that can't be known",
			env: []string{
				"HEADGATE_GRPC_TLS_CERT_FILE=a.pem", "HEADGATE_GRPC_TLS_KEY_FILE=a.key", "HEADGATE_GRPC_TLS_CLIENT_AUTH=require",
				"HEADGATE_HTTP_TLS_CERT_FILE=a.pem", "HEADGATE_HTTP_TLS_KEY_FILE=a.key", "HEADGATE_HTTP_TLS_CLIENT_CA_FILE=ca.pem",
			},
			want: []string{
				`HEADGATE_GRPC_TLS_CLIENT_AUTH: grpc.tls.client_auth: "require": needs grpc.tls.client_ca_file`,
				`HEADGATE_HTTP_TLS_CLIENT_CA_FILE: http.tls.client_ca_file: "ca.pem": needs http.tls.client_auth: require or optional`,
			},
		},
		{
			name: "clients known without TLS, and versions that are not",
			file: "grpc:\n  tls: {client_ca_file: ca.pem, client_auth: optional}\nhttp:\n  tls:\n    client_auth: maybe\n    min_version: 1.1\n    crt_file: a\n",
			want: []string{
				`FILE:7:5: http.tls.crt_file: unknown setting; did you mean "cert_file"?`,
				`FILE:5:18: http.tls.client_auth: "maybe": must be one of none, optional, require`,
				`FILE:6:18: http.tls.min_version: "1.1": must be one of 1.2, 1.3`,
				`FILE:2:46: grpc.tls.client_auth: "optional": needs grpc.tls.cert_file and key_file`,
			},
		},
		{
			name: "drain longer than the whole stop",
			env:  []string{"HEADGATE_SHUTDOWN_TIMEOUT=2s"},
			want: []string{`shutdown.drain_delay: "5s": must be shorter than four fifths of shutdown.timeout, 1.6s`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := Sources{Env: tt.env, Flags: tt.flag}
			if tt.file != "" {
				s.File = writeFile(t, tt.file)
			}
			_, err := Load(s)
			var ps Problems
			if !errors.As(err, &ps) {
				t.Fatalf("error = %v, want Problems", err)
			}
			got := make([]string, len(ps))
			for i, p := range ps {
				got[i] = p.String()
				if s.File != "" {
					got[i] = strings.ReplaceAll(got[i], s.File, "FILE")
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("problems:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestSyntaxErrorsSayWhere(t *testing.T) {
	file := writeFile(t, "grpc:\n  addr: [\n")
	_, err := Load(Sources{File: file})
	var ps Problems
	if !errors.As(err, &ps) || len(ps) != 1 || !strings.HasPrefix(ps[0].Source, file+":") {
		t.Fatalf("error = %v", err)
	}
}

func TestVariablesThatKubernetesSetsAreIgnored(t *testing.T) {
	_, err := Load(Sources{Env: []string{
		"HEADGATE_PORT=tcp://10.0.0.1:8081", "HEADGATE_SERVICE_HOST=10.0.0.1", "HEADGATE_SERVICE_PORT=8081",
		"HEADGATE_SERVICE_PORT_GRPC=8081", "HEADGATE_PORT_8081_TCP=tcp://10.0.0.1:8081", "HEADGATE_PORT_8081_TCP_ADDR=10.0.0.1",
		"HEADGATE_ADMIN_PORT=tcp://10.0.0.1:8082", "HEADGATE_PORT_8081_TCP_PORT=8081", "HEADGATE_PORT_8081_TCP_PROTO=tcp",
		"HEADGATE_PORT_53_UDP=udp://[fd00::1]:53", "HEADGATE_SERVICE_HOST=fd00::1",
	}})
	if err != nil {
		t.Fatal(err)
	}
}

func TestVariablesThatOnlyLookLikeThoseOfKubernetesAreProblems(t *testing.T) {
	env := []string{
		"HEADGATE_GRPC_PORT=9000", "HEADGATE_PORT=8081", "HEADGATE_PORT_8081_TCP=8081", "HEADGATE_GRPC_SERVICE_HOST=localhost",
		"HEADGATE_SERVICE_PORT=:8081", "HEADGATE_SERVICE_PORT_GRPC=grpc", "HEADGATE_PORT_8081_TCP_ADDR=here", "HEADGATE_PORT_8081_TCP_PROTO=6",
	}
	_, err := Load(Sources{Env: env})
	var ps Problems
	if !errors.As(err, &ps) || len(ps) != len(env) {
		t.Errorf("error = %v, want %d problems", err, len(env))
	}
}

func TestFilesThatCannotBeReadAreErrors(t *testing.T) {
	if _, err := Load(Sources{File: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := Load(Sources{File: writeFile(t, strings.Repeat("#", FileBytesMax+1))}); err == nil {
		t.Error("a file above the bound was accepted")
	}
	if _, err := os.Stat("/dev/zero"); err == nil {
		if _, err := Load(Sources{File: "/dev/zero"}); err == nil || !strings.Contains(err.Error(), "larger than") {
			t.Errorf("a file without end: %v", err)
		}
	}
}

func TestPrintedSettingsLoadAgain(t *testing.T) {
	want := Default()
	want.DataDir, want.Policy.Paths, want.GRPC.Addr = "/a b", []string{"x: y", `"q"`}, "h:1"
	want.GRPC.TLS = TLS{CertFile: "a", KeyFile: "b", ClientCAFile: "c", ClientAuth: "require", MinVersion: "1.3"}
	want.HTTP.TLS.CertFile, want.HTTP.TLS.KeyFile = "d", "d"
	want.Policy.XDS.NodeMetadata, want.Policy.XDS.Headers = []string{"a=b"}, []string{"c=d", "e="}
	got, err := Load(Sources{File: writeFile(t, want.YAML())})
	if err != nil {
		t.Fatalf("%v\n%s", err, want.YAML())
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDefaultDataDir(t *testing.T) {
	tests := []struct {
		name string
		env  []string
		uid  int
		want string
	}{
		{"systemd's wins", []string{"STATE_DIRECTORY=/s", "HOME=/h"}, 0, "/s"},
		{"root", []string{"HOME=/root", "XDG_STATE_HOME=/x"}, 0, "/var/lib/headgate"},
		{"XDG", []string{"HOME=/h", "XDG_STATE_HOME=/x"}, 1000, "/x/headgate"},
		{"home", []string{"HOME=/h"}, 1000, "/h/.local/state/headgate"},
		{"nothing known", nil, 1000, "headgate-data"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := DefaultDataDir(lookup(tt.env), tt.uid); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestBytes(t *testing.T) {
	tests := []struct {
		text string
		want Bytes
		back string
	}{
		{"0", 0, "0"},
		{"512", 512, "512"},
		{"512B", 512, "512"},
		{"64KiB", 64 * KiB, "64KiB"},
		{"64 KiB", 64 * KiB, "64KiB"},
		{"1536KiB", 1536 * KiB, "1536KiB"},
		{"1GiB", GiB, "1GiB"},
		{"2TiB", 2 * TiB, "2TiB"},
		{"1kB", 1000, "1000"},
		{"5MB", 5_000_000, "5000000"},
	}
	for _, tt := range tests {
		got, err := ParseBytes(tt.text)
		if err != nil || got != tt.want || got.String() != tt.back {
			t.Errorf("ParseBytes(%q) = %d %q, %v; want %d %q", tt.text, got, got.String(), err, tt.want, tt.back)
		}
	}
	for _, text := range []string{"", "B", "-1", "1.5MiB", "1XB", "9223372036854775807KiB", "9000000TiB"} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("ParseBytes(%q) = %d, want an error", text, got)
		}
	}
}

func TestTheSystemdSampleIsValid(t *testing.T) {
	c, err := Load(Sources{File: "../../deploy/systemd/headgate.yaml", Env: []string{"STATE_DIRECTORY=/var/lib/headgate"}})
	if err != nil || c.DataDir != "/var/lib/headgate" || c.Log.Format != "json" {
		t.Errorf("%+v, %v", c, err)
	}
}
