package app

import (
	"encoding/base64"
	"fmt"
	"net/http"

	"github.com/headgate/headgate/api/admin"
)

// cursorVersion is the first byte of every cursor: a place of a listing, in text that
// means nothing to others.
const cursorVersion = 1

// parseCursorText returns the bytes of a cursor, which are as many as size. No two texts
// are the same cursor.
func parseCursorText(s string, size int) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != size || b[0] != cursorVersion || cursorText(b) != s {
		return nil, badCursor(s)
	}
	return b, nil
}

func cursorText(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func badCursor(s string) error {
	return &admin.Refusal{Status: http.StatusBadRequest, Text: fmt.Sprintf("cursor: %.40q: must be what an answer had", s)}
}
