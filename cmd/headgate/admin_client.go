package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate/headgate/api/admin"
)

// adminBytesMax is how large an answer of the admin API may be.
const adminBytesMax = 64 << 20

// An adminClient asks the operator's door of a node.
type adminClient struct {
	addr    string
	timeout time.Duration
	user    string
}

// addAdmin gives cmd the flags that say which node to ask.
func addAdmin(cmd *cobra.Command, c *adminClient) {
	f := cmd.Flags()
	f.StringVar(&c.addr, "admin", "127.0.0.1:8082", "admin `address` of the node")
	f.DurationVar(&c.timeout, "timeout", 5*time.Second, "give up after this long")
	f.StringVar(&c.user, "user", "", "`name` that the audit log records; none: that of the operating system's user")
}

// get asks for path and reads the answer into out.
func (c *adminClient) get(ctx context.Context, path string, out any) error {
	return c.do(ctx, http.MethodGet, path, nil, out)
}

// post asks for a change and reads the answer into out.
func (c *adminClient) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return misuse(err)
	}
	return c.do(ctx, http.MethodPost, path, body, out)
}

// do makes a request and reads the JSON that answers it.
func (c *adminClient) do(ctx context.Context, method, path string, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer, err := c.ask(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, adminBytesMax))
	if err != nil {
		return trouble(fmt.Errorf("admin API of %s: %w", c.addr, err))
	}
	if err := json.Unmarshal(text, out); err != nil {
		return trouble(fmt.Errorf("admin API of %s: not what a Headgate node answers: %w", c.addr, err))
	}
	return nil
}

// download asks for a file and writes it to w. It may take as long as it needs while
// something of it comes within each timeout.
func (c *adminClient) download(ctx context.Context, path string, in any, w io.Writer) error {
	body, err := json.Marshal(in)
	if err != nil {
		return misuse(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stalled := time.AfterFunc(c.timeout, cancel)
	defer stalled.Stop()
	answer, err := c.ask(ctx, http.MethodPost, path, body)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(w, &lively{answer.Body, stalled, c.timeout}); err != nil {
		return trouble(fmt.Errorf("admin API of %s: %w", c.addr, err))
	}
	return nil
}

// A lively reader puts a timer off whenever something comes.
type lively struct {
	from    io.Reader
	timer   *time.Timer
	timeout time.Duration
}

func (l *lively) Read(b []byte) (int, error) {
	n, err := l.from.Read(b)
	l.timer.Reset(l.timeout)
	return n, err
}

// ask makes a request, whose answer has status 200 and is to be closed. What the node
// refuses is a misuse, except that it may not be able to.
func (c *adminClient) ask(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+c.addr+path, bytes.NewReader(body))
	if err != nil {
		return nil, misuse(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set(admin.UserHeader, c.caller())
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, trouble(fmt.Errorf("admin API of %s: %w", c.addr, err))
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, adminBytesMax))
	if err != nil {
		return nil, trouble(fmt.Errorf("admin API of %s: %w", c.addr, err))
	}
	err = errors.New(strings.TrimPrefix(strings.TrimSpace(string(text)), "admin: "))
	if answer.StatusCode >= http.StatusInternalServerError {
		return nil, trouble(err)
	}
	return nil, misuse(err)
}

// caller returns who the audit log should say it was.
func (c *adminClient) caller() string {
	if c.user != "" {
		return c.user
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}
