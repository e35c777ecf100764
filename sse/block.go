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
	has           parts
	odd           uint64 // marks of odd bytes (NUL, and what is not ASCII) in all its fields; zero: there are none
}

// parts says what a block has so far besides comments.
type parts uint8

const (
	idPart    parts = 1 << iota // an id field
	otherPart                   // something else
)

// field processes the line buf[start:end], which is not empty, given the odd
// bytes in it.
func (d *Decoder) field(start, end int, odd uint64) {
	// Spec: "Collect the characters on the line before the first U+003A COLON
	// character (:), and let field be that string. Collect the characters on
	// the line after the first U+003A COLON character (:), and let value be
	// that string. If value starts with a U+0020 SPACE character, remove it
	// from value." And without a colon: "using the whole line as the field
	// name, and the empty string as the field value."
	line := d.lines.buf[start:end]
	name, value, _ := bytes.Cut(line, []byte{':'})
	value = bytes.TrimPrefix(value, []byte{' '})
	start = end - len(value)
	switch string(name) {
	case "data":
		d.data(start, end, odd)
	case "id":
		d.id(start, end, odd)
	case "event":
		d.event(start, end, odd)
	case "retry":
		// Spec: "If the field value consists of only ASCII digits, then
		// interpret the field value as an integer in base ten, and set the
		// event stream's reconnection time to that integer. Otherwise, ignore
		// the field."
		if t, ok := reconnectionTime(value); ok {
			d.block.retry = t
			d.retry, d.hasRetry = t, true
		}
		d.block.has |= otherPart
	case "":
		// Spec: "If the line starts with a U+003A COLON character (:): Ignore
		// the line." A line without a colon has a name, as it is not empty.
		if d.onComment != nil {
			d.onComment(text(value))
		}
	default:
		// Spec: "Otherwise: The field is ignored."
		d.block.has |= otherPart
	}
}

// data processes a data field with the value buf[start:end].
//
// Spec: "Append the field value to the data buffer, then append a single U+000A
// LINE FEED (LF) character to the data buffer." As the last LF is removed again
// in the end, it is not added before the next line.
func (d *Decoder) data(start, end int, odd uint64) {
	b := &d.block
	b.has |= otherPart
	b.odd |= odd
	if b.data.set {
		d.addLine(start, end)
	} else {
		b.data.assign(start, end)
	}
}

// addLine adds an LF and buf[start:end] to the data of the block.
func (d *Decoder) addLine(start, end int) {
	b, buf := &d.block, d.lines.buf
	if last := b.data.end; !b.data.kept && b.id.end <= last && b.typ.end <= last {
		// The line moves down, to where only a line end and a name are. To
		// put the lines together elsewhere takes twice as long.
		buf[last] = '\n'
		b.data.end = last + 1 + copy(buf[last+1:], buf[start:end])
	} else {
		b.data.addLine(buf[start:end], buf)
	}
	if b.data.size() > d.limit {
		d.err = ErrTooLong
	}
}

// id processes an id field with the value buf[start:end].
//
// Spec: "If the field value does not contain U+0000 NULL, then set the last
// event ID buffer to the field value. Otherwise, ignore the field."
func (d *Decoder) id(start, end int, odd uint64) {
	b := &d.block
	b.has |= idPart
	if odd == 0 || bytes.IndexByte(d.lines.buf[start:end], 0) < 0 {
		b.odd |= odd
		b.id.assign(start, end)
	}
}

// event processes an event field with the value buf[start:end].
//
// Spec: "Set the event type buffer to the field value."
func (d *Decoder) event(start, end int, odd uint64) {
	b := &d.block
	b.has |= otherPart
	b.odd |= odd
	b.typ.assign(start, end)
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

// only is the short way through a block that is a data field alone, or that and an
// id field before it. With the data field, whose value is buf[start:end], it ends
// the block, and returns that value. Most events look like this: not to note for
// dispatch where everything is saves a sixteenth of the time of an event, of few
// bytes or 240, and one copy for both fields saves another tenth of that of few
// bytes. If ok is false, it is not so simple, and all is left to dispatch.
func (d *Decoder) only(start, end int, odd uint64) (data string, ok bool) {
	b, buf := &d.block, d.lines.buf
	size := end - start
	switch {
	case b.has == 0:
		data = d.text(buf[start:end], odd)
		return data, len(data) <= d.limit
	case b.id.set && !b.id.kept && b.odd|odd == 0 && end-b.id.start <= min(smallText, d.limit):
		both := d.share(buf[b.id.start:end]) // with the few bytes between
		d.lastID, data = both[:b.id.size()], both[len(both)-size:]
		b.id, b.has = field{own: b.id.own}, 0
		return data, true
	}
	return "", false
}

// dispatch ends the block. If that is an event, dispatch returns it and true; the
// ID of the event is d.lastID.
func (d *Decoder) dispatch() (typ, data string, retry time.Duration, ok bool) {
	b, buf := &d.block, d.lines.buf
	if b.id.size()+b.typ.size()+b.data.size() > d.limit {
		d.err = ErrTooLong
		return "", "", 0, false
	}
	if value := b.typ.value(buf); len(value) > 0 {
		if typ = d.lastType; string(value) != typ {
			if typ = d.text(value, b.odd); len(typ) <= largeText {
				d.lastType = typ // a large one would be kept for as long as d is
			}
		}
	}
	id := d.lastID
	if b.id.set {
		id = d.reuse(id, b.id.value(buf), b.odd)
	}
	data = d.text(b.data.value(buf), b.odd)
	if b.odd != 0 { // U+FFFD can be longer than what it replaces
		size := len(typ) + len(data)
		if b.id.set {
			size += len(id)
		}
		if size > d.limit {
			d.err = ErrTooLong
			return "", "", 0, false
		}
	}

	// Spec: "Set the last event ID string of the event source to the value of
	// the last event ID buffer."
	if b.id.set {
		d.lastID = id
	}
	// Spec: "If the data buffer is an empty string, set the data buffer and the
	// event type buffer to the empty string and return." Each data field adds
	// at least an LF to it, so that it is empty only if there was none.
	retry, ok = b.retry, b.data.set
	b.clear()
	return typ, data, retry, ok
}

// keep makes b independent of the line reader's buffer buf.
func (b *block) keep(buf []byte) {
	if b.has != 0 {
		b.id.keep(buf)
		b.typ.keep(buf)
		b.data.keep(buf)
	}
}

// clear makes b empty for the next block.
func (b *block) clear() {
	b.id.clear()
	b.typ.clear()
	b.data.clear()
	b.retry, b.has, b.odd = 0, 0, 0
}

// A field is the value of a field of a block. A value that arrived in one piece
// stays where it is, in the line reader's buffer, until that is filled again or
// another line is added: most never need to be copied.
type field struct {
	start, end int    // where the value is in the buffer, or in own if kept
	own        []byte // the value, if kept; reused
	set        bool
	kept       bool
}

// value returns the value of f, which may be part of the line reader's buffer
// buf. It is empty if f is not set.
func (f *field) value(buf []byte) []byte {
	if f.kept {
		buf = f.own
	}
	return buf[f.start:f.end]
}

// size returns the length of the value of f, 0 if f is not set.
func (f *field) size() int { return f.end - f.start }

// assign makes buf[start:end] the value of f.
func (f *field) assign(start, end int) {
	if f.kept {
		f.clear() // what it was may have been large
	}
	f.start, f.end, f.set, f.kept = start, end, true, false
}

// addLine adds an LF and line to the value of f.
func (f *field) addLine(line, buf []byte) {
	f.keep(buf)
	f.own = append(f.own, '\n')
	f.own = append(f.own, line...)
	f.end = len(f.own)
}

// keep copies the value of f, unless that was done.
func (f *field) keep(buf []byte) {
	if f.set && !f.kept {
		f.own = append(f.own[:0], buf[f.start:f.end]...)
		f.start, f.end, f.kept = 0, len(f.own), true
	}
}

// clear makes f unset. It drops a buffer that only a large value needed.
func (f *field) clear() {
	if f.kept && cap(f.own) > roomy {
		f.own = nil
	}
	f.start, f.end, f.set, f.kept = 0, 0, false, false
}
