package rpc

import (
	"sync"

	"google.golang.org/grpc/mem"
)

// bufferBytesMax is the longest buffer that is kept for another use.
const bufferBytesMax = 1 << 20

// Buffers is a mem.BufferPool of messages, in two sizes: those of clients that
// ask much at once are hundreds of times longer than the others. Unlike grpc-go's
// own pool it doesn't clear what it lends, for it is overwritten. The zero value
// is ready.
type buffers struct{ small, large sync.Pool }

const smallBytes = 4 << 10

// Get lends a buffer of n bytes, with any content.
func (p *buffers) Get(n int) *[]byte {
	pool, room := &p.small, smallBytes
	if n > smallBytes {
		pool, room = &p.large, 2*n // so that the next one, if somewhat longer, fits
	}
	b, _ := pool.Get().(*[]byte)
	if b == nil || cap(*b) < n {
		fresh := make([]byte, 0, room)
		b = &fresh
	}
	*b = (*b)[:n]
	return b
}

// Put takes b back.
func (p *buffers) Put(b *[]byte) {
	switch {
	case cap(*b) > bufferBytesMax:
	case cap(*b) > smallBytes:
		p.large.Put(b)
	default:
		p.small.Put(b)
	}
}

// reply returns a buffer of a message that fill appends, which goes back to the
// pool when it is sent.
func (p *buffers) reply(n int, fill func([]byte) []byte) mem.Buffer {
	b := p.Get(n)
	*b = fill((*b)[:0])
	return mem.NewBuffer(b, p)
}
