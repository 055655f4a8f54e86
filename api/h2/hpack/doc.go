// Package hpack decodes the header blocks of HTTP/2 (RFC 7541) without
// allocating, for a server that reads nearly the same fields in every request.
//
// A [Decoder] belongs to one connection. It keeps one number, a tag, beside
// each entry of its tables, so that a field that was seen before is known
// without looking at its text: see [Decoder.Init]. Its memory has a maximum that
// no input can pass. It checks what RFC 7541 asks for; whether names and values
// make a valid request is the caller's to say.
//
// The package is no encoder: the Append functions write single representations,
// never use Huffman coding and know no dynamic table, which is all that constant
// answers need.
//
// A Decoder is not safe for concurrent use; the functions are. Errors are
// [ErrCompression], which ends the connection, and [ErrListTooLong], which ends
// the stream only. tables.go is generated from the lengths of the code and the
// static table in tables_test.go.
package hpack
