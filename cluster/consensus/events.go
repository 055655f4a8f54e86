package consensus

import (
	"io"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
)

// Events are told what happens in the groups; each may be nil. They are called
// from raft's goroutines: they must return at once, and must not call the Node.
type Events struct {
	// Leader: a group's leader changed, as this node sees it. The zero Server is
	// nobody. What is told is the newest: two changes at once are told as one.
	Leader func(group uint32, leader Server)

	// Followed: entries of a group that another node leads came from it, and are about to
	// be stored.
	Followed func(group uint32)

	// Handed: this node gave a group that it led to another node, to spread
	// leadership or because it stops, or could not (err).
	Handed func(group uint32, to Server, err error)

	// Refused: a connection from remote was closed before it reached a group;
	// remote is empty if there was not even a connection.
	Refused func(remote string, err error)

	// Log: raft has something to say about a group. The attributes are pairs of a
	// string and a value. Debug is not told. While the node stops, it is all Info:
	// leaders are replaced, and connections closed under raft; Handed tells what fails.
	Log func(group uint32, severity Severity, msg string, attrs []any)
}

// A Severity is how much an event matters.
type Severity uint8

// The severities.
const (
	Info Severity = iota
	Warn
	Error
)

func (e *Events) refused(remote string, err error) {
	if e.Refused != nil {
		e.Refused(remote, err)
	}
}

func (e *Events) leader(group uint32, leader Server) {
	if e.Leader != nil {
		e.Leader(group, leader)
	}
}

func (e *Events) handed(group uint32, to Server, err error) {
	if e.Handed != nil {
		e.Handed(group, to, err)
	}
}

// logger returns raft's logger of a group, which ends with the node: it writes nothing and
// tells Events.Log.
func (e *Events) logger(group uint32, ended *atomic.Bool) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Level: hclog.Off, Output: io.Discard})
	if e.Log != nil {
		l.RegisterSink(&logSink{group: group, ended: ended, log: e.Log})
	}
	return l
}

// A logSink is one group's hclog.SinkAdapter.
type logSink struct {
	group uint32
	ended *atomic.Bool
	log   func(group uint32, severity Severity, msg string, attrs []any)
}

// Accept implements hclog.SinkAdapter.
func (s *logSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	if s.ended.Load() {
		level = min(level, hclog.Info)
	}
	switch {
	case level >= hclog.Error:
		s.log(s.group, Error, msg, args)
	case level == hclog.Warn:
		s.log(s.group, Warn, msg, args)
	case level == hclog.Info:
		s.log(s.group, Info, msg, args)
	}
}
