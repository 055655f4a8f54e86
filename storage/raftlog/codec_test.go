package raftlog

import (
	"bytes"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func FuzzDecodeEntry(f *testing.F) {
	f.Add(appendEntry(nil, &raft.Log{}))
	f.Add(appendEntry(nil, &raft.Log{
		Term: 1 << 40, Type: raft.LogConfiguration, Data: []byte("data"), Extensions: []byte("ext"), AppendedAt: time.Unix(1, 1),
	}))
	f.Add([]byte{0, 1})
	f.Add([]byte{0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var e, again raft.Log
		if err := decodeEntry(b, 7, &e); err != nil {
			return
		}
		// A varint may be longer than it has to; what it means is kept.
		if err := decodeEntry(appendEntry(nil, &e), 7, &again); err != nil {
			t.Fatal(err)
		}
		if e.Term != again.Term || e.Type != again.Type || !bytes.Equal(e.Data, again.Data) ||
			!bytes.Equal(e.Extensions, again.Extensions) || !e.AppendedAt.Equal(again.AppendedAt) || again.Index != 7 {
			t.Fatalf("%+v came back as %+v", e, again)
		}
	})
}
