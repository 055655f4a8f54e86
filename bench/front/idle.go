package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	common "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rls "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
)

const (
	dialers     = 32               // connections that are being opened at once
	openTimeout = 20 * time.Second // of one
)

// allowFiles raises how many files this process may have open.
func allowFiles(n int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	if limit.Cur >= uint64(n) {
		return nil
	}
	if limit.Max < uint64(n) {
		return fmt.Errorf("%d open files are needed, and `ulimit -Hn` allows %d: raise it, or lower -idle", n, limit.Max)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the limit of open files to %d: %w", limit.Max, err)
	}
	return nil
}

// growth opens n connections to s, makes one request on each, and returns how
// many KiB of memory s has more for each once they were idle for so long.
func growth(ctx context.Context, s *server, n int, settle time.Duration) (float64, error) {
	request, err := firstRequest()
	if err != nil {
		return 0, err
	}
	before, err := s.rss()
	if err != nil {
		return 0, err
	}
	conns := make([]net.Conn, n)
	errs := make([]error, dialers)
	var wg sync.WaitGroup
	for d := range dialers {
		wg.Go(func() {
			for i := d; i < n && errs[d] == nil; i += dialers {
				conns[i], errs[d] = openIdle(ctx, s.addr, request)
			}
		})
	}
	wg.Wait()
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-time.After(settle):
	}
	after, err := s.rss()
	return float64(after-before) / 1024 / float64(n), err
}

// firstRequest returns the bytes of a connection that makes one request.
func firstRequest() ([]byte, error) {
	message, err := proto.Marshal(&rls.RateLimitRequest{
		Domain: "bench",
		Descriptors: []*common.RateLimitDescriptor{
			{Entries: []*common.RateLimitDescriptor_Entry{{Key: "key", Value: "idle"}}},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encode a request: %w", err)
	}
	var block, out bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range []hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: "http"},
		{Name: ":path", Value: rls.RateLimitService_ShouldRateLimit_FullMethodName},
		{Name: ":authority", Value: "bench"},
		{Name: "content-type", Value: "application/grpc"},
		{Name: "te", Value: "trailers"},
	} {
		_ = enc.WriteField(f) // a Buffer takes everything
	}
	out.WriteString(http2.ClientPreface)
	fr := http2.NewFramer(&out, nil)
	err = errors.Join(
		fr.WriteSettings(),
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true}),
		fr.WriteData(1, true, append([]byte{0, 0, 0, 0, byte(len(message))}, message...)),
	)
	return out.Bytes(), err
}

// openIdle opens a connection and waits for the answer to its request.
func openIdle(ctx context.Context, addr string, request []byte) (net.Conn, error) {
	d := net.Dialer{Timeout: openTimeout}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("open a connection: %w", err)
	}
	if err := awaitAnswer(c, request); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func awaitAnswer(c net.Conn, request []byte) error {
	if err := c.SetDeadline(time.Now().Add(openTimeout)); err != nil {
		return fmt.Errorf("open a connection: %w", err)
	}
	if _, err := c.Write(request); err != nil {
		return fmt.Errorf("make a request: %w", err)
	}
	fr := http2.NewFramer(c, c)
	answered := false
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return fmt.Errorf("wait for an answer: %w", err)
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if f.IsAck() {
				continue
			}
			if err := fr.WriteSettingsAck(); err != nil {
				return fmt.Errorf("acknowledge SETTINGS: %w", err)
			}
		case *http2.DataFrame:
			answered = answered || len(f.Data()) > 0
		case *http2.HeadersFrame:
			switch {
			case f.StreamEnded() && answered:
				return nil
			case f.StreamEnded():
				return errors.New("wait for an answer: the server has none but a status")
			}
		case *http2.GoAwayFrame, *http2.RSTStreamFrame:
			return fmt.Errorf("wait for an answer: the server says %v", f)
		}
	}
}
