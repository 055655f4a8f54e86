//go:build e2e

package e2e

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// TestEnvoyAsksExtAuthzAsWasRecorded is for ext_authz what
// TestEnvoySendsWhatWasRecorded is for the rate limit service. Its Envoy has the
// configuration of docs/guides/envoy-ext-authz.md.
func TestEnvoyAsksExtAuthzAsWasRecorded(t *testing.T) {
	recorder := listen(t)
	requests := make(chan recording, 8)
	go serveRecorder(recorder, requests)
	k := &kitchen{
		recipe:   recipe{guide: "docs/guides/envoy-ext-authz.md"},
		headgate: &headgate{grpc: recorder.Addr().String(), http: freeAddr(t)},
		upstream: startUpstream(t), gateway: freeAddr(t), dir: t.TempDir(),
	}
	extAuthz("envoy.yaml, gRPC", true)(t, k)
	for _, c := range []struct {
		name   string
		fields []string
	}{
		{"post", []string{"X-Api-Key", "0123"}},
		{"post-through-proxies", []string{"X-Api-Key", "0123", "X-Forwarded-For", "192.0.2.1", "X-User", "alice", "Authorization", "Bearer 1234"}},
	} {
		if a := k.ask(t, 20, http.MethodPost, "/orders?page=2", "a body", c.fields...); a.code != allowed {
			t.Fatalf("%s: %+v", c.name, a)
		}
		var got recording
		select {
		case got = <-requests:
		case <-time.After(startTimeout):
			t.Fatal("no request reached the recorder")
		}
		file := filepath.Join("../../api/authz/testdata/envoy-recorded", c.name+".bin")
		if *record {
			if err := os.WriteFile(file, got.message, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := diffChecks(t, want, got.message); d != "" {
			t.Errorf("%s differs from the recorded one (make e2e-record writes it anew):\n%s", c.name, d)
		}
	}
}

// diffChecks compares two requests but for what is fresh each time; "" means that
// they are equal.
func diffChecks(t *testing.T, want, got []byte) string {
	t.Helper()
	var w, g authv3.CheckRequest
	if err := errors.Join(proto.Unmarshal(want, &w), proto.Unmarshal(got, &g)); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*authv3.CheckRequest{&w, &g} {
		a := m.GetAttributes()
		a.GetRequest().Time, a.GetRequest().GetHttp().Id = nil, ""
		delete(a.GetRequest().GetHttp().GetHeaders(), "x-request-id")
		for _, p := range []*authv3.AttributeContext_Peer{a.GetSource(), a.GetDestination()} {
			p.GetAddress().GetSocketAddress().PortSpecifier = &corev3.SocketAddress_PortValue{}
		}
	}
	if proto.Equal(&w, &g) {
		return ""
	}
	return "recorded: " + prototext.Format(&w) + "\nsent: " + prototext.Format(&g)
}
