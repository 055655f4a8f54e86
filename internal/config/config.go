package config

import "time"

// A Config is all settings of a process. Tags: yaml is the key, doc one or two
// sentences for the reference, min, max and oneof the bounds that Validate
// checks, kind=addr a listening address, kind=header the name of a header,
// kind=cidr a list of networks, kind=file the path of a PEM file, kind=dir that of
// a directory, kind=target whom gRPC connects to, kind=pairs a list of name=value,
// kind=path that of a URL, kind=addr-or-none an address or nothing and kind=text
// any text.
type Config struct {
	DataDir string `yaml:"data_dir" doc:"Directory of the node's own files: the key secret, the saved counters and reservations, the modes of domains, the audit log, durable quotas and their place, the lock, the mark of a restore that has not ended. Created with mode 0700. Empty: chosen by the environment, see below."`
	Policy  Policy `yaml:"policy"`
	GRPC    GRPC   `yaml:"grpc"`
	RLS     RLS    `yaml:"rls"`
	HTTP    HTTP   `yaml:"http"`
	Admin   Admin  `yaml:"admin"`
	Table   Table  `yaml:"table"`
	Quotas  Quotas `yaml:"quotas"`

	Reservations Reservations `yaml:"reservations"`

	Shutdown Shutdown `yaml:"shutdown"`
	Metrics  Metrics  `yaml:"metrics"`
	Log      Log      `yaml:"log"`
	Runtime  Runtime  `yaml:"runtime"`
}

// Policy says where policies come from.
type Policy struct {
	Paths           []string      `yaml:"paths" doc:"Files and directories with policy documents. Empty: the built-in sample policy, with a warning in the log."`
	OnUnknownDomain string        `yaml:"on_unknown_domain" oneof:"allow|deny|error" doc:"What a request of a domain without a policy gets."`
	Debounce        time.Duration `yaml:"debounce" min:"10ms" max:"1m" doc:"How long files must be quiet before a change is read. A change is read after ten times this at the latest."`
	PollInterval    time.Duration `yaml:"poll_interval" min:"100ms" max:"1h" doc:"How often files are looked at besides file notifications, which some network file systems do not send."`
	Envoy           EnvoyImport   `yaml:"envoy"`
	XDS             XDS           `yaml:"xds"`
}

// EnvoyImport is about configuration in the format of envoyproxy/ratelimit that
// is imported while the node runs: files, and what policy.xds brings.
type EnvoyImport struct {
	Dir          string `yaml:"dir" kind:"dir" doc:"Directory with configuration files of envoyproxy/ratelimit. All files in it and below are read, whatever their names, and changes are taken over. Empty: none."`
	Root         string `yaml:"root" kind:"dir" doc:"Directory above dir, or a link to one, that is replaced as a whole when the files change (RUNTIME_ROOT). Empty: dir itself."`
	DotFiles     bool   `yaml:"dot_files" doc:"Read also what has a name that begins with a dot. In a Kubernetes volume every file is there twice then."`
	MergeDomains bool   `yaml:"merge_domains" doc:"Join files, or resources, of one domain (MERGE_DOMAIN_CONFIG). Else they are refused."`
	Shadow       bool   `yaml:"shadow" doc:"Make every imported limit a shadow limit (SHADOW_MODE)."`
	AnyOf        bool   `yaml:"any_of" doc:"Deny only what all imported limits of a request deny (QUOTA_MODE)."`
	StopWhenOver bool   `yaml:"stop_when_over" doc:"Charge nothing of a request that is denied (STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT)."`
}

// XDS is the control plane that publishes rate-limit configuration.
type XDS struct {
	Server          string        `yaml:"server" kind:"target" doc:"host:port of a control plane that publishes RateLimitConfig resources over the aggregated discovery service, as Envoy Gateway does. They apply beside policy.paths. Empty: none."`
	NodeID          string        `yaml:"node_id" kind:"text" doc:"Name by which the control plane knows this node."`
	NodeMetadata    []string      `yaml:"node_metadata" kind:"pairs" doc:"What goes with the name."`
	Headers         []string      `yaml:"headers" kind:"pairs" doc:"Sent with each request for configuration."`
	AwaitInitial    bool          `yaml:"await_initial" doc:"Be not ready before the first configuration is in force. Until then, ready or not, requests of domains that no file has are answered with an error."`
	MessageBytesMax Bytes         `yaml:"message_bytes_max" min:"1KiB" max:"256MiB" doc:"Size of one response."`
	BackoffMin      time.Duration `yaml:"backoff_min" min:"10ms" max:"1h" doc:"Pause before a lost control plane is looked for. It doubles with each attempt in vain; the upper half of it is random."`
	BackoffMax      time.Duration `yaml:"backoff_max" min:"10ms" max:"1h" doc:"Longest pause. At least backoff_min."`
	TLS             XDSTLS        `yaml:"tls"`
}

// XDSTLS encrypts the connection to the control plane.
type XDSTLS struct {
	Enabled    bool   `yaml:"enabled" doc:"Encrypt the connection."`
	CAFile     string `yaml:"ca_file" kind:"file" doc:"Authorities that the control plane's certificate may be of. Empty: the system's. Files are read again for each connection."`
	CertFile   string `yaml:"cert_file" kind:"file" doc:"Certificate to show. Needs key_file."`
	KeyFile    string `yaml:"key_file" kind:"file" doc:"Key of the certificate, without a passphrase."`
	ServerName string `yaml:"server_name" kind:"text" doc:"Host that the control plane's certificate must name. Empty: that of server."`
}

// GRPC is the door that gateways use.
type GRPC struct {
	Addr                string        `yaml:"addr" kind:"addr" doc:"Where gRPC listens: Envoy RLS and ext_authz, the native and Gubernator's API, health, reflection."`
	Reflection          bool          `yaml:"reflection" doc:"Serve the reflection API, which grpcurl uses."`
	ConnectionsMax      int           `yaml:"connections_max" min:"1" max:"1000000" doc:"Connections open at once; one more is told so (GOAWAY) and closed."`
	StreamsMax          int           `yaml:"streams_max" min:"1" max:"1000000" doc:"Requests in flight per connection, at most."`
	StreamsTotalMax     int           `yaml:"streams_total_max" min:"1" max:"2147483647" doc:"What all connections share of that: as connections grow, each is told that it may have fewer requests in flight, at least 8. At least streams_max."`
	ConnectionBufferMax Bytes         `yaml:"connection_buffer_max" min:"1KiB" max:"1GiB" doc:"What one connection may make the node keep of requests that are not complete and of answers that it does not take; what is beyond is refused. At least message_bytes_max."`
	MessageBytesMax     Bytes         `yaml:"message_bytes_max" min:"1KiB" max:"64MiB" doc:"Size of one request message."`
	DescriptorsMax      int           `yaml:"descriptors_max" min:"1" max:"32" doc:"Descriptors per request."`
	EntriesMax          int           `yaml:"entries_max" min:"1" max:"256" doc:"Entries of all descriptors of one request."`
	KeyBytesMax         Bytes         `yaml:"key_bytes_max" min:"1" max:"64KiB" doc:"Length of an entry's key, and of a domain."`
	ValueBytesMax       Bytes         `yaml:"value_bytes_max" min:"1" max:"1MiB" doc:"Length of an entry's value."`
	ExtAuthzDomain      string        `yaml:"ext_authz_domain" kind:"text" doc:"Domain of ext_authz requests whose route names none (context_extensions). Empty: they are refused."`
	BatchChecksMax      int           `yaml:"batch_checks_max" min:"1" max:"1000" doc:"Checks per CheckBatch request."`
	DecideTimeout       time.Duration `yaml:"decide_timeout" min:"1ms" max:"10s" doc:"How long a decision takes at most; then on_unavailable decides. On one node only those wait that a pace holds: for 7/8 of it at most."`
	HeldMax             int           `yaml:"held_max" min:"0" max:"1000000" doc:"Calls of all doors whose answers wait at once for the turn that a pace gave them, about 20 KiB each. One more is taken to be unable to wait."`
	RequestTimeout      time.Duration `yaml:"request_timeout" min:"10ms" max:"1h" doc:"How long a unary request may take from its headers to its last byte."`
	StallTimeout        time.Duration `yaml:"stall_timeout" min:"10ms" max:"1h" doc:"How long a client may leave answers untaken before it is disconnected."`
	BehindMax           time.Duration `yaml:"behind_max" min:"0" max:"1m" doc:"How late the node may be with what a connection sent before it decides new requests, over HTTP too, by on_unavailable, to be in time. 0: never."`
	ConnectionAgeMax    time.Duration `yaml:"connection_age_max" min:"0" max:"8760h" doc:"A connection is asked to go away (GOAWAY) at this age, so that clients spread over new nodes. 0: never."`
	KeepaliveInterval   time.Duration `yaml:"keepalive_interval" min:"1s" max:"24h" doc:"A silent connection is pinged after this long."`
	KeepaliveTimeout    time.Duration `yaml:"keepalive_timeout" min:"100ms" max:"1h" doc:"A connection whose ping is not answered for this long is closed."`
	KeepaliveClientMin  time.Duration `yaml:"keepalive_client_min" min:"0" max:"24h" doc:"A client that pings more often than this is disconnected."`
	TLS                 TLS           `yaml:"tls"`
}

// RLS shapes the answers to Envoy.
type RLS struct {
	RetryAfterHeader string `yaml:"retry_after_header" kind:"header" doc:"Response header that says on a denial after how many seconds the same cost could pass. Empty: none."`
	LimitHeader      string `yaml:"limit_header" kind:"header" doc:"Response header that names on a denial the limit that denied. Empty: none."`
	AmountHeader     string `yaml:"amount_header" kind:"header" doc:"Response header with the amount of the limit that is closest to being used up, on every answer that a limit counted for, if the policy chooses no headers. Empty: none."`
	RemainingHeader  string `yaml:"remaining_header" kind:"header" doc:"Response header with the units that this limit has left. Empty: none."`
	ResetHeader      string `yaml:"reset_header" kind:"header" doc:"Response header with the seconds until its counter is as if unused. Empty: none."`
	DegradedHeader   string `yaml:"degraded_header" kind:"header" doc:"Response header that says why a decision was made without its counter. Empty: none."`
}

// HTTP is the door of decisions over HTTP, probes and metrics.
type HTTP struct {
	Addr           string   `yaml:"addr" kind:"addr" doc:"Where HTTP listens: decisions (/v1/check, /v1/batch, /v1/forward-auth, /json), /healthz, /readyz and /metrics."`
	ConnectionsMax int      `yaml:"connections_max" min:"1" max:"100000" doc:"Connections open at once; more wait in the kernel's backlog."`
	TrustedProxies []string `yaml:"trusted_proxies" kind:"cidr" doc:"Networks and addresses of gateways that ask for others. Only they may say for whom (X-Forwarded-*, X-Original-*, X-Real-IP) and what to decide (X-RateLimit-*)."`
	TrustedHops    int      `yaml:"trusted_hops" min:"0" max:"16" doc:"How many addresses at the right end of X-Forwarded-For are proxies', whatever their network, before those of trusted_proxies are skipped."`
	DenyStatus     int      `yaml:"deny_status" min:"400" max:"599" doc:"Status of a denial by /v1/forward-auth: 429, or 403 for gateways that pass nothing else on."`
	TLS            TLS      `yaml:"tls"`
}

// What TLS.ClientAuth says.
const (
	ClientAuthNone     = "none"
	ClientAuthOptional = "optional"
	ClientAuthRequire  = "require"
)

// TLS encrypts a door. Without certificate and key it is not encrypted.
type TLS struct {
	CertFile     string `yaml:"cert_file" kind:"file" doc:"Certificate of the port, then those that lead to its authority. Empty, as key_file: no TLS. Changed files are taken over without a restart."`
	KeyFile      string `yaml:"key_file" kind:"file" doc:"Key of the certificate, without a passphrase. May be the same file."`
	ClientCAFile string `yaml:"client_ca_file" kind:"file" doc:"Authorities whose clients are trusted. Needs client_auth."`
	ClientAuth   string `yaml:"client_auth" oneof:"none|optional|require" doc:"Whether clients must show a certificate: require refuses those without, optional only those with one that is not trusted. Needs client_ca_file."`
	MinVersion   string `yaml:"min_version" oneof:"1.2|1.3" doc:"Oldest version of TLS that is spoken."`
}

// On reports whether the door is encrypted.
func (t *TLS) On() bool { return t.CertFile != "" || t.KeyFile != "" }

// Admin is the operator's door.
type Admin struct {
	Addr           string `yaml:"addr" kind:"addr" doc:"Where the admin API and pprof listen. Only a loopback address is accepted: there is no access control yet."`
	ConnectionsMax int    `yaml:"connections_max" min:"1" max:"10000" doc:"Connections open at once; more wait in the kernel's backlog."`
	ReadOnly       bool   `yaml:"read_only" doc:"Refuse every change through the admin API, such as headgate policy mode."`
	TopKeys        int    `yaml:"top_keys" min:"1" max:"10000" doc:"How many hot keys, and how many denied keys, are tracked."`
}

// Table bounds the counters in memory.
type Table struct {
	EntriesMax   int    `yaml:"entries_max" min:"1024" max:"17179869184" doc:"Counters in memory."`
	BytesMax     Bytes  `yaml:"bytes_max" min:"1MiB" max:"1TiB" doc:"Memory for counters."`
	SharePercent int    `yaml:"share_percent" min:"1" max:"100" doc:"Percent of the table that one domain fills at most while there are several domains."`
	OnFull       string `yaml:"on_full" oneof:"allow|deny" doc:"What a call gets whose counter finds no room."`
	Save         bool   `yaml:"save" doc:"Save counters in the data directory on a graceful stop and load them at start."`
}

// Shutdown bounds a graceful stop.
type Shutdown struct {
	DrainDelay time.Duration `yaml:"drain_delay" min:"0" max:"10m" doc:"How long the node goes on serving after /readyz turned 503, so that load balancers notice."`
	Timeout    time.Duration `yaml:"timeout" min:"100ms" max:"1h" doc:"How long a stop should take. The drain, its delay included, may take four fifths of it, then what is open is cut. The rest is for saving the counters, which itself is never cut."`
}

// DrainMax is how long the drain takes at most, its delay included: four fifths
// of Timeout, so that time is left to save the counters.
func (s *Shutdown) DrainMax() time.Duration { return s.Timeout - s.Timeout/5 }

// Metrics bounds what Prometheus sees.
type Metrics struct {
	Addr      string `yaml:"addr" kind:"addr-or-none" doc:"Where metrics are served besides http.addr, in cleartext. Empty: nowhere."`
	Path      string `yaml:"path" kind:"path" doc:"Path of the metrics at metrics.addr."`
	LimitsMax int    `yaml:"limits_max" min:"1" max:"100000" doc:"Limits with series of their own, over all domains. The others are counted together under limit=\"other\"."`
}

// Log says how the process logs, always to standard error.
type Log struct {
	Level  string `yaml:"level" oneof:"debug|info|warn|error" doc:"Least severe level that is written."`
	Format string `yaml:"format" oneof:"text|json" doc:"One line of key=value, or of JSON, per record."`
}

// Quotas bounds what the node holds of durable quotas.
type Quotas struct {
	CountersMax  int           `yaml:"counters_max" min:"1" max:"268435456" doc:"Counters of quotas that are held in memory, about 250 bytes each. A call whose counter finds no room is denied."`
	SharePercent int           `yaml:"share_percent" min:"1" max:"100" doc:"Percent of counters_max that one domain fills at most while there are several domains with quotas."`
	GrantMax     int           `yaml:"grant_max" min:"1" max:"36028797018963968" doc:"Units that are fetched ahead of need at once for one counter, at most. A crash loses what is held."`
	GrantHorizon time.Duration `yaml:"grant_horizon" min:"10ms" max:"1h" doc:"How long a grant should last at the counter's present rate, and up to 8 times as long once it has been in use for so long. Longer: fewer disk writes, and more is lost by a crash."`
	IdleReturn   time.Duration `yaml:"idle_return" min:"100ms" max:"1h" doc:"Units that were not used for so long are given back; counters that are used more often than that seldom wait for the disk."`
	StartTimeout time.Duration `yaml:"start_timeout" min:"1s" max:"1h" doc:"How long the quota store may take to open; then the policy that needs it is refused. The wait for room on a full disk does not count."`
}

// What Reservations.LateSettle says.
const (
	LateSettleCredit = "credit"
	LateSettleIgnore = "ignore"
)

// Reservations bounds the reservations of the native API.
type Reservations struct {
	Max          int    `yaml:"max" min:"1" max:"16777216" doc:"Reservations that are open or, for ten minutes after their end, remembered: about 720 bytes each with three limits. One more is denied."`
	SharePercent int    `yaml:"share_percent" min:"1" max:"100" doc:"Percent of max that one domain has at most while there are several domains; those without a policy count as one. One more is denied."`
	LateSettle   string `yaml:"late_settle" oneof:"credit|ignore" doc:"What a settlement after the reservation's lifetime does: credit counts it like one in time, ignore leaves the reservation charged in full."`
}

// Runtime tunes Go's garbage collector.
type Runtime struct {
	GCPercent   int   `yaml:"gc_percent" min:"10" max:"10000" doc:"Garbage collection target in percent of the live heap. Ignored if GOGC is set."`
	GCHeadroom  Bytes `yaml:"gc_headroom" min:"0" max:"16TiB" doc:"Memory that the garbage collector leaves unused at most, if that is less than gc_percent of the live heap; but never less than the live heap itself. 0: no bound. Ignored if GOGC is set."`
	MemoryLimit Bytes `yaml:"memory_limit" min:"0" max:"16TiB" doc:"Soft memory limit of the process: near it the garbage collector works harder. 0: none. Ignored if GOMEMLIMIT is set."`
}

// Default returns the settings of a process that is told nothing.
func Default() Config {
	return Config{
		Policy: Policy{
			OnUnknownDomain: "allow",
			Debounce:        200 * time.Millisecond,
			PollInterval:    10 * time.Second,
			XDS: XDS{
				NodeID: "headgate", AwaitInitial: true, MessageBytesMax: 16 * MiB,
				BackoffMin: time.Second, BackoffMax: time.Minute,
			},
		},
		GRPC: GRPC{
			Addr:                ":8081",
			Reflection:          true,
			ConnectionsMax:      10_000,
			StreamsMax:          1_000,
			StreamsTotalMax:     200_000,
			ConnectionBufferMax: 8 * MiB,
			MessageBytesMax:     1 * MiB,
			DescriptorsMax:      32,
			EntriesMax:          256,
			KeyBytesMax:         256,
			ValueBytesMax:       4 * KiB,
			BatchChecksMax:      1_000,
			DecideTimeout:       15 * time.Millisecond,
			HeldMax:             1_000,
			RequestTimeout:      10 * time.Second,
			StallTimeout:        20 * time.Second,
			BehindMax:           10 * time.Millisecond,
			KeepaliveInterval:   time.Minute,
			KeepaliveTimeout:    20 * time.Second,
			KeepaliveClientMin:  10 * time.Second,
			TLS:                 defaultTLS(),
		},
		RLS: RLS{
			RetryAfterHeader: "retry-after",
			LimitHeader:      "x-headgate-limit",
			DegradedHeader:   "x-headgate-degraded",
		},
		HTTP: HTTP{
			Addr: ":8080", ConnectionsMax: 1_000, TLS: defaultTLS(),
			TrustedProxies: []string{"127.0.0.0/8", "::1/128"}, DenyStatus: 429,
		},
		Admin: Admin{Addr: "127.0.0.1:8082", ConnectionsMax: 100, TopKeys: 100},
		Table: Table{
			EntriesMax:   16 << 20,
			BytesMax:     1 * GiB,
			SharePercent: 50,
			OnFull:       "allow",
			Save:         true,
		},
		Quotas: Quotas{
			CountersMax: 4 << 20, SharePercent: 50, GrantMax: 100_000, GrantHorizon: time.Second, IdleReturn: time.Minute,
			StartTimeout: 30 * time.Second,
		},
		Reservations: Reservations{Max: 1 << 18, SharePercent: 50, LateSettle: LateSettleCredit},

		Shutdown: Shutdown{DrainDelay: 5 * time.Second, Timeout: 25 * time.Second},
		Metrics:  Metrics{Path: "/metrics", LimitsMax: 1_000},
		Log:      Log{Level: "info", Format: "text"},
		Runtime:  Runtime{GCPercent: 400, GCHeadroom: 256 * MiB},
	}
}

func defaultTLS() TLS { return TLS{ClientAuth: ClientAuthNone, MinVersion: "1.2"} }

// DefaultDataDir returns the data directory of a process that is given none:
// $STATE_DIRECTORY (systemd), else /var/lib/headgate for root, else
// $XDG_STATE_HOME/headgate, else $HOME/.local/state/headgate, else
// headgate-data in the working directory.
func DefaultDataDir(getenv func(string) string, uid int) string {
	if d := getenv("STATE_DIRECTORY"); d != "" {
		return d
	}
	if uid == 0 {
		return "/var/lib/headgate"
	}
	if d := getenv("XDG_STATE_HOME"); d != "" {
		return d + "/headgate"
	}
	if d := getenv("HOME"); d != "" {
		return d + "/.local/state/headgate"
	}
	return "headgate-data"
}
