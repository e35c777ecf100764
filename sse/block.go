package sse

import (
	"bytes"
	"math"
	"time"
)

// A block is what stands between two blank lines: the standard's data, event
// type and last event ID buffers.
type block struct {
	id, typ, data field
	retry         time.Duration
	open          bool   // a line other than a comment has been read
	odd           uint64 // of all its fields; zero says that they are ASCII
}

// field processes a line that is not empty, given the odd bytes in it.
func (d *Decoder) field(line []byte, odd uint64) {
	// Spec: "Collect the characters on the line before the first U+003A COLON
	// character (:), and let field be that string. Collect the characters on
	// the line after the first U+003A COLON character (:), and let value be
	// that string. If value starts with a U+0020 SPACE character, remove it
	// from value." And without a colon: "using the whole line as the field
	// name, and the empty string as the field value."
	name, value, _ := bytes.Cut(line, []byte{':'})
	value = bytes.TrimPrefix(value, []byte{' '})
	switch string(name) {
	case "data":
		d.data(value, odd)
	case "id":
		d.id(value, odd)
	case "event":
		d.event(value, odd)
	case "retry":
		// Spec: "If the field value consists of only ASCII digits, then
		// interpret the field value as an integer in base ten, and set the
		// event stream's reconnection time to that integer. Otherwise, ignore
		// the field."
		if t, ok := reconnectionTime(value); ok {
			d.block.retry = t
			d.retry, d.hasRetry = t, true
		}
		d.block.open = true
	case "":
		// Spec: "If the line starts with a U+003A COLON character (:): Ignore
		// the line." A line without a colon has a name, as it is not empty.
		if d.onComment != nil {
			d.onComment(text(value))
		}
	default:
		// Spec: "Otherwise: The field is ignored."
		d.block.open = true
	}
}

// data processes a data field.
//
// Spec: "Append the field value to the data buffer, then append a single U+000A
// LINE FEED (LF) character to the data buffer." As the last LF is removed again
// in the end, it is not added before the next line.
func (d *Decoder) data(value []byte, odd uint64) {
	b := &d.block
	b.open = true
	b.odd |= odd
	if !b.data.set {
		b.data.assign(value)
		return
	}
	b.data.addLine(value)
	if len(b.data.value) > d.limit {
		d.err = ErrTooLong
	}
}

// id processes an id field.
//
// Spec: "If the field value does not contain U+0000 NULL, then set the last
// event ID buffer to the field value. Otherwise, ignore the field."
func (d *Decoder) id(value []byte, odd uint64) {
	b := &d.block
	b.open = true
	if odd == 0 || bytes.IndexByte(value, 0) < 0 {
		b.odd |= odd
		b.id.assign(value)
	}
}

// event processes an event field.
//
// Spec: "Set the event type buffer to the field value."
func (d *Decoder) event(value []byte, odd uint64) {
	b := &d.block
	b.open = true
	b.odd |= odd
	b.typ.assign(value)
}

// reconnectionTime reads the value of a retry field, which is in milliseconds.
func reconnectionTime(value []byte) (t time.Duration, ok bool) {
	const most = math.MaxInt64 / int64(time.Millisecond)
	ms := int64(0)
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		ms = min(ms*10+int64(c-'0'), most) // ten times most is no overflow
	}
	return time.Duration(ms) * time.Millisecond, len(value) > 0
}

// dispatch ends the block. If it is an event, dispatch sets ev to it and returns
// true.
func (d *Decoder) dispatch(ev *Event) bool {
	b := &d.block
	id, typ := d.lastID, ""
	size := 0 // of what this block has set
	// Spec: "Set the last event ID string of the event source to the value of
	// the last event ID buffer."
	if b.id.set {
		id = d.reuse(d.lastID, b.id.value)
		size += len(id)
	}
	if b.typ.set {
		typ = d.reuse(d.lastType, b.typ.value)
		size += len(typ)
	}
	if size+len(b.data.value) > d.limit {
		d.err = ErrTooLong
		return false
	}
	// Spec: "If the data buffer is an empty string, set the data buffer and the
	// event type buffer to the empty string and return." Each data field adds
	// at least an LF to it, so that it is empty only if there was none.
	isEvent := b.data.set
	if isEvent {
		// Field by field, as in a literal the compiler would build the Event
		// elsewhere first, and copying it at once stalls for its parts.
		ev.ID, ev.Type, ev.Retry = id, typ, b.retry
		ev.Data = d.text(b.data.value)
		if size+len(ev.Data) > d.limit { // U+FFFD can be longer than what it replaces
			d.err = ErrTooLong
			return false
		}
	}
	d.lastID = id
	if typ != "" {
		d.lastType = typ
	}
	b.clear()
	return isEvent
}

// keep makes b independent of the line reader's buffer.
func (b *block) keep() {
	if b.open {
		b.id.keep()
		b.typ.keep()
		b.data.keep()
	}
}

// clear makes b empty for the next block.
func (b *block) clear() {
	b.id.clear()
	b.typ.clear()
	b.data.clear()
	b.retry, b.open, b.odd = 0, false, 0
}

// A field is the value of a field of a block. A value that arrived in one piece
// stays where it is, in the line reader's buffer, until that is filled again or
// another line is added: most never need to be copied.
type field struct {
	value []byte
	own   []byte // backs value if kept; reused
	set   bool
	kept  bool
}

// assign makes value, which is part of the line reader's buffer, the value of f.
func (f *field) assign(value []byte) {
	f.value, f.set, f.kept = value, true, false
}

// addLine adds an LF and line to the value of f.
func (f *field) addLine(line []byte) {
	f.keep()
	f.own = append(f.own, '\n')
	f.own = append(f.own, line...)
	f.value = f.own
}

// keep copies the value of f, unless that was done.
func (f *field) keep() {
	if f.set && !f.kept {
		f.own = append(f.own[:0], f.value...)
		f.value, f.kept = f.own, true
	}
}

// clear makes f unset. It drops a buffer that only a large value needed.
func (f *field) clear() {
	if !f.set {
		return
	}
	if f.kept && cap(f.own) > roomy {
		f.own = nil
	}
	f.value, f.set, f.kept = nil, false, false
}
