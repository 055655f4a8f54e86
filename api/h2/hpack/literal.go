package hpack

import "bytes"

// literal decodes a literal field (RFC 7541 §6.2), which enters the dynamic
// table if its first bits say so.
func (d *Decoder) literal(dst []Field, block []byte, at int) (fields []Field, next int, err error) {
	var l parts
	start, mask := at, byte(0x0f)
	switch b := block[at]; {
	case b >= 0x40:
		l.enters, mask = true, 0x3f
	case b >= 0x20:
		return dst, 0, malformed(at, "a size update after the first field")
	case b >= 0x10:
		l.sensitive = true
	case d.memo.is(block[at:]):
		return d.remembered(dst), at + len(d.memo.wire), nil
	}
	l.index, at, err = integer(block, at, mask)
	if err != nil {
		return dst, 0, err
	}
	if l.index == 0 {
		if at, err = l.name.read(block, at); err != nil {
			return dst, 0, err
		}
	} else if l.index > staticCount+int(d.table.count) {
		return dst, 0, d.noIndex(start, l.index)
	}
	if at, err = l.value.read(block, at); err != nil {
		return dst, 0, err
	}
	fields = room(dst)
	f := &fields[len(dst)]
	if ok, err := d.store(&l, f); err != nil || !ok {
		return fields[:len(dst)], at, err
	}
	d.memo.remember(block[start:at], &l, f)
	return fields, at, nil
}

// The parts of a literal field.
type parts struct {
	index     int  // of the name, in the tables; 0: name has it
	name      text // the zero text if index is not 0
	value     text
	enters    bool // the dynamic table
	sensitive bool
}

// bounds returns what the name and the value have at most, or exactly.
func (d *Decoder) bounds(l *parts, exactly bool) (name, value int, err error) {
	switch {
	case l.index > staticCount:
		name = int(d.table.at(uint32(l.index - staticCount - 1)).name)
	case l.index > 0:
		name = len(staticFields[l.index].name)
	case exactly:
		if name, err = l.name.measure(); err != nil {
			return 0, 0, err
		}
	default:
		name = l.name.lenMax()
	}
	if !exactly {
		return name, l.value.lenMax(), nil
	}
	value, err = l.value.measure()
	return name, value, err
}

// store fills in f and decodes the strings of a literal to where they are kept:
// the table's text if it enters the table, else scratch. It stores nothing that
// neither the table nor the list has room for. ok says that f is to be delivered.
func (d *Decoder) store(l *parts, f *Field) (ok bool, err error) {
	name, value, _ := d.bounds(l, false)
	if l.enters && (name+value+entryOverhead > int(d.table.max) || !d.table.hasRoom(name+value)) ||
		!l.enters && name+value+entryOverhead > d.left {
		if name, value, err = d.bounds(l, true); err != nil {
			return false, err
		}
	}
	size := name + value + entryOverhead
	if l.enters && size <= int(d.table.max) {
		return d.insert(l, f, name+value)
	}
	if size <= d.left {
		if size, err = d.scribble(l, f, name+value); err != nil {
			return false, err
		}
	}
	if l.enters {
		d.table.evict(0) // RFC 7541 §4.4: an entry larger than the table empties it
	}
	return d.spend(size), nil
}

// scribble decodes the strings of a literal, at most textMax bytes, to scratch,
// and returns what f counts.
func (d *Decoder) scribble(l *parts, f *Field, textMax int) (size int, err error) {
	if cap(d.scratch)-len(d.scratch) < textMax+slack {
		size := max(textMin, 2*cap(d.scratch), textMax+slack)
		d.scratch = make([]byte, 0, min(size, d.listMax+slack))
	}
	start := len(d.scratch)
	text, middle, err := d.appendStrings(d.scratch, l)
	if err != nil {
		return 0, err
	}
	d.scratch = text
	d.fill(f, text[start:], middle-start)
	f.Sensitive = l.sensitive
	return len(text) - start + entryOverhead, nil
}

// insert decodes the strings of a literal, at most textMax bytes, to the table
// and makes them its youngest entry.
func (d *Decoder) insert(l *parts, f *Field, textMax int) (ok bool, err error) {
	t := &d.table
	t.reserve(textMax)
	t.viewed = t.viewed || d.left >= 0
	start := len(t.text)
	text, middle, err := d.appendStrings(t.text, l)
	if err != nil {
		return false, err
	}
	t.text = text
	d.fill(f, text[start:], middle-start)
	size := len(text) - start + entryOverhead
	t.evict(t.max - uint32(size))
	t.add(start, middle-start, f.Tag)
	return d.spend(size), nil
}

// fill makes f the field whose name is the first part of text and whose value
// is the rest.
func (d *Decoder) fill(f *Field, text []byte, name int) {
	f.Name, f.Value = text[:name:name], text[name:len(text):len(text)]
	f.Tag = d.classify(f.Name, f.Value)
	f.Sensitive = false
}

// appendStrings appends the name and the value to dst, which has room, and
// returns where the name ends.
func (d *Decoder) appendStrings(dst []byte, l *parts) (text []byte, middle int, err error) {
	switch {
	case l.index > staticCount:
		name, _ := d.table.field(d.table.at(uint32(l.index - staticCount - 1)))
		dst = append(dst, name...)
	case l.index > 0:
		dst = append(dst, staticFields[l.index].name...)
	default:
		if dst, err = l.name.appendTo(dst); err != nil {
			return dst, 0, err
		}
	}
	middle = len(dst)
	dst, err = l.value.appendTo(dst)
	return dst, middle, err
}

// The representations that a memo remembers, bytes. Shorter ones are decoded as
// fast; longer ones are rare.
const (
	memoWireMin = 16
	memoWireMax = 128
)

// A memo remembers the last field of its kind that a peer did not let enter the
// dynamic table although it is no secret: proxies send :path so, the same one
// in every request.
type memo struct {
	wire  []byte // the whole representation; its name has a static index
	name  []byte
	value []byte
	tag   uint32
	used  bool // the present block's fields may point into value
}

// is reports whether the representation that block begins with is m's.
func (m *memo) is(block []byte) bool {
	return len(m.wire) > 0 && bytes.HasPrefix(block, m.wire)
}

// remember makes f m's field if it is of its kind; wire is its representation.
func (m *memo) remember(wire []byte, l *parts, f *Field) {
	if m.used || l.enters || l.sensitive || l.index == 0 || l.index > staticCount {
		return
	}
	if len(wire) < memoWireMin || len(wire) > memoWireMax {
		return
	}
	m.wire = append(m.wire[:0], wire...)
	m.value = append(m.value[:0], f.Value...)
	m.name = staticFields[l.index].name
	m.tag = f.Tag
	m.used = true
}

// remembered delivers the memo's field.
func (d *Decoder) remembered(dst []Field) []Field {
	m := &d.memo
	if !d.spend(len(m.name) + len(m.value) + entryOverhead) {
		return dst
	}
	m.used = true
	fields := room(dst)
	f := &fields[len(dst)]
	f.Name, f.Value, f.Tag, f.Sensitive = m.name, m.value, m.tag, false
	return fields
}
