package main

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestAReservationIsSettledOnceAfterTheNodeWasStopped: in order, while the call runs. When it
// is killed after that, nothing is given back a second time.
func TestAReservationIsSettledOnceAfterTheNodeWasStopped(t *testing.T) {
	t.Setenv("HEADGATE_GRPC_DECIDE_TIMEOUT", "10s") // the disk may be slow
	t.Setenv("HEADGATE_SHUTDOWN_DRAIN_DELAY", "0s") // no load balancer has to notice
	for _, mode := range []string{"escrow", "exact"} {
		t.Run(mode, func(t *testing.T) {
			v := newVictim(t, "domain: shop\nlimits:\n  - {name: budget, by: [budget], quota: 100/year, mode: "+mode+"}\n")
			post := func(path, body string) (status int, returned uint64) {
				t.Helper()
				answer, err := http.Post("http://"+v.web+path, "application/json", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				defer answer.Body.Close()
				var out struct{ Limits []struct{ Returned uint64 } }
				if err := json.NewDecoder(answer.Body).Decode(&out); err != nil {
					t.Fatal(err)
				}
				for _, l := range out.Limits {
					returned += l.Returned
				}
				return answer.StatusCode, returned
			}
			used := func(when string, want uint64) {
				t.Helper()
				if q := v.quota("budget"); q.Used != want || q.Remaining != 100-want || q.Stranded != 0 {
					t.Errorf("%s: %+v, want %d used", when, q, want)
				}
			}
			const reserve = `{"domain": "shop", "id": "7d0c2f", "attributes": {"budget": "x"}, "cost": 60}`
			const settle = `{"domain": "shop", "id": "7d0c2f", "cost": 20}`
			v.start()
			if code, _ := post("/v1/reserve", reserve); code != http.StatusOK {
				t.Fatalf("reserve: %d", code)
			}
			v.end(syscall.SIGTERM)

			v.start()
			used("after the restart", 60)
			for range 2 {
				if code, returned := post("/v1/settle", settle); code != http.StatusOK || returned != 40 {
					t.Errorf("settle: %d, %d returned", code, returned)
				}
				used("settled", 20)
			}
			v.end(os.Kill)

			v.start()
			if code, _ := post("/v1/settle", settle); code != http.StatusNotFound {
				t.Errorf("settle after a crash: %d", code)
			}
			used("after the crash", 20)
			v.end(syscall.SIGTERM)
		})
	}
}
