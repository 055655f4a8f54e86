package quota

import (
	"encoding/binary"
	"fmt"
)

// A Batch is one entry of a group's log.
type Batch struct {
	// At is the group's time, in Unix milliseconds: what is over by it for long enough
	// is forgotten. Ahead is by how much the leader's clock was ahead of it: that
	// opens windows. A [Stamper] tells both.
	At, Ahead int64
	Commands  []Command
}

// Bounds of a Batch.
const (
	// CommandsMax bounds the commands of one entry.
	CommandsMax = 1024
	// BatchBytesMax bounds an entry's bytes.
	BatchBytesMax = 256 << 10
	// CommandBytesMax is more than the longest command has.
	CommandBytesMax = 128
)

// AppendTo appends b to buf as
//
//	version(1) at(varint) ahead(varint) count(varint) commands
//
// An entry of version 1 has no ahead, and commands without Spent (but OpClose) and Waived.
// The sender keeps the bounds: [DecodeBatch] refuses what is beyond them.
func (b *Batch) AppendTo(buf []byte) []byte {
	buf = append(buf, formatTold)
	buf = binary.AppendUvarint(buf, uint64(b.At))
	buf = binary.AppendUvarint(buf, uint64(b.Ahead))
	buf = binary.AppendUvarint(buf, uint64(len(b.Commands)))
	for i := range b.Commands {
		buf = b.Commands[i].AppendTo(buf)
	}
	return buf
}

// DecodeBatch reads a whole entry into b, whose Commands it reuses. Nothing of
// entry is kept. Errors wrap [ErrVersion] or [ErrMalformed], and leave b empty.
func DecodeBatch(entry []byte, b *Batch) error {
	commands := b.Commands[:0]
	*b = Batch{Commands: commands}
	if len(entry) > BatchBytesMax {
		return fmt.Errorf("%w: entry of %d bytes: must be at most %d", ErrMalformed, len(entry), BatchBytesMax)
	}
	r := reader{b: entry}
	r.first = r.versions("entry", formatTold) < formatTold
	at, ahead := int64(r.uint("at", 1000*TimeMax)), int64(0)
	if !r.first {
		ahead = r.ahead(at)
	}
	count := int(r.uint("count", CommandsMax))
	for range count {
		commands = append(commands, r.command())
		if r.err != nil {
			return fmt.Errorf("command %d: %w", len(commands)-1, r.err)
		}
	}
	if err := r.end(); err != nil {
		return err
	}
	b.At, b.Ahead, b.Commands = at, ahead, commands
	return nil
}
