package config

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Validate reports every setting that is out of bounds or contradicts another,
// as Problems, or nil.
func (c *Config) Validate() error {
	var ps Problems
	for _, f := range Fields(c) {
		if !f.inBounds() {
			ps = append(ps, Problem{Path: f.Path, Value: f.Text(), Bound: "must be " + f.Bound})
		}
	}
	ps = append(ps, c.GRPC.problems()...)
	ps = append(ps, c.GRPC.TLS.problems("grpc.tls.")...)
	ps = append(ps, c.HTTP.TLS.problems("http.tls.")...)
	ps = append(ps, c.Policy.XDS.problems()...)
	ps = append(ps, c.Admin.problems()...)
	ps = append(ps, c.Shutdown.problems()...)
	if len(ps) > 0 {
		return ps
	}
	return nil
}

func (x *XDS) problems() Problems {
	var ps Problems
	if x.BackoffMax < x.BackoffMin {
		ps = append(ps, Problem{Path: "policy.xds.backoff_max", Value: x.BackoffMax.String(), Bound: "must be at least policy.xds.backoff_min, " + x.BackoffMin.String()})
	}
	if (x.TLS.CertFile == "") != (x.TLS.KeyFile == "") {
		ps = append(ps, Problem{Path: "policy.xds.tls.cert_file", Value: x.TLS.CertFile, Bound: "needs policy.xds.tls.key_file, and it this"})
	}
	if !x.TLS.Enabled && (x.TLS.CAFile != "" || x.TLS.CertFile != "" || x.TLS.ServerName != "") {
		ps = append(ps, Problem{Path: "policy.xds.tls.enabled", Value: "false", Bound: "must be true where policy.xds.tls says more"})
	}
	if x.Server == "" && x.TLS.Enabled {
		ps = append(ps, Problem{Path: "policy.xds.server", Bound: "must be given where policy.xds.tls.enabled is true"})
	}
	return ps
}

func (g *GRPC) problems() Problems {
	var ps Problems
	for _, b := range []struct {
		path  string
		value Bytes
	}{{"grpc.key_bytes_max", g.KeyBytesMax}, {"grpc.value_bytes_max", g.ValueBytesMax}} {
		if b.value > g.MessageBytesMax {
			ps = append(ps, Problem{Path: b.path, Value: b.value.String(), Bound: "must be at most grpc.message_bytes_max, " + g.MessageBytesMax.String()})
		}
	}
	if g.ConnectionBufferMax < g.MessageBytesMax {
		ps = append(ps, Problem{Path: "grpc.connection_buffer_max", Value: g.ConnectionBufferMax.String(), Bound: "must be at least grpc.message_bytes_max, " + g.MessageBytesMax.String()})
	}
	if g.StreamsTotalMax < g.StreamsMax {
		ps = append(ps, Problem{Path: "grpc.streams_total_max", Value: strconv.Itoa(g.StreamsTotalMax), Bound: "must be at least grpc.streams_max, " + strconv.Itoa(g.StreamsMax)})
	}
	if g.ConnectionAgeMax > 0 && g.ConnectionAgeMax < time.Second {
		ps = append(ps, Problem{Path: "grpc.connection_age_max", Value: g.ConnectionAgeMax.String(), Bound: "must be 0 or at least 1s"})
	}
	return ps
}

// problems reports settings that lack another: who believes a door to be
// encrypted, or to know its clients, must not find out later that it does not.
func (t *TLS) problems(path string) Problems {
	var ps Problems
	needs := func(key, value, other string) {
		ps = append(ps, Problem{Path: path + key, Value: value, Bound: "needs " + path + other})
	}
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		needs("cert_file", t.CertFile, "key_file")
	case t.CertFile == "" && t.KeyFile != "":
		needs("key_file", t.KeyFile, "cert_file")
	}
	asks := t.ClientAuth == ClientAuthOptional || t.ClientAuth == ClientAuthRequire
	switch {
	case asks && t.ClientCAFile == "":
		needs("client_auth", t.ClientAuth, "client_ca_file")
	case t.ClientAuth == ClientAuthNone && t.ClientCAFile != "":
		needs("client_ca_file", t.ClientCAFile, "client_auth: require or optional")
	case asks && !t.On():
		needs("client_auth", t.ClientAuth, "cert_file and key_file")
	}
	return ps
}

func (a *Admin) problems() Problems {
	if !validAddr(a.Addr) || isLoopback(a.Addr) {
		return nil
	}
	return Problems{{
		Path: "admin.addr", Value: a.Addr,
		Bound: "must be a loopback address such as 127.0.0.1:8082: the admin API has no access control yet",
	}}
}

func (s *Shutdown) problems() Problems {
	if s.DrainDelay < s.DrainMax() {
		return nil
	}
	return Problems{{
		Path: "shutdown.drain_delay", Value: s.DrainDelay.String(),
		Bound: "must be shorter than four fifths of shutdown.timeout, " + s.DrainMax().String(),
	}}
}

// isLoopback reports whether addr, a valid one, is reached from this machine
// only.
func isLoopback(addr string) bool {
	host, _, _ := net.SplitHostPort(addr)
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// asProblems returns the problems that Validate reported.
func asProblems(err error) Problems {
	var ps Problems
	errors.As(err, &ps)
	return ps
}
