package admin_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/headgate/headgate/api/admin"
)

func TestABackupIsAFileAndWhatIsCutOffIsSeen(t *testing.T) {
	cut := false
	s := httptest.NewServer(admin.Handler(&admin.Sources{
		ReadOnly: true,
		Backup: func(who admin.Caller, in *admin.BackupRequest) (admin.Stream, error) {
			if in.Reason == "refuse" {
				return nil, &admin.Refusal{Status: http.StatusConflict, Text: "another one is under way"}
			}
			return func(w http.ResponseWriter) error {
				_, _ = io.WriteString(w, who.User+strings.Repeat("x", 100_000))
				if cut {
					return errors.New("the store is being closed")
				}
				return nil
			}, nil
		},
	}))
	defer s.Close()
	ask := func(body, origin string) (int, string, error) {
		r, err := http.NewRequest(http.MethodPost, s.URL+"/v1/backup", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set(admin.UserHeader, "ann")
		r.Header.Set("Origin", origin)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		b, err := io.ReadAll(answer.Body)
		return answer.StatusCode, string(b), err
	}
	if code, b, err := ask("{}", ""); code != 200 || len(b) != 100_003 || !strings.HasPrefix(b, "annx") || err != nil {
		t.Errorf("%d, %d bytes, %v", code, len(b), err)
	}
	if code, b, _ := ask(`{"reason": "refuse"}`, ""); code != 409 || b != "admin: another one is under way\n" {
		t.Errorf("%d %s", code, b)
	}
	if code, b, _ := ask("{}", "https://evil.example"); code != 403 {
		t.Errorf("from a page of another origin: %d %s", code, b)
	}
	cut = true
	if code, b, err := ask("{}", ""); err == nil {
		t.Errorf("half of it is taken for all: %d, %d bytes", code, len(b))
	}
}
