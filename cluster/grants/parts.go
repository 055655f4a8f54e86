package grants

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/headgate/headgate/limiter/quota"
)

// The parts of a message follow each other, and so do their answers:
//
//	group(varint) count(varint) commands
//	0 results, as many as commands | 1 length(varint) the error's text
const (
	partAnswered = 0
	partFailed   = 1
)

// errorTextMax bounds the text of a part's error; what is longer is cut.
const errorTextMax = 1 << 10

// errPart is what the other node has to say about a part.
var errPart = errors.New("grants: the other node says")

func appendParts(b []byte, parts []*Part) []byte {
	for _, p := range parts {
		b = binary.AppendUvarint(b, uint64(p.Group))
		b = binary.AppendUvarint(b, uint64(len(p.Commands)))
		for i := range p.Commands {
			b = p.Commands[i].AppendTo(b)
		}
	}
	return b
}

// decodeParts reads a request: at least one part, at most one of each group, and
// quota.CommandsMax commands in all.
func decodeParts(b []byte) (parts []*Part, err error) {
	left := uint64(quota.CommandsMax)
	var groups [quota.Groups]bool
	for first := true; first || len(b) > 0; first = false {
		p, rest, err := decodePart(b, left)
		if err != nil {
			return nil, err
		}
		if groups[p.Group] {
			return nil, fmt.Errorf("%w: group %d comes twice", ErrMalformed, p.Group)
		}
		groups[p.Group] = true
		left -= uint64(len(p.Commands))
		parts, b = append(parts, p), rest
	}
	return parts, nil
}

// decodePart reads a part that may have so many commands.
func decodePart(b []byte, left uint64) (*Part, []byte, error) {
	group, n := binary.Uvarint(b)
	if n <= 0 || group >= quota.Groups {
		return nil, nil, fmt.Errorf("%w: group=%d: must be below %d", ErrMalformed, group, quota.Groups)
	}
	b = b[n:]
	count, n := binary.Uvarint(b)
	if n <= 0 || count > left {
		return nil, nil, fmt.Errorf("%w: count=%d: must be at most %d", ErrMalformed, count, left)
	}
	b = b[n:]
	p := &Part{Group: uint32(group), Commands: make([]quota.Command, 0, min(count, uint64(len(b))))}
	for len(b) > 0 && uint64(len(p.Commands)) < count {
		c, rest, err := quota.DecodeCommand(b)
		if err != nil {
			return nil, nil, fmt.Errorf("grants: command %d of group %d: %w", len(p.Commands), group, err)
		}
		p.Commands, b = append(p.Commands, c), rest
	}
	if uint64(len(p.Commands)) != count {
		return nil, nil, fmt.Errorf("%w: %d of %d commands of group %d", ErrMalformed, len(p.Commands), count, group)
	}
	return p, b, nil
}

// appendAnswers appends what became of parts.
func appendAnswers(b []byte, parts []*Part) []byte {
	for _, p := range parts {
		if p.Err != nil {
			text := p.Err.Error()
			text = text[:min(len(text), errorTextMax)]
			b = append(b, partFailed)
			b = binary.AppendUvarint(b, uint64(len(text)))
			b = append(b, text...)
			continue
		}
		b = append(b, partAnswered)
		for i := range p.Results {
			b = p.Results[i].AppendTo(b)
		}
	}
	return b
}

// decodeAnswers sets what became of parts. An error is one of all of them.
func decodeAnswers(b []byte, parts []*Part) (err error) {
	for _, p := range parts {
		if len(b) == 0 {
			return fmt.Errorf("%w: no answer about group %d", ErrMalformed, p.Group)
		}
		status := b[0]
		switch b = b[1:]; status {
		case partAnswered:
			p.Results, b, err = decodeResults(b, len(p.Commands))
		case partFailed:
			size, n := binary.Uvarint(b)
			if n <= 0 || size > errorTextMax || size > uint64(len(b)-n) {
				return fmt.Errorf("%w: the error of group %d has %d bytes", ErrMalformed, p.Group, size)
			}
			p.Err = fmt.Errorf("%w: %s", errPart, b[n:n+int(size)])
			b = b[n+int(size):]
		default:
			err = fmt.Errorf("%w: status=%d of group %d: must be %d or %d", ErrMalformed, status, p.Group, partAnswered, partFailed)
		}
		if err != nil {
			return err
		}
	}
	if len(b) > 0 {
		return fmt.Errorf("%w: %d bytes more", ErrMalformed, len(b))
	}
	return nil
}

// decodeResults reads so many results.
func decodeResults(b []byte, count int) ([]quota.Result, []byte, error) {
	results := make([]quota.Result, 0, count)
	for len(b) > 0 && len(results) < count {
		r, rest, err := quota.DecodeResult(b)
		if err != nil {
			return nil, nil, fmt.Errorf("grants: result %d: %w", len(results), err)
		}
		results, b = append(results, r), rest
	}
	if len(results) != count {
		return nil, nil, fmt.Errorf("%w: %d of %d results", ErrMalformed, len(results), count)
	}
	return results, b, nil
}
