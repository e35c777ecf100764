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
	open          bool // a line other than a comment has been read
	plain         bool // all values are ASCII; if false: may not be
}

// field processes a line that is not empty.
func (d *Decoder) field(line []byte) {
	// Spec: "If the line contains a U+003A COLON character (:): Collect the
	// characters on the line before the first U+003A COLON character (:), and
	// let field be that string. Collect the characters on the line after […]
	// and let value be that string. If value starts with a U+0020 SPACE
	// character, remove it from value."
	b := &d.block
	if len(line) > 6 && string(line[:6]) == "data: " && !b.data.set {
		b.data.assign(line[6:])
		b.plain = d.lines.plain && (b.plain || !b.open)
		b.open = true
		return
	}
	name, value := line, []byte(nil)
	if i := bytes.IndexByte(line, ':'); i >= 0 {
		name, value = line[:i], line[i+1:]
		if len(value) > 0 && value[0] == ' ' {
			value = value[1:]
		}
	}
	switch string(name) {
	case "":
		// Spec: "If the line starts with a U+003A COLON character (:): Ignore
		// the line."
		if d.onComment != nil {
			d.onComment(text(value))
		}
		return
	case "data":
		// Spec: "Append the field value to the data buffer, then append a
		// single U+000A LINE FEED (LF) character to the data buffer." The last
		// LF is dropped again on dispatch; here it is not added until another
		// line follows.
		if !b.data.set {
			b.data.assign(value)
			break
		}
		b.data.addLine(value)
		if len(b.data.value) > d.limit {
			d.err = ErrTooLong
		}
	case "event":
		// Spec: "Set the event type buffer to the field value."
		b.typ.assign(value)
	case "id":
		// Spec: "If the field value does not contain U+0000 NULL, then set the
		// last event ID buffer to the field value. Otherwise, ignore the
		// field."
		if d.lines.plain || bytes.IndexByte(value, 0) < 0 {
			b.id.assign(value)
		}
	case "retry":
		// Spec: "If the field value consists of only ASCII digits, then
		// interpret the field value as an integer in base ten, and set the
		// event stream's reconnection time to that integer. Otherwise, ignore
		// the field."
		if t, ok := reconnectionTime(value); ok {
			b.retry = t
			d.retry, d.hasRetry = t, true
		}
	default:
		// Spec: "Otherwise: The field is ignored."
	}
	b.plain = d.lines.plain && (b.plain || !b.open)
	b.open = true
	return
}

// reconnectionTime reads the value of a retry field: milliseconds.
func reconnectionTime(value []byte) (t time.Duration, ok bool) {
	const most = math.MaxInt64 / int64(time.Millisecond)
	ms := int64(0)
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		ms = min(ms*10+int64(c-'0'), most) // most*10 is far from overflow
	}
	return time.Duration(ms) * time.Millisecond, len(value) > 0
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
	b.retry = 0
	b.open = false
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

// assign makes value the value of f. It need not stay valid after keep.
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
	if f.set {
		f.value, f.set = nil, false
		if f.kept && cap(f.own) > roomy {
			f.own = nil
		}
		f.kept = false
	}
}
