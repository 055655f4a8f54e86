//go:build e2e

package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rls "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

var record = flag.Bool("record", false, "write what Envoy sends to "+recordedDir)

// recordedDir holds the recordings: NAME.bin and NAME.headers.
const recordedDir = "../../api/rls/testdata/envoy-recorded"

// upstreamBody is 21 bytes long: what the stream-done recording charges.
const upstreamBody = "hello from upstream!\n"

// TestEnvoySendsWhatWasRecorded proves that the recordings, which the decoder's
// tests are built on, are what this Envoy sends. With -record it writes them.
func TestEnvoySendsWhatWasRecorded(t *testing.T) {
	upstream := listen(t)
	go http.Serve(upstream, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { //nolint:errcheck // it ends with its listener
		_, _ = io.WriteString(w, upstreamBody)
	}))
	recorder := listen(t)
	requests := make(chan recording, 8)
	go serveRecorder(recorder, requests)

	e := startEnvoy(t, "record.yaml.tmpl", map[string]string{
		"Upstream": port(t, upstream.Addr().String()),
		"Recorder": port(t, recorder.Addr().String()),
	})
	for _, name := range []string{"two-descriptors", "minimal", "addend-zero", "stream-done", "negative", "override"} {
		t.Run(name, func(t *testing.T) {
			got := oneRequest(t, e, name, requests)
			if *record {
				got.write(t, name)
				return
			}
			want := readRecording(t, name)
			if d := diffMessages(want.message, got.message); d != "" {
				t.Errorf("the message differs from the recorded one (make e2e-record writes it anew):\n%s", d)
			}
			if w, g := want.headerNames(), got.headerNames(); w != g {
				t.Errorf("header names = %s, recorded are %s", g, w)
			}
		})
	}
}

// oneRequest sends one request through Envoy and returns what reached the
// recorder because of it.
func oneRequest(t *testing.T, e *envoy, name string, requests <-chan recording) recording {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+e.listeners["gateway"]+"/"+name, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-User", "alice")
	req.Header.Set("X-Api-Key", "key-0123456789abcdef")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("answer = %s, want 200", resp.Status)
	}
	select {
	case r := <-requests:
		return r
	case <-time.After(startTimeout):
		t.Fatal("no request reached the recorder")
		return recording{}
	}
}

// A recording is one request as it stood on the wire.
type recording struct {
	headers []hpack.HeaderField
	block   []byte // the headers as HPACK
	message []byte // the protobuf message, without gRPC's 5-byte prefix
}

func (r *recording) headerNames() string {
	names := make([]string, len(r.headers))
	for i, f := range r.headers {
		names[i] = f.Name
	}
	return strings.Join(names, " ")
}

func (r *recording) write(t *testing.T, name string) {
	t.Helper()
	var text strings.Builder
	for _, f := range r.headers {
		fmt.Fprintf(&text, "%s: %s\n", f.Name, f.Value)
	}
	for ext, b := range map[string][]byte{".bin": r.message, ".headers": []byte(text.String())} {
		if err := os.WriteFile(filepath.Join(recordedDir, name+ext), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func readRecording(t *testing.T, name string) recording {
	t.Helper()
	var r recording
	var err error
	if r.message, err = os.ReadFile(filepath.Join(recordedDir, name+".bin")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(recordedDir, name+".headers"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok {
			t.Fatalf("%s.headers: %q is not `name: value`", name, line)
		}
		r.headers = append(r.headers, hpack.HeaderField{Name: name, Value: value})
	}
	return r
}

// diffMessages compares two requests by meaning; "" means that they are equal.
func diffMessages(want, got []byte) string {
	var w, g rls.RateLimitRequest
	if err := errors.Join(proto.Unmarshal(want, &w), proto.Unmarshal(got, &g)); err != nil {
		return err.Error()
	}
	if proto.Equal(&w, &g) {
		return ""
	}
	return "recorded: " + prototext.Format(&w) + "\nsent: " + prototext.Format(&g)
}

// serveRecorder answers every request on l with OK and passes it on, as it
// stood on the wire, until l is closed.
func serveRecorder(l net.Listener, requests chan<- recording) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if err := recordConn(c, requests); err != nil && !errors.Is(err, io.EOF) {
				fmt.Fprintln(os.Stderr, "recorder:", err)
			}
		}()
	}
}

// recordConn speaks just enough HTTP/2 for gRPC over one connection: frames are
// read by hand so that nothing of the request is normalised.
func recordConn(c net.Conn, requests chan<- recording) error {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c, preface); err != nil {
		return err
	}
	fr := http2.NewFramer(c, c)
	dec := hpack.NewDecoder(4096, nil)
	if err := fr.WriteSettings(); err != nil {
		return err
	}
	open := map[uint32]*recording{}
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return err
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				err = fr.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				err = fr.WritePing(true, f.Data)
			}
		case *http2.HeadersFrame:
			if !f.HeadersEnded() {
				return fmt.Errorf("stream %d: headers in several frames", f.StreamID)
			}
			r := &recording{block: bytes.Clone(f.HeaderBlockFragment())}
			if r.headers, err = dec.DecodeFull(r.block); err != nil {
				return err
			}
			open[f.StreamID] = r
		case *http2.DataFrame:
			r := open[f.StreamID]
			r.message = append(r.message, f.Data()...)
			if !f.StreamEnded() {
				continue
			}
			delete(open, f.StreamID)
			if len(r.message) < 5 || r.message[0] != 0 || int(binary.BigEndian.Uint32(r.message[1:5])) != len(r.message)-5 {
				return fmt.Errorf("stream %d: not one uncompressed gRPC message: %x", f.StreamID, r.message)
			}
			r.message = r.message[5:]
			requests <- *r
			err = answerOK(fr, f.StreamID)
		}
		if err != nil {
			return err
		}
	}
}

// answerOK writes a RateLimitResponse with overall_code OK.
func answerOK(fr *http2.Framer, stream uint32) error {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	enc.SetMaxDynamicTableSize(0)
	fields := func(pairs ...string) []byte {
		block.Reset()
		for i := 0; i < len(pairs); i += 2 {
			_ = enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}) // a Buffer never fails
		}
		return block.Bytes()
	}
	err := fr.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, EndHeaders: true,
		BlockFragment: fields(":status", "200", "content-type", "application/grpc"),
	})
	if err != nil {
		return err
	}
	if err := fr.WriteData(stream, false, []byte{0, 0, 0, 0, 2, 8, 1}); err != nil {
		return err
	}
	return fr.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, EndHeaders: true, EndStream: true,
		BlockFragment: fields("grpc-status", "0"),
	})
}
