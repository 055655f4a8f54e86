package grants

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/headgate/headgate/cluster/consensus"
	"github.com/headgate/headgate/limiter/quota"
)

// ErrMalformed means that another node's message is not what it should be.
var ErrMalformed = errors.New("grants: malformed")

// What nodes tell each other about a group begins with the format's version and
// what it is. Commands and results follow each other in their own encodings.
const (
	remoteVersion = 1

	remoteCommands = 1 // request: count(varint) commands; response: results
	remoteClock    = 2 // request: nothing; response: Unix milliseconds (varint)
)

// A Caller brings requests to other nodes: a consensus.Node, or a simulator's.
type Caller interface {
	Call(ctx context.Context, to consensus.Server, group uint32, request []byte) ([]byte, error)
}

// A Remote is the other nodes as a Driver needs them; its methods are a Config's
// Forward and Clock. What they send, the other node's [Driver.Handle] answers.
type Remote struct{ Caller Caller }

// Forward sends commands of a group to its leader and returns the answers.
func (r Remote) Forward(ctx context.Context, to consensus.Server, group uint32, commands []quota.Command) ([]quota.Result, error) {
	response, err := r.Caller.Call(ctx, to, group, appendCommands(nil, commands))
	if err != nil {
		return nil, fmt.Errorf("grants: forward %d commands of group %d: %w", len(commands), group, err)
	}
	return decodeResults(response, len(commands))
}

// Clock asks a voter for its wall clock, in Unix milliseconds.
func (r Remote) Clock(ctx context.Context, of consensus.Server) (int64, error) {
	response, err := r.Caller.Call(ctx, of, 0, []byte{remoteVersion, remoteClock})
	if err != nil {
		return 0, fmt.Errorf("grants: clock of %s: %w", of.ID, err)
	}
	at, n := binary.Uvarint(response)
	if n <= 0 || n != len(response) || at > 1000*quota.TimeMax {
		return 0, fmt.Errorf("%w: clock of %s: %d bytes", ErrMalformed, of.ID, len(response))
	}
	return int64(at), nil
}

// Handle answers what another node's Remote sent: a consensus.Handler.
func (d *Driver) Handle(ctx context.Context, group uint32, request []byte) ([]byte, error) {
	if len(request) < 2 || request[0] != remoteVersion {
		return nil, fmt.Errorf("%w: request of %d bytes: must begin with version %d", ErrMalformed, len(request), remoteVersion)
	}
	body := request[2:]
	switch request[1] {
	case remoteClock:
		return binary.AppendUvarint(nil, uint64(max(d.cfg.Wall(), 0))), nil
	case remoteCommands:
		commands, err := decodeCommands(body)
		if err != nil {
			return nil, err
		}
		results, err := d.Serve(ctx, group, commands)
		if err != nil {
			return nil, err
		}
		var b []byte
		for i := range results {
			b = results[i].AppendTo(b)
		}
		return b, nil
	default:
		return nil, fmt.Errorf("%w: request %d: must be %d or %d", ErrMalformed, request[1], remoteCommands, remoteClock)
	}
}

// appendCommands appends a request.
func appendCommands(b []byte, commands []quota.Command) []byte {
	b = append(b, remoteVersion, remoteCommands)
	b = binary.AppendUvarint(b, uint64(len(commands)))
	for i := range commands {
		b = commands[i].AppendTo(b)
	}
	return b
}

// decodeCommands reads what follows a request's kind.
func decodeCommands(b []byte) ([]quota.Command, error) {
	count, n := binary.Uvarint(b)
	if n <= 0 || count > quota.CommandsMax {
		return nil, fmt.Errorf("%w: count=%d: must be at most %d", ErrMalformed, count, quota.CommandsMax)
	}
	b = b[n:]
	commands := make([]quota.Command, 0, min(count, uint64(len(b))))
	for len(b) > 0 && uint64(len(commands)) < count {
		c, rest, err := quota.DecodeCommand(b)
		if err != nil {
			return nil, fmt.Errorf("grants: command %d: %w", len(commands), err)
		}
		commands, b = append(commands, c), rest
	}
	if uint64(len(commands)) != count || len(b) > 0 {
		return nil, fmt.Errorf("%w: %d of %d commands, and %d bytes more", ErrMalformed, len(commands), count, len(b))
	}
	return commands, nil
}

// decodeResults reads a response to so many commands.
func decodeResults(b []byte, count int) ([]quota.Result, error) {
	results := make([]quota.Result, 0, count)
	for len(b) > 0 && len(results) < count {
		r, rest, err := quota.DecodeResult(b)
		if err != nil {
			return nil, fmt.Errorf("grants: result %d: %w", len(results), err)
		}
		results, b = append(results, r), rest
	}
	if len(results) != count || len(b) > 0 {
		return nil, fmt.Errorf("%w: %d of %d results, and %d bytes more", ErrMalformed, len(results), count, len(b))
	}
	return results, nil
}
