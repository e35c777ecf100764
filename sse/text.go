package sse

import (
	"encoding/binary"
	"unicode/utf8"
	"unsafe"
)

// Small strings share a slab with their neighbours in the stream: to allocate each
// takes longer than to parse a line. In a busy stream, which is one whose last read
// brought as much as a large slab holds, they share a large one, and larger strings
// do as well; that saves a tenth of the time of an event of 240 bytes.
const (
	smallText = 64        // bytes of the longest string in any slab
	largeText = smallSlab // bytes of the longest string in that of a busy stream
	smallSlab = 512       // bytes
	largeSlab = 4 << 10   // bytes
)

// text returns the value of a field of the block, with these odd bytes at most, as
// a string.
func (d *Decoder) text(value []byte, odd uint64) string {
	switch n := len(value); {
	case n == 0:
		return "" // and not the end of a slab
	case odd != 0 && !isASCII(value) && !utf8.Valid(value):
		return repaired(value)
	case n <= smallText || n <= largeText && d.lines.busy:
		return d.share(value)
	default:
		return string(value)
	}
}

// share returns b, which is not empty and at most largeText long, as a string in
// the slab. It does what a strings.Builder would, without telling the garbage
// collector of a pointer with every string.
func (d *Decoder) share(b []byte) string {
	if len(d.slab)-d.used < len(b) {
		// That these are constants makes it an allocation of a kind that takes
		// half as long.
		if d.lines.busy {
			d.slab = new([largeSlab]byte)[:]
		} else {
			d.slab = new([smallSlab]byte)[:]
		}
		d.used = 0
	}
	rest := d.slab[d.used:]
	d.used += copy(rest, b)
	return unsafe.String(&rest[0], len(b))
}

// reuse returns value as a string: last itself, if that is what it says. last may
// come from Reset, and then be no UTF-8.
func (d *Decoder) reuse(last string, value []byte, odd uint64) string {
	if string(value) == last && (odd == 0 || utf8.ValidString(last)) {
		return last
	}
	return d.text(value, odd)
}

// text returns b, which is UTF-8, as a string.
func text(b []byte) string {
	if isASCII(b) || utf8.Valid(b) {
		return string(b)
	}
	return repaired(b)
}

// repaired returns b with what is ill-formed replaced by U+FFFD, as the Encoding
// standard's decoder does it. Neither a range loop (one for each byte) nor
// [bytes.ToValidUTF8] (one for each run) does the same.
func repaired(b []byte) string {
	return string(appendText(make([]byte, 0, len(b)+utf8.UTFMax), b))
}

// appendText appends b to dst with one U+FFFD for every ill-formed sequence.
func appendText(dst, b []byte) []byte {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			n = illFormed(b[i:])
			dst = utf8.AppendRune(dst, utf8.RuneError)
		} else {
			dst = append(dst, b[i:i+n]...)
		}
		i += n
	}
	return dst
}

// illFormed returns the length of the ill-formed sequence that b begins with:
// the bytes that could have become a character, up to the first that could not,
// or else one byte. An ASCII byte is never part of it.
func illFormed(b []byte) int {
	// Spec (Encoding, UTF-8 decoder): "0xC2 to 0xDF", "0xE0 to 0xEF" and "0xF0
	// to 0xF4" begin a character; after "0xE0: set UTF-8 lower boundary to
	// 0xA0", after "0xED: set UTF-8 upper boundary to 0x9F", and so on.
	// Of the first, which need one more, what is ill-formed is that byte alone.
	lower, upper, needed := byte(0x80), byte(0xBF), 0
	switch c := b[0]; {
	case 0xE0 <= c && c <= 0xEF:
		needed = 2
		switch c {
		case 0xE0:
			lower = 0xA0
		case 0xED:
			upper = 0x9F
		}
	case 0xF0 <= c && c <= 0xF4:
		needed = 3
		switch c {
		case 0xF0:
			lower = 0x90
		case 0xF4:
			upper = 0x8F
		}
	}
	n := 1
	for n <= needed && n < len(b) && lower <= b[n] && b[n] <= upper {
		lower, upper = 0x80, 0xBF
		n++
	}
	return n
}

// isASCII reports whether b is ASCII, in a third of the time that utf8.Valid
// takes for it.
func isASCII(b []byte) bool {
	w := uint64(0)
	for ; len(b) >= 64; b = b[64:] {
		w |= binary.LittleEndian.Uint64(b) | binary.LittleEndian.Uint64(b[8:]) |
			binary.LittleEndian.Uint64(b[16:]) | binary.LittleEndian.Uint64(b[24:]) |
			binary.LittleEndian.Uint64(b[32:]) | binary.LittleEndian.Uint64(b[40:]) |
			binary.LittleEndian.Uint64(b[48:]) | binary.LittleEndian.Uint64(b[56:])
		if w&highs != 0 {
			return false
		}
	}
	for ; len(b) >= 8; b = b[8:] {
		w |= binary.LittleEndian.Uint64(b)
	}
	for _, c := range b {
		w |= uint64(c)
	}
	return w&highs == 0
}
