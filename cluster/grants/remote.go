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

// What nodes tell each other begins with the format's version and what it is.
const (
	remoteVersion = 2

	remoteCommands = 1 // parts: see parts.go
	remoteClock    = 2 // request: nothing; response: Unix milliseconds (varint)
)

// A Caller brings requests to other nodes: a consensus.Node, or a simulator's.
type Caller interface {
	Call(ctx context.Context, to consensus.Server, group uint32, request []byte) ([]byte, error)
}

// A Remote is the other nodes as a Driver needs them; its methods are a Config's
// Forward and Clock. What they send, the other node's [Driver.Handle] answers.
type Remote struct{ Caller Caller }

// Forward sends commands to the node that leads their groups, and sets what became of
// each part.
func (r Remote) Forward(ctx context.Context, to consensus.Server, parts []*Part) {
	response, err := r.Caller.Call(ctx, to, parts[0].Group, appendParts([]byte{remoteVersion, remoteCommands}, parts))
	if err == nil {
		err = decodeAnswers(response, parts)
	}
	if err == nil {
		return
	}
	for _, p := range parts {
		p.Results, p.Err = nil, fmt.Errorf("grants: forward %d commands of group %d: %w", len(p.Commands), p.Group, err)
	}
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
func (d *Driver) Handle(ctx context.Context, _ uint32, request []byte) ([]byte, error) {
	if len(request) < 2 || request[0] != remoteVersion {
		return nil, fmt.Errorf("%w: request of %d bytes: must begin with version %d", ErrMalformed, len(request), remoteVersion)
	}
	body := request[2:]
	switch request[1] {
	case remoteClock:
		return binary.AppendUvarint(nil, uint64(max(d.cfg.Wall(), 0))), nil
	case remoteCommands:
		parts, err := decodeParts(body)
		if err != nil {
			return nil, err
		}
		d.serve(ctx, parts)
		return appendAnswers(nil, parts), nil
	default:
		return nil, fmt.Errorf("%w: request %d: must be %d or %d", ErrMalformed, request[1], remoteCommands, remoteClock)
	}
}
