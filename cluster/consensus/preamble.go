package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// What opens every connection: the magic, the version of this format, and the
// group, big endian; callsGroup is none. The other side answers with one byte, and
// from then on the connection is raft's, or the calls'.
const (
	preambleMagic   = "HGRF"
	preambleVersion = 1
	preambleBytes   = len(preambleMagic) + 1 + 4
)

// An answer to a preamble.
type answer byte

const (
	answerWelcome answer = iota + 1 // what follows is raft's
	answerVersion                   // the version is not known here
	answerGroup                     // no such group on this node
	answerBusy                      // no room for another connection
)

// Why a connection was refused. Both sides see the same error.
var (
	errMagic   = errors.New("consensus: not a raft connection")
	errVersion = errors.New("consensus: unknown version of the preamble")
	errGroup   = errors.New("consensus: no such group")
	errBusy    = errors.New("consensus: too many connections")
	errAlone   = errors.New("consensus: this node has no port, and dials nobody")
)

// preamble returns what a connection of the group starts with.
func preamble(group uint32) []byte {
	b := append(make([]byte, 0, preambleBytes), preambleMagic...)
	b = append(b, preambleVersion)
	return binary.BigEndian.AppendUint32(b, group)
}

// readPreamble reads a preamble and returns its group: errMagic, errVersion or
// the reader's error otherwise. It reads not one byte more.
func readPreamble(r io.Reader) (group uint32, err error) {
	var b [preambleBytes]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, fmt.Errorf("consensus: read preamble: %w", err)
	}
	if string(b[:len(preambleMagic)]) != preambleMagic {
		return 0, errMagic
	}
	if v := b[len(preambleMagic)]; v != preambleVersion {
		return 0, fmt.Errorf("%w: %d, not %d", errVersion, v, preambleVersion)
	}
	return binary.BigEndian.Uint32(b[len(preambleMagic)+1:]), nil
}

// answerTo returns what a refusal is called on the wire; 0 is nothing: the other
// side does not speak our language.
func answerTo(err error) answer {
	switch {
	case err == nil:
		return answerWelcome
	case errors.Is(err, errVersion):
		return answerVersion
	case errors.Is(err, errGroup):
		return answerGroup
	case errors.Is(err, errBusy):
		return answerBusy
	default:
		return 0
	}
}

// readAnswer reads the other side's answer: nil is a welcome.
func readAnswer(r io.Reader) error {
	var b [1]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return fmt.Errorf("consensus: read answer: %w", err)
	}
	switch answer(b[0]) {
	case answerWelcome:
		return nil
	case answerVersion:
		return errVersion
	case answerGroup:
		return errGroup
	case answerBusy:
		return errBusy
	default:
		return fmt.Errorf("%w: answer %d", errMagic, b[0])
	}
}
