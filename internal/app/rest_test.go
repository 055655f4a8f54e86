package app

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/headgate/headgate/internal/certs/certstest"
)

// post asks the HTTP port for a decision.
func post(t *testing.T, c *http.Client, url, body string) (status int, proto, answer string) {
	t.Helper()
	r, err := c.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, r.Proto, string(b)
}

// TestTheHTTPPortDecidesAsGRPCDoes: one counter, whichever way it is asked.
func TestTheHTTPPortDecidesAsGRPCDoes(t *testing.T) {
	n := startNode(t, testConfig(t, hourly(3)))
	const body = `{"domain": "shop", "attributes": {"user": "u"}}`
	if r := check(t, n.client, "shop", "u"); r.GetRemaining() != 2 {
		t.Fatalf("gRPC: %v", r)
	}
	var got []int
	for range 3 {
		status, _, _ := post(t, http.DefaultClient, "http://"+n.HTTP+"/v1/check", body)
		got = append(got, status)
	}
	if got[0] != 200 || got[1] != 200 || got[2] != 429 {
		t.Errorf("after one by gRPC: %v", got)
	}
	if status, _, _ := post(t, http.DefaultClient, "http://"+n.HTTP+"/v1/check", `{`); status != 400 {
		t.Errorf("no JSON: %d", status)
	}
	if status, page := get(t, "http://"+n.HTTP+"/healthcheck"); status != 200 || page != "OK" {
		t.Errorf("/healthcheck: %d %q", status, page)
	}
	_, page := get(t, "http://"+n.HTTP+"/metrics")
	for _, want := range []string{"headgate_faults_total 1", "headgate_panics_total 0"} {
		if !strings.Contains(page, want) {
			t.Errorf("no metric %s", want)
		}
	}
}

func TestDecisionsOverHTTPAreEncrypted(t *testing.T) {
	ca := certstest.NewAuthority(t, "ca", time.Now())
	n := startNode(t, encryptedConfig(t, ca, t.TempDir(), "node"))
	for want, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}, ForceAttemptHTTP2: h2}
		c := &http.Client{Transport: transport, Timeout: 10 * time.Second}
		status, proto, answer := post(t, c, "https://"+n.HTTP+"/v1/check", `{"domain": "shop", "attributes": {"user": "u"}}`)
		if status != 200 || proto != want || !strings.Contains(answer, `"verdict":"allowed"`) {
			t.Errorf("%s: %d %s %s", want, status, proto, answer)
		}
		if status, _, answer := post(t, c, "https://"+n.HTTP+"/v1/forward-auth/shop", ""); status != 200 || answer != "" {
			t.Errorf("forward-auth: %d %q", status, answer)
		}
		transport.CloseIdleConnections()
	}
}
