package h2

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
)

// gunzip unpacks a message, up to Config.MessageBytes.
func (s *Server) gunzip(b []byte) ([]byte, *unzipError) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, &unzipError{statusInternal, "gunzip: " + err.Error()}
	}
	most := s.cfg.MessageBytes
	out, err := io.ReadAll(io.LimitReader(z, int64(most)+1))
	switch {
	case err != nil:
		return nil, &unzipError{statusInternal, "gunzip: " + err.Error()}
	case len(out) > most:
		return nil, &unzipError{statusResourceExhausted, fmt.Sprintf("the message has more than %d bytes when unpacked", most)}
	}
	return out, nil
}

// An unzipError is why a message can't be unpacked.
type unzipError struct {
	code    uint32
	message string
}
