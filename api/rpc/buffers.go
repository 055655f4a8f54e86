package rpc

import "sync"

const (
	smallBytes = 4 << 10
	// bufferBytesMax is the longest buffer that is kept for another use.
	bufferBytesMax = 1 << 20
)

// Buffers is a pool of messages, in two sizes: those of clients that ask much at
// once are hundreds of times longer than the others. The zero value is ready.
type buffers struct{ small, large sync.Pool }

// Get lends a buffer of n bytes, with any content.
func (p *buffers) Get(n int) *[]byte {
	pool, room := &p.small, smallBytes
	if n > smallBytes {
		pool, room = &p.large, n
	}
	b, _ := pool.Get().(*[]byte)
	if b == nil || cap(*b) < n {
		fresh := make([]byte, n, max(n, room))
		return &fresh
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
