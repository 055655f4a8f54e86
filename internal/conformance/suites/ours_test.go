package suites_test

import (
	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/spec"
	"golang.org/x/net/http2"
)

// oursCount is how many cases ours has.
const oursCount = 4

// ours returns cases that this version of h2spec lacks or that it has wrong.
func ours() *spec.TestGroup {
	g := &spec.TestGroup{Key: "ours", Name: "Headgate's own cases"}
	g.AddTestCase(&spec.TestCase{
		Desc:        "Sends a literal field whose name has an index that is beyond both tables",
		Requirement: "RFC 7541, 2.3.3: a decoding error.",
		Run: func(c *config.Config, conn *spec.Conn) error {
			// 0x7f 0x20: with incremental indexing, name at 63 + 32; an empty value.
			return badBlock(c, conn, 0x7f, 0x20, 0x00)
		},
	})
	g.AddTestCase(&spec.TestCase{
		Desc:        "Sends a string that is the Huffman code of EOS and padding",
		Requirement: "RFC 7541, 5.2: a decoding error.",
		Run: func(c *config.Config, conn *spec.Conn) error {
			// A new name "a", and as its value 30 ones (EOS) with two of padding.
			return badBlock(c, conn, 0x00, 0x01, 'a', 0x84, 0xff, 0xff, 0xff, 0xff)
		},
	})
	g.AddTestCase(&spec.TestCase{
		Desc:        "Sends an integer that overflows",
		Requirement: "RFC 7541, 5.1: a decoding error.",
		Run: func(c *config.Config, conn *spec.Conn) error {
			return badBlock(c, conn, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)
		},
	})
	g.AddTestCase(&spec.TestCase{
		Desc:        "Sends a PING frame of 6 bytes on stream 0",
		Requirement: "RFC 9113, 6.7: a connection error of type FRAME_SIZE_ERROR.",
		Run: func(_ *config.Config, conn *spec.Conn) error {
			if err := conn.Handshake(); err != nil {
				return err
			}
			if err := conn.WriteRawFrame(http2.FramePing, 0, 0, make([]byte, 6)); err != nil {
				return err
			}
			return spec.VerifyConnectionError(conn, http2.ErrCodeFrameSize)
		},
	})
	return g
}

// badBlock sends a request whose header block ends with bytes that can't be
// decoded, and wants the connection ended for it.
func badBlock(c *config.Config, conn *spec.Conn, end ...byte) error {
	if err := conn.Handshake(); err != nil {
		return err
	}
	block := append(conn.EncodeHeaders(spec.CommonHeaders(c)), end...)
	err := conn.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, EndHeaders: true, BlockFragment: block})
	if err != nil {
		return err
	}
	return spec.VerifyConnectionError(conn, http2.ErrCodeCompression)
}
