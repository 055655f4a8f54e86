package backup

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"strconv"
	"time"

	"github.com/headgate/headgate/storage/ledger"
)

// Contents are what goes into a backup.
type Contents struct {
	MadeAt time.Time
	Build  string // the version of Headgate
	Store  string // the id of the store
	Secret [SecretBytes]byte
	// Groups write a snapshot each, such as ledger.Export does, in order; at most GroupsMax.
	Groups []func(io.Writer) (ledger.Summary, error)
}

// Write writes a backup of c to w, and returns its manifest. What w has after an error is
// no backup, and Read says so.
func Write(w io.Writer, c *Contents) (*Manifest, error) {
	to := &writer{to: w, sum: sha256.New()}
	m := &Manifest{MadeAt: c.MadeAt.UTC(), Build: c.Build, Store: c.Store}
	err := to.write([]byte(magic + strconv.Itoa(Format) + "\n"))
	if err == nil {
		err = to.section(sectionSecret, func(w io.Writer) error {
			_, err := w.Write(c.Secret[:])
			return err
		})
	}
	for i := 0; i < len(c.Groups) && err == nil; i++ {
		err = to.section(sectionGroup, func(w io.Writer) error {
			s, err := c.Groups[i](w)
			m.Groups = append(m.Groups, s)
			return err
		})
	}
	if err == nil {
		err = to.section(sectionManifest, func(w io.Writer) error { return json.NewEncoder(w).Encode(m) })
	}
	if err == nil {
		err = to.write([]byte{sectionEnd})
	}
	if err == nil {
		err = to.write(to.sum.Sum(nil))
	}
	if err != nil {
		return nil, fmt.Errorf("backup: write: %w", err)
	}
	return m, nil
}

// A writer sums up what it writes.
type writer struct {
	to  io.Writer
	sum hash.Hash
}

func (w *writer) write(b []byte) error {
	_, _ = w.sum.Write(b) // never fails
	_, err := w.to.Write(b)
	return err
}

// section writes what fill writes, as chunks.
func (w *writer) section(kind byte, fill func(io.Writer) error) error {
	if err := w.write([]byte{kind}); err != nil {
		return err
	}
	buffer := bufio.NewWriterSize(chunks{w}, chunkBytes)
	if err := fill(buffer); err != nil {
		return err
	}
	if err := buffer.Flush(); err != nil {
		return err
	}
	return w.write(make([]byte, 4))
}

// chunks writes each Write as chunks.
type chunks struct{ to *writer }

func (c chunks) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		part := b[:min(len(b), chunkBytes)]
		if err := c.to.write(binary.BigEndian.AppendUint32(nil, uint32(len(part)))); err != nil {
			return n, err
		}
		if err := c.to.write(part); err != nil {
			return n, err
		}
		n += len(part)
		b = b[len(part):]
	}
	return n, nil
}
