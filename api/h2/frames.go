package h2

import "encoding/binary"

// A frameKind is the type of an HTTP/2 frame (RFC 9113 §6).
type frameKind uint8

const (
	frameData         frameKind = 0
	frameHeaders      frameKind = 1
	framePriority     frameKind = 2
	frameReset        frameKind = 3
	frameSettings     frameKind = 4
	framePush         frameKind = 5
	framePing         frameKind = 6
	frameGoAway       frameKind = 7
	frameWindowUpdate frameKind = 8
	frameContinuation frameKind = 9
)

const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// An errorCode is an HTTP/2 error code (RFC 9113 §7).
type errorCode uint32

const (
	codeNone          errorCode = 0
	codeProtocol      errorCode = 1
	codeInternal      errorCode = 2
	codeFlowControl   errorCode = 3
	codeTimeout       errorCode = 4 // SETTINGS_TIMEOUT
	codeStreamClosed  errorCode = 5
	codeFrameSize     errorCode = 6
	codeRefused       errorCode = 7
	codeCancel        errorCode = 8
	codeCompression   errorCode = 9
	codeEnhanceCalm   errorCode = 11
	codeInadequateTLS errorCode = 12
)

// The settings of RFC 9113 §6.5.2.
const (
	settingTableSize     = 1
	settingPush          = 2
	settingStreams       = 3
	settingInitialWindow = 4
	settingFrameSize     = 5
	settingListSize      = 6
)

const (
	preface          = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	frameHeaderBytes = 9
	frameBytesMax    = 16 << 10 // of a frame that we take: the protocol's default
	windowMax        = 1<<31 - 1
	defaultWindow    = 65535 // the protocol's
)

// A frameHeader is what comes before a frame's payload.
type frameHeader struct {
	length int
	kind   frameKind
	flags  uint8
	stream uint32
}

// parseFrameHeader reads the first 9 bytes of b.
func parseFrameHeader(b []byte) frameHeader {
	_ = b[8]
	return frameHeader{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   frameKind(b[3]), flags: b[4],
		stream: binary.BigEndian.Uint32(b[5:]) & windowMax,
	}
}

func appendFrameHeader(dst []byte, h frameHeader) []byte {
	return append(dst, byte(h.length>>16), byte(h.length>>8), byte(h.length), byte(h.kind), h.flags,
		byte(h.stream>>24), byte(h.stream>>16), byte(h.stream>>8), byte(h.stream))
}

// putFrameLength sets the length of the frame whose header begins b.
func putFrameLength(b []byte, n int) {
	b[0], b[1], b[2] = byte(n>>16), byte(n>>8), byte(n)
}

func appendReset(dst []byte, id uint32, code errorCode) []byte {
	dst = appendFrameHeader(dst, frameHeader{4, frameReset, 0, id})
	return binary.BigEndian.AppendUint32(dst, uint32(code))
}

func appendWindowUpdate(dst []byte, id, n uint32) []byte {
	dst = appendFrameHeader(dst, frameHeader{4, frameWindowUpdate, 0, id})
	return binary.BigEndian.AppendUint32(dst, n)
}

func appendGoAway(dst []byte, last uint32, code errorCode, reason string) []byte {
	dst = appendFrameHeader(dst, frameHeader{8 + len(reason), frameGoAway, 0, 0})
	dst = binary.BigEndian.AppendUint32(dst, last)
	dst = binary.BigEndian.AppendUint32(dst, uint32(code))
	return append(dst, reason...)
}

func appendPing(dst []byte, flags uint8, data []byte) []byte {
	return append(appendFrameHeader(dst, frameHeader{len(data), framePing, flags, 0}), data...)
}

func appendSetting(dst []byte, id uint16, value uint32) []byte {
	dst = binary.BigEndian.AppendUint16(dst, id)
	return binary.BigEndian.AppendUint32(dst, value)
}

// unpad returns the payload of a frame without padding; ok is false if there is
// more padding than payload.
func unpad(h frameHeader, payload []byte) (_ []byte, ok bool) {
	if h.flags&flagPadded == 0 {
		return payload, true
	}
	if len(payload) == 0 || int(payload[0]) > len(payload)-1 {
		return nil, false
	}
	return payload[1 : len(payload)-int(payload[0])], true
}

// A connError ends the connection: GOAWAY with code, then close.
type connError struct {
	code   errorCode
	reason string
	abuse  Abuse // what is counted
}

// Error says why.
func (e *connError) Error() string { return "h2: " + e.reason }

// protocolError is a connection error of code PROTOCOL_ERROR.
func protocolError(reason string) error {
	return &connError{codeProtocol, reason, AbuseProtocol}
}
