package rpc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/headgate/headgate/api"
)

// A dribble is a body that comes in pieces.
type dribble struct {
	rest  []byte
	piece func() int
}

func (d *dribble) Read(p []byte) (int, error) {
	if len(d.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), d.piece())], d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

func framed(messages ...string) []byte {
	var b []byte
	for _, m := range messages {
		b = binary.BigEndian.AppendUint32(append(b, 0), uint32(len(m)))
		b = append(b, m...)
	}
	return b
}

func newPipe(t *testing.T, body io.Reader) *pipe {
	t.Helper()
	return &pipe{ctx: t.Context(), body: body, out: httptest.NewRecorder(), pool: new(buffers), most: 1 << 20}
}

func TestMessagesArriveWholeHoweverTheyAreCut(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		lengths := rapid.SampledFrom([]int{0, 1, 5, 100, 4 << 10, inboxBytes - 5, inboxBytes, 3 * inboxBytes, 1 << 20})
		var want []string
		for i := range rapid.IntRange(0, 8).Draw(r, "messages") {
			want = append(want, strings.Repeat(string(rune('a'+i)), lengths.Draw(r, "length")))
		}
		pieces := rapid.SampledFrom([]int{1, 3, 5, 6, 1000, 16 << 10, 1 << 20})
		largest := pieces.Draw(r, "pieces")
		p := newPipe(t, &dribble{framed(want...), func() int { return max(largest, pieces.Draw(r, "piece")) }})
		for i := 0; ; i++ {
			got := ""
			err := p.Receive(func(in []byte) error { got = string(in); return nil })
			if i == len(want) {
				if !errors.Is(err, io.EOF) || p.in != nil {
					r.Fatalf("after the last message: %v; a buffer is held: %v", err, p.in != nil)
				}
				return
			}
			if err != nil || got != want[i] {
				r.Fatalf("message %d: %d bytes, %v, want %d bytes", i, len(got), err, len(want[i]))
			}
		}
	})
}

func TestAPipeRefusesWhatIsNoMessage(t *testing.T) {
	for _, c := range []struct {
		name, text string
		body       []byte
		code       codes.Code
	}{
		{"a compressed message", "only identity", []byte{1, 0, 0, 0, 0}, codes.Unimplemented},
		{"a message that is too long", "1048577 bytes: at most 1048576 bytes", []byte{0, 0, 16, 0, 1}, codes.ResourceExhausted},
		{"an end within a length", "message: must be whole", []byte{0, 0, 0}, codes.InvalidArgument},
		{"an end within a message", "message: must be whole", framed("message")[:8], codes.InvalidArgument},
	} {
		p := newPipe(t, bytes.NewReader(c.body))
		err := p.Receive(func([]byte) error { t.Errorf("%s: used", c.name); return nil })
		var fault *api.Fault
		if errors.As(err, &fault) {
			err = api.Status(err)
		}
		if status.Code(err) != c.code || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A length alone costs no more than a small buffer.
func TestAPipeBelievesNoLengthBeforeItsBytes(t *testing.T) {
	p := newPipe(t, bytes.NewReader([]byte{0, 0, 16, 0, 0}))
	_ = p.Receive(func([]byte) error { return nil })
	if cap(*p.in) > 2*inboxBytes {
		t.Fatalf("%d bytes are held", cap(*p.in))
	}
}
