package decision_test

import (
	"io"
	"testing"

	"google.golang.org/protobuf/proto"

	headgatev1 "github.com/headgate/headgate/api/proto/headgate/v1"
)

func marshal(tb testing.TB, m proto.Message) []byte {
	tb.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// A player is a Pipe of one message, over and over.
type player struct {
	message []byte
	left    int
	out     []byte
	sent    int
}

func (p *player) Receive(use func([]byte) error) error {
	if p.left--; p.left < 0 {
		return io.EOF
	}
	return use(p.message)
}

func (p *player) Send(fill func([]byte) []byte) error {
	p.out = fill(p.out[:0])
	p.sent++
	return nil
}

func (p *player) Flush() error { return nil }

func streamRequest(n int) *headgatev1.CheckStreamRequest {
	m := &headgatev1.CheckStreamRequest{}
	for i := range n {
		m.Checks = append(m.Checks, &headgatev1.StreamCheck{Id: uint64(i), Check: request("user", "u", "remote_address", "127.0.0.1")})
	}
	return m
}
