package hpack

import "fmt"

// TableSizeMax is the largest dynamic table that a Decoder keeps, bytes.
const TableSizeMax = 65536

const (
	// A peer's encoder starts with this size (RFC 9113 §6.5.2), whatever our
	// settings say, until it has read them.
	tableSizeInitial = 4096
	// textMin is the first size of a buffer, bytes.
	textMin = 256
	// updatesMax is how many size updates a block may begin with (RFC 7541 §4.2).
	updatesMax = 2
)

// A Field is one header field. Name and Value are views: they are valid until
// the next call of Decode, and nobody may write to them.
type Field struct {
	Name, Value []byte
	// Tag is what the Decoder's classify has returned for the field.
	Tag uint32
	// Sensitive says that the peer asks never to compress the field.
	Sensitive bool
}

// A Decoder decodes the header blocks of one connection, in order. The zero
// value must be given to Init before use. It is not safe for concurrent use.
//
// Memory: a Decoder grows with what it has seen. With a table of T bytes (the
// larger of tableSizeMax and 4096) and lists of L bytes it holds at most
// 3·T + L + 2048 bytes between blocks. During a block it may replace buffers
// that the block's fields still point to: at most 5·T + 6·L bytes more, which
// are garbage at the next block. A connection that has sent few and short
// headers holds less than 2048 bytes, a long one with a table of 4096 bytes and
// short literals less than 8192.
type Decoder struct {
	table    dynamicTable
	scratch  []byte // strings of the present block that no entry keeps
	memo     memo
	left     int // how much of listMax the present block has left; -1: too long
	listMax  int
	sizeMax  uint32 // the largest size update
	settings uint32 // what sizeMax becomes once the settings are acknowledged
	err      error  // the ErrCompression that ended the connection
	classify func(name, value []byte) uint32
	tags     [staticCount + 1]uint32
}

// New returns a Decoder: see Init.
func New(tableSizeMax uint32, listBytesMax int, classify func(name, value []byte) uint32) *Decoder {
	d := new(Decoder)
	d.Init(tableSizeMax, listBytesMax, classify)
	return d
}

// Init makes d the decoder of a new connection.
//
// tableSizeMax is what our SETTINGS_HEADER_TABLE_SIZE says, 0 to TableSizeMax
// bytes; more is taken as TableSizeMax. listBytesMax is the most that a block's
// fields may have together, bytes, each counted as name + value + 32.
//
// classify returns the tag of a field. It is called 61 times by Init, for the
// static table, then once for each field that enters the dynamic table and for
// each delivered literal that does not. It must not keep name or value. Of
// fields that are equal in a row it may see the first only. nil: all tags are 0.
func (d *Decoder) Init(tableSizeMax uint32, listBytesMax int, classify func(name, value []byte) uint32) {
	if classify == nil {
		classify = func(_, _ []byte) uint32 { return 0 }
	}
	settings := min(tableSizeMax, TableSizeMax)
	sizeMax := max(settings, tableSizeInitial)
	*d = Decoder{
		table:    dynamicTable{max: tableSizeInitial, textMax: 2 * int(sizeMax)},
		listMax:  max(listBytesMax, 0),
		sizeMax:  sizeMax,
		settings: settings,
		classify: classify,
	}
	for i := 1; i <= staticCount; i++ {
		d.tags[i] = classify(staticFields[i].name, staticFields[i].value)
	}
}

// Acknowledged tells d that the peer has acknowledged our settings: its table
// has at most tableSizeMax bytes from now on, and if it had more, the next
// block must begin with a size update. Without this call tables below 4096
// bytes may stay at 4096, which RFC 9113 lets a peer have until then.
func (d *Decoder) Acknowledged() { d.sizeMax = d.settings }

// Decode decodes one whole header block (the fragments of HEADERS and
// CONTINUATION joined by the caller) and appends its fields to dst.
//
// An ErrCompression says at which octet of the block the error was found; no
// field is appended, and every later call fails. With an ErrListTooLong the
// fields that fit are appended and the connection may go on.
func (d *Decoder) Decode(dst []Field, block []byte) (fields []Field, err error) {
	if d.err != nil {
		return dst, d.err
	}
	fields = dst
	d.left = d.listMax
	at, err := d.begin(block)
	for err == nil && at < len(block) {
		i := int(block[at]) - bitsIndexed
		if i < 0 {
			fields, at, err = d.literal(fields, block, at)
			continue
		}
		start := at
		if at++; i == 0x7f {
			if i, at, err = integer(block, start, 0x7f); err != nil {
				break
			}
		}
		if uint(i-1) >= staticCount+uint(d.table.count) {
			err = d.noIndex(start, i)
			break
		}
		if d.left >= 0 { // else nothing is delivered
			fields = d.indexed(fields, i)
		}
	}
	if err != nil {
		d.err = err
		return dst, err
	}
	if d.left < 0 {
		return fields, fmt.Errorf("%w: more than %d bytes, each field counted with %d", ErrListTooLong, d.listMax, entryOverhead)
	}
	return fields, nil
}

// spend takes a field's size from what the list has left, and reports whether
// the field is to be delivered.
func (d *Decoder) spend(size int) bool {
	if size > d.left {
		d.left = -1
		return false
	}
	d.left -= size
	return true
}

// begin reads the size updates at the start of a block and makes the buffers
// ready for as much as a block of this length usually adds.
func (d *Decoder) begin(block []byte) (at int, err error) {
	for updates := 0; at < len(block) && block[at]&0xe0 == 0x20; updates++ {
		if updates == updatesMax {
			return 0, malformed(at, "more than %d size updates", updatesMax)
		}
		n, next, err := integer(block, at, 0x1f)
		if err != nil {
			return 0, err
		}
		if n > int(d.sizeMax) {
			return 0, malformed(at, "a size update to %d bytes: at most %d", n, d.sizeMax)
		}
		d.table.max = uint32(n)
		d.table.evict(d.table.max)
		at = next
	}
	if d.table.max > d.sizeMax {
		return 0, malformed(at, "no size update to at most %d bytes, which the acknowledged settings ask for", d.sizeMax)
	}
	d.scratch = d.scratch[:0]
	d.memo.used = false
	d.table.viewed = false
	d.table.reserve(min(len(block)*8/5, int(d.table.max)))
	d.table.viewed = true
	return at, nil
}

// indexed delivers the field with index i, which exists. It fills in the field
// where it is to be: a copy of one that was just written is slow.
func (d *Decoder) indexed(dst []Field, i int) []Field {
	fields := room(dst)
	f := &fields[len(dst)]
	if i <= staticCount {
		s := &staticFields[i]
		f.Name, f.Value, f.Tag = s.name, s.value, d.tags[i]
	} else {
		e := d.table.at(uint32(i - staticCount - 1))
		f.Name, f.Value = d.table.field(e)
		f.Tag = e.tag
	}
	f.Sensitive = false
	if !d.spend(len(f.Name) + len(f.Value) + entryOverhead) {
		return fields[:len(dst)]
	}
	return fields
}

// room returns dst with one more field, which is to be filled in.
func room(dst []Field) []Field {
	if len(dst) == cap(dst) {
		return append(dst, Field{})
	}
	return dst[:len(dst)+1]
}

func (d *Decoder) noIndex(at, i int) error {
	return malformed(at, "index %d: the tables have 1 to %d", i, staticCount+d.table.count)
}
