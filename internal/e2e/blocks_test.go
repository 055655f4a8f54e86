//go:build e2e

package e2e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// blocksFile holds the header blocks of the first requests of one connection,
// each as a line of hexadecimal digits.
const blocksFile = recordedDir + "/two-descriptors.blocks"

// blocksRecorded is how many: from the second on they differ in fresh values
// only, until those have filled the table.
const blocksRecorded = 60

// TestEnvoyEncodesHeadersAsWasRecorded proves that the header blocks which the
// load generator imitates are encoded as this Envoy does. With -record it writes
// them.
func TestEnvoyEncodesHeadersAsWasRecorded(t *testing.T) {
	upstream := listen(t)
	go http.Serve(upstream, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { //nolint:errcheck // it ends with its listener
		_, _ = io.WriteString(w, upstreamBody)
	}))
	recorder := listen(t)
	requests := make(chan recording, 8)
	go serveRecorder(recorder, requests)
	e := startEnvoy(t, "record.yaml.tmpl", map[string]string{
		"Upstream": port(t, upstream.Addr().String()),
		"Recorder": port(t, recorder.Addr().String()),
	})
	var got [][]byte
	for range blocksRecorded {
		r := oneRequest(t, e, "two-descriptors", requests)
		got = append(got, r.block)
	}
	if *record {
		var text bytes.Buffer
		for _, b := range got {
			fmt.Fprintf(&text, "%x\n", b)
		}
		if err := os.WriteFile(filepath.Clean(blocksFile), text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(blocksFile)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(text))
	if len(lines) != len(got) {
		t.Fatalf("%d blocks are recorded, want %d", len(lines), len(got))
	}
	for i, line := range lines {
		want, err := hex.DecodeString(line)
		if err != nil {
			t.Fatal(err)
		}
		if w, g := representations(t, want), representations(t, got[i]); w != g {
			t.Errorf("block %d is encoded as\n%s\nrecorded was\n%s", i, g, w)
		}
	}
}

// representations says how each field of a block is encoded, whatever its value
// is: RFC 7541, section 6.
func representations(t *testing.T, b []byte) string {
	t.Helper()
	var out strings.Builder
	number := func(bits int) int {
		limit := 1<<bits - 1
		n := int(b[0]) & limit
		b = b[1:]
		for shift := 0; n >= limit; shift += 7 {
			c := b[0]
			b = b[1:]
			n += int(c&0x7f) << shift
			if c < 0x80 {
				break
			}
		}
		return n
	}
	text := func() string {
		huffman := b[0]&0x80 != 0
		n := number(7)
		b = b[n:]
		if huffman {
			return " huffman"
		}
		return " plain"
	}
	for len(b) > 0 {
		kind, bits := "literal", 4
		switch {
		case b[0]&0x80 != 0:
			fmt.Fprintf(&out, "indexed %d\n", number(7))
			continue
		case b[0]&0xc0 == 0x40:
			kind, bits = "incremental", 6
		case b[0]&0xe0 == 0x20:
			fmt.Fprintf(&out, "table size %d\n", number(5))
			continue
		case b[0]&0xf0 == 0x10:
			kind = "never indexed"
		}
		index := number(bits)
		fmt.Fprintf(&out, "%s %d", kind, index)
		if index == 0 {
			out.WriteString(" name" + text())
		}
		out.WriteString(" value" + text() + "\n")
	}
	return out.String()
}
