package hpack

import (
	"errors"
	"fmt"
)

var (
	// ErrCompression says that a block can't be decoded. The two sides' tables
	// differ from now on: it is a connection error, COMPRESSION_ERROR.
	ErrCompression = errors.New("hpack: malformed header block")
	// ErrListTooLong says that a block was decoded to its end and holds more
	// than the bound allows. The connection is in order, the request is not.
	ErrListTooLong = errors.New("hpack: header list too long")
)

// malformed returns an ErrCompression that says what is wrong at an octet of
// the block, counted from 0.
func malformed(at int, format string, args ...any) error {
	return fmt.Errorf("%w: octet %d: %s", ErrCompression, at, fmt.Sprintf(format, args...))
}
