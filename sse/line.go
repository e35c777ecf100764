package sse

import (
	"bytes"
	"errors"
	"io"
)

const (
	minBuffer = 4 << 10  // bytes of a lineReader's first buffer
	maxBuffer = 32 << 10 // bytes of one that grew because there is always more to read
	roomy     = 64 << 10 // bytes of the largest buffer that outlives its line
	slack     = 64       // bytes at the end of a buffer that stay free: scan may look there

	maxEmptyReads = 100 // in a row, as in package bufio
)

// A lineReader holds the part of a stream that [Decoder.scan] takes lines from.
// Together they look at every byte a bounded number of times, however it
// arrives.
type lineReader struct {
	r     io.Reader
	limit int // bytes in a line; more is ErrTooLong
	err   error
	start bool // a byte order mark may still come

	// buf[pos:end] is what was read and is not part of a line taken from it;
	// buf[pos:from] has no line end. Behind end there are slack bytes at least.
	buf            []byte
	pos, from, end int

	// lf and cr are where the first LF and the first CR at or after from are,
	// or end; unknown if less than from. Both are kept: in a stream with only
	// one of them, a search for the other with every line would look at the
	// whole buffer each time.
	lf, cr int

	long   bool // the last line was: the next is likely to be
	filled bool // the last read took all the room there was
	busy   bool // the last read brought as much as a large slab holds

	skipLF bool // the last byte was a CR: an LF that comes next belongs to it
}

// reset starts a new stream, and keeps nothing of the old one but a buffer of
// ordinary size.
func (l *lineReader) reset(r io.Reader) {
	buf := l.buf
	if len(buf) > roomy+slack {
		buf = nil
	}
	*l = lineReader{r: r, limit: l.limit, start: true, buf: buf}
}

// search returns where the first line end at or after from is, or end. It is the
// way to the end of long lines: IndexByte takes a few nanoseconds to start and
// then compares 32 bytes at a time.
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

// fill waits for more of the stream, once all lines that are complete have been
// taken, and makes them invalid. At the end of the stream it returns the
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
	l.filled = n == len(room)
	l.busy = n >= largeSlab
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
	case l.filled && size < maxBuffer:
		size *= 2 // a busy stream: fewer reads, each of them of a layer or more below
	case size > roomy && len(rest) <= roomy/2:
		size = roomy
	}
	switch {
	case size+slack != len(l.buf):
		l.buf = make([]byte, size+slack)
	case l.pos == 0:
		return
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
