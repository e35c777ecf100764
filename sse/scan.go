package sse

import (
	"encoding/binary"
	"math/bits"
	"time"
)

// scan takes lines from the buffer up to the blank line of the next event. It
// returns what dispatch does; if ok is false, d.err is set or more has to be read:
// the buffer then has no line end any more.
//
// This is the loop in which a busy stream spends its time, and the one place
// that trades looks for speed. Lines are short, mostly: comparing a few words
// takes no longer than one call of IndexByte, and shows in passing that a line
// is ASCII. The line after a long one goes to IndexByte at once, which saves a
// fifteenth of the time of 240 bytes in one line. Comparing the usual ways to
// write the usual fields takes less than looking for the colon. Keeping the
// position out of d takes a round trip to memory from each line. Together they
// double the speed of small events.
func (d *Decoder) scan() (typ, data string, retry time.Duration, ok bool) {
	l := &d.lines
	buf, end := l.buf, l.end
	pos, i := l.pos, l.from // beginning of the line, where its end may be
	for i < end && d.err == nil {
		odd := uint64(0)
		if i > pos {
			odd = unknown // its beginning was looked at when there was no more
		}
		if buf[i] == '\n' || buf[i] == '\r' {
			// A blank line, mostly: nothing to look for.
		} else if l.long {
			i = l.search(i)
			odd = unknown
			l.long = i-pos > slack
		} else {
			n, more := lineEnd((*[slack]byte)(buf[i:])) // may look beyond end
			i += n
			odd |= more
			if n == slack {
				i = l.search(min(i, end))
				odd = unknown
				l.long = true
			}
		}
		if i >= end {
			i = end
			break
		}
		// Spec: "Lines must be separated by either a U+000D CARRIAGE RETURN
		// U+000A LINE FEED (CRLF) character pair, a single U+000A LINE FEED
		// (LF) character, or a single U+000D CARRIAGE RETURN (CR) character."
		// A CR has ended its line even if it is not known yet what follows.
		start, stop := pos, i
		line := buf[start:stop]
		if buf[i] == '\r' {
			if i+1 == end {
				l.skipLF = true
			} else if buf[i+1] == '\n' {
				i++
			}
		}
		i++
		pos = i

		switch {
		case len(line) == 0:
			// Spec: "If the line is empty (a blank line): Dispatch the event".
			l.pos, l.from = pos, pos
			if typ, data, retry, ok = d.dispatch(); ok {
				return typ, data, retry, true
			}
		case len(line) > l.limit:
			d.err = ErrTooLong
		case len(line) >= 6 && string(line[:6]) == "data: ":
			if d.block.has&^idPart == 0 && i < end && buf[i] == '\n' {
				if data, ok = d.only(start+6, stop, odd); ok {
					l.pos, l.from = i+1, i+1
					return "", data, 0, true
				}
			}
			d.data(start+6, stop, odd)
		case len(line) >= 4 && string(line[:4]) == "id: ":
			d.id(start+4, stop, odd)
		case len(line) >= 7 && string(line[:7]) == "event: ":
			d.event(start+7, stop, odd)
		default:
			l.pos, l.from = pos, pos // comments are shown to the user
			d.field(start, stop, odd)
		}
	}
	l.pos, l.from = pos, i
	return "", "", 0, false
}

// lineEnd returns where the first LF or CR in window is, or slack if there is
// none, and the odd bytes in all the words that it looked at.
func lineEnd(window *[slack]byte) (at int, odd uint64) {
	for ; at < slack; at += 8 {
		w := binary.LittleEndian.Uint64(window[at : at+8])
		odd |= w
		for m := controlBytes(w); m != 0; m &= m - 1 {
			i := at + bits.TrailingZeros64(m)/8
			switch window[i&(slack-1)] {
			case '\n', '\r':
				return i, odd & highs
			case 0:
				odd = unknown
			}
		}
	}
	return at, odd & highs
}

// ones and highs have the lowest and the highest bit of each byte set.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// unknown stands for the odd bytes, NUL and what is not ASCII, where nobody looked.
const unknown = highs

// controlBytes marks the bytes of w that are below 16, as LF and CR are, and
// hardly anything else in a text. That takes three operations; to mark LF and CR
// alone takes eight, and a fifth longer for an event of lines of 50 bytes. No mark
// is missing; a borrow can put wrong ones above the first.
func controlBytes(w uint64) uint64 { return (w - ones*16) &^ w & highs }
