package consensus

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestPreambleAndAnswerMeanTheSameOnBothSides(t *testing.T) {
	for _, group := range []uint32{0, 1, 7, 1 << 31, 1<<32 - 1} {
		r := bytes.NewReader(append(preamble(group), "rest"...))
		got, err := readPreamble(r)
		if err != nil || got != group || r.Len() != 4 {
			t.Errorf("group %d: %d, %v, %d bytes left", group, got, err, r.Len())
		}
	}
	for _, why := range []error{nil, errVersion, errGroup, errBusy} {
		if got := readAnswer(bytes.NewReader([]byte{byte(answerTo(why))})); !errors.Is(got, why) {
			t.Errorf("told %v, understood %v", why, got)
		}
	}
	for _, garbage := range []string{"", "\x00", "\x05", "H"} {
		if err := readAnswer(bytes.NewReader([]byte(garbage))); err == nil {
			t.Errorf("%q is a welcome", garbage)
		}
	}
	if answerTo(errMagic) != 0 || answerTo(io.ErrUnexpectedEOF) != 0 {
		t.Error("a stranger is answered")
	}
}

func FuzzPreamble(f *testing.F) {
	f.Add(preamble(7))
	f.Add([]byte("HGRF\x02\x00\x00\x00\x01"))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Add([]byte("HG"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		group, err := readPreamble(r)
		if err != nil {
			return
		}
		if read := b[:len(b)-r.Len()]; !bytes.Equal(read, preamble(group)) {
			t.Errorf("%q is group %d", read, group)
		}
	})
}
