// Package wire reads and writes the protobuf wire format in place, for the doors
// whose messages are decided without becoming objects.
//
// It is not a protobuf library: it knows no message, and no field that the caller
// doesn't ask for. It accepts and refuses what proto.Unmarshal does.
//
// The main type is [Reader]. Nothing here may be used by two at a time.
//
// Errors are a bool: what is not the wire format has no finer reason.
package wire
