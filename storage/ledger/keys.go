package ledger

import (
	"encoding/binary"
	"fmt"

	"github.com/headgate/headgate/limiter"
	"github.com/headgate/headgate/limiter/quota"
	"github.com/headgate/headgate/storage"
)

// The state is under storage.KindState and a byte that says which of two states:
// the one that counts, or the one that is being restored. In a state:
//
//	head     0                    applied purged requests (varints), quota's head
//	tenure   1 partition(2)       tenure(varint)
//	pool     2 name               quota's pool
//	request  3 name id(16)        quota's request, of exact mode
//	due      4 due(6) name id(16) nothing: there is a request, to be forgotten then
//	block    5 number(8)          requests, to be forgotten together: see block
//
// where a name is kept(6) start(5) end(5) rolling(1) key(16), all big-endian. A request is
// in one place: it has a request and a due, or is in a block. A store of format 1 has no
// blocks.
const (
	recordHead    = 0
	recordTenure  = 1
	recordPool    = 2
	recordRequest = 3
	recordDue     = 4
	recordBlock   = 5
)

// Lengths of keys, behind storage's prefix and the byte of the state.
const (
	tenureKeyBytes  = 1 + 2
	poolKeyBytes    = 1 + nameBytes
	requestKeyBytes = 1 + nameBytes + idBytes
	dueKeyBytes     = 1 + 6 + nameBytes + idBytes
	blockKeyBytes   = 1 + 8

	nameBytes = 6 + 5 + 5 + 1 + idBytes
	idBytes   = 16
	// keyBytesMax bounds a key.
	keyBytesMax = storage.PrefixBytes + 1 + dueKeyBytes
)

// stateKey returns where it says which of the two states of g counts.
func stateKey(g storage.Group) []byte { return storage.AppendPrefix(nil, g, storage.KindLedger) }

// parseStateByte reads what is there.
func parseStateByte(value []byte) (byte, error) {
	if len(value) != 1 || value[0] > 1 {
		return 0, fmt.Errorf("%x does not say which state counts", value)
	}
	return value[0], nil
}

// appendState appends what the keys of one of the two states of g begin with.
func appendState(dst []byte, g storage.Group, state byte) []byte {
	return append(storage.AppendPrefix(dst, g, storage.KindState), state)
}

// stateSpan returns the bounds of one of the two states.
func stateSpan(g storage.Group, state byte) (lower, upper []byte) {
	return appendState(nil, g, state), appendState(nil, g, state+1)
}

// A poolName names a pool.
type poolName struct {
	key    limiter.Key
	window quota.Window
}

// kept returns when a pool's record may be deleted, in Unix seconds: when neither
// its own window is accepted any more, nor one that counts what it uses. From then
// on nobody can tell whether it is still there, so nodes may delete at any time.
func kept(w quota.Window) int64 { return w.Near(int(w.Rolling)).Purges() }

// appendName appends the name of a pool. It begins with kept, so that what can be
// deleted together stands together.
func appendName(dst []byte, n poolName) []byte {
	dst = append48(dst, kept(n.window))
	dst = append40(append40(dst, n.window.Start), n.window.End)
	return appendID(append(dst, n.window.Rolling), n.key)
}

// parseName is the inverse of appendName.
func parseName(b []byte) (n poolName, err error) {
	if len(b) != nameBytes {
		return n, fmt.Errorf("%x is no name of a pool", b)
	}
	if n.window, err = parseWindow(b[6:]); err != nil || kept(n.window) != uint48(b) {
		return n, fmt.Errorf("%x is no name of a pool: its window is none", b)
	}
	n.key = parseID(b[17:])
	return n, nil
}

// parseWindow reads start(5) end(5) rolling(1).
func parseWindow(b []byte) (quota.Window, error) {
	w := quota.Window{Start: uint40(b), End: uint40(b[5:]), Rolling: b[10]}
	if w.Start >= w.End || w.End > quota.TimeMax || w.Rolling > quota.RollingMax {
		return quota.Window{}, fmt.Errorf("%x is no window", b[:windowBytes])
	}
	return w, nil
}

// A requestName names a request of exact mode.
type requestName struct {
	pool poolName
	id   limiter.Key
}

// appendRequestName appends it behind what the keys begin with.
func appendRequestName(dst []byte, n requestName) []byte {
	return appendID(appendName(dst, n.pool), n.id)
}

// parseRequestName is the inverse of appendRequestName.
func parseRequestName(b []byte) (n requestName, err error) {
	if len(b) != nameBytes+idBytes {
		return n, fmt.Errorf("%x is no name of a request", b)
	}
	n.pool, err = parseName(b[:nameBytes])
	n.id = parseID(b[nameBytes:])
	return n, err
}

func appendID(dst []byte, k limiter.Key) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, k.Hi), k.Lo)
}

func parseID(b []byte) limiter.Key {
	return limiter.Key{Hi: binary.BigEndian.Uint64(b), Lo: binary.BigEndian.Uint64(b[8:])}
}

// append48 appends six bytes, which hold what kept returns.
func append48(dst []byte, v int64) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(dst, uint16(v>>32)), uint32(v))
}

func uint48(b []byte) int64 {
	return int64(binary.BigEndian.Uint16(b))<<32 | int64(binary.BigEndian.Uint32(b[2:]))
}

// append40 appends five bytes, which hold quota.TimeMax.
func append40(dst []byte, v int64) []byte {
	return binary.BigEndian.AppendUint32(append(dst, byte(v>>32)), uint32(v))
}

func uint40(b []byte) int64 { return int64(b[0])<<32 | int64(binary.BigEndian.Uint32(b[1:])) }
