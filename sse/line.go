package sse

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
)

const (
	minBuffer = 16 << 10  // bytes of a lineReader's first buffer
	roomy     = 64 << 10 // bytes of the largest buffer that outlives its line
	slack     = 32       // bytes of a buffer that are never filled

	maxEmptyReads = 100 // in a row, as in package bufio
)

// A lineReader cuts a stream into lines. A CR ends its line at once: whether
// an LF follows, which then belongs to the CR, may not be known for long. It
// looks at every byte a bounded number of times, however the stream arrives.
type lineReader struct {
	r     io.Reader
	limit int // bytes in a line; more is ErrTooLong
	err   error
	start bool // a byte order mark may still come

	// buf[pos:end] is what was read and is not part of a line returned;
	// buf[pos:from] has no line end. Behind end there are slack bytes at least.
	buf            []byte
	pos, from, end int

	// lf and cr are where the first LF and the first CR at or after from are,
	// or end; unknown if less than from. Both are kept: in a stream with only
	// one of them, a search for the other with every line would look at the
	// whole buffer each time.
	lf, cr int

	skipLF bool // the last byte was a CR
	plain  bool // the line returned last has no NUL, and is ASCII; if false: may have, may not be
}

// reset starts a new stream, and keeps nothing of the old one but a buffer of
// ordinary size.
func (l *lineReader) reset(r io.Reader) {
	buf := l.buf
	if len(buf) > roomy+slack {
		buf = nil
	}
	*l = lineReader{r: r, buf: buf, limit: l.limit, start: true}
}

// next returns the next line that is complete, without its end. ok is false if
// there is none: more has to be read with fill. The line is valid until then.
func (l *lineReader) next() (line []byte, ok bool) {
	// Lines of a busy stream are short, mostly. Comparing some words takes no
	// longer than one call of IndexByte, and shows in passing whether the line
	// is plain. What is behind end is looked at and then not counted.
	i := l.from
	if i == l.end {
		return nil, false
	}
	odd := uint64(0)
	for stop := i + slack; ; i += 8 {
		if i == stop {
			i = l.search(min(i, l.end))
			odd = highs
			break
		}
		w := binary.LittleEndian.Uint64(l.buf[i:])
		lf, cr := w^ones*'\n', w^ones*'\r'
		odd |= w | (w-ones)&^w
		// The lowest bit set is that of the first LF or CR: a borrow spoils
		// only bytes above a zero.
		if m := ((lf-ones)&^lf | (cr-ones)&^cr) & highs; m != 0 {
			i += bits.TrailingZeros64(m) / 8
			break
		}
	}
	if i >= l.end {
		l.from = l.end
		return nil, false
	}
	l.plain = odd&highs == 0
	line = l.buf[l.pos:i]
	if l.buf[i] == '\r' {
		if i+1 == l.end {
			l.skipLF = true
		} else if l.buf[i+1] == '\n' {
			i++
		}
	}
	l.pos = i + 1
	l.from = i + 1
	return line, true
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// search returns where the first line end at or after from is, or end.
func (l *lineReader) search(from int) int {
	if l.lf < from {
		l.lf = l.index('\n', from)
	}
	if l.cr < from {
		l.cr = l.index('\r', from)
	}
	return min(l.lf, l.cr)
}

// index returns where the next c is at or after from, or l.end.
func (l *lineReader) index(c byte, from int) int {
	if i := bytes.IndexByte(l.buf[from:l.end], c); i >= 0 {
		return from + i
	}
	return l.end
}

// rest returns what is left in the buffer: the beginning of a line.
func (l *lineReader) rest() []byte { return l.buf[l.pos:l.end] }

// fill waits for more of the stream, once next has returned all lines that are
// complete, and makes them invalid. At the end of the stream it returns the
// reader's error.
func (l *lineReader) fill() error {
	if l.end-l.pos > l.limit {
		return ErrTooLong
	}
	l.makeRoom()
	room := l.buf[l.end : len(l.buf)-slack]
	n := 0
	for empty := 0; n == 0; empty++ {
		if l.err != nil {
			return l.err
		}
		if empty == maxEmptyReads {
			return io.ErrNoProgress
		}
		// An error waits until what was read with it is used up.
		n, l.err = l.r.Read(room)
		if n < 0 || n > len(room) {
			return errImpossibleRead
		}
	}
	l.end += n
	if l.skipLF {
		if l.buf[l.pos] == '\n' {
			l.pos++
		}
		l.skipLF = false
	}
	if l.start {
		l.skipMark()
	}
	l.from = max(l.from, l.pos)
	l.lf, l.cr = -1, -1
	return nil
}

// makeRoom moves the beginning of a line to the front of the buffer and makes
// sure that there is room behind it. A byte is moved once for its line, and
// once for every doubling of the buffer.
func (l *lineReader) makeRoom() {
	rest := l.rest()
	size := len(l.buf) - slack
	switch {
	case l.buf == nil:
		size = minBuffer
	case len(rest) == size:
		size = min(2*size, l.limit+1) // a line and its end
	case size > roomy && len(rest) <= roomy/2:
		size = roomy
	}
	if size+slack != len(l.buf) {
		l.buf = make([]byte, size+slack)
	}
	l.pos, l.end = 0, copy(l.buf, rest)
	l.from = l.end
}

// skipMark drops a byte order mark at the start of the stream. The beginning of
// one stays where it is, as the beginning of a line, until more arrives.
func (l *lineReader) skipMark() {
	// Spec (Encoding): "UTF-8 decode": "If buffer does not match 0xEF 0xBB
	// 0xBF, prepend buffer to ioQueue."
	const mark = "\uFEFF"
	rest := l.rest()
	if n := min(len(rest), len(mark)); string(rest[:n]) != mark[:n] {
		l.start = false
	} else if n == len(mark) {
		l.start = false
		l.pos += n
	}
}

var errImpossibleRead = errors.New("sse: reader returned an impossible count of bytes")
