//go:build unix

package rest_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"
)

// BenchmarkServe asks over loopback, 64 requests at a time on kept connections;
// cpu-ns/op is the processor time of client and server together, and the client is
// the same for all. hello is net/http with a constant answer of the same size.
func BenchmarkServe(b *testing.B) {
	const check = `{"domain":"shop","attributes":{"nobody":"limits this"}}`
	h := handler(b)
	constant := ask(h, "POST", "/v1/check", check).body
	for _, c := range []struct {
		name, path, body string
		handler          http.Handler
	}{
		{"hello", "/", check, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, constant)
		})},
		{"check", "/v1/check", check, h},
		{"forward-auth", "/v1/forward-auth/shop", "", h},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := httptest.NewServer(c.handler)
			defer s.Close()
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 64}}
			defer client.CloseIdleConnections()
			b.SetParallelism(32)
			b.ReportAllocs()
			before := cpuTime(b)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					resp, err := client.Post(s.URL+c.path, "application/json", bytes.NewReader([]byte(c.body)))
					if err != nil {
						b.Error(err)
						return
					}
					if _, err = io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
						b.Errorf("%d, %v", resp.StatusCode, err)
					}
					_ = resp.Body.Close()
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkHandle is the handler's part alone, without net/http's server.
func BenchmarkHandle(b *testing.B) {
	h := handler(b)
	for name, r := range map[string]func() *http.Request{
		"check": func() *http.Request {
			return httptest.NewRequest("POST", "/v1/check", bytes.NewReader([]byte(`{"domain":"shop","attributes":{"nobody":"limits this"}}`)))
		},
		"forward-auth": func() *http.Request { return httptest.NewRequest("GET", "/v1/forward-auth/shop/a", nil) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(httptest.NewRecorder(), r())
			}
		})
	}
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
