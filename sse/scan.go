package sse

import (
	"encoding/binary"
	"math/bits"
)

func (d *Decoder) scan(ev *Event) bool {
	l := &d.lines
	b := &d.block
	buf, pos, end := l.buf, l.pos, l.end
	i := l.from
	for i < end && d.err == nil {
		if buf[i] == '\n' && i == pos {
			i++
			pos = i
			l.pos, l.from = i, i
			if d.dispatch(ev) {
				return true
			}
			continue
		}
		odd := uint64(0)
		for stop := i + slack; ; i += 8 {
			if i == stop {
				i = l.search(min(i, end))
				odd = highs
				break
			}
			w := binary.LittleEndian.Uint64(buf[i:])
			lf, cr := w^ones*'\n', w^ones*'\r'
			odd |= w | (w-ones)&^w
			if m := ((lf-ones)&^lf | (cr-ones)&^cr) & highs; m != 0 {
				i += bits.TrailingZeros64(m) / 8
				break
			}
		}
		if i >= end {
			i = end
			break
		}
		line := buf[pos:i]
		if buf[i] == '\r' {
			if i+1 == end {
				l.skipLF = true
			} else if buf[i+1] == '\n' {
				i++
			}
		}
		i++
		pos = i
		plain := odd&highs == 0
		switch {
		case len(line) >= 6 && string(line[:6]) == "data: " && !b.data.set:
			b.data.assign(line[6:])
			b.plain = plain && (b.plain || !b.open)
			b.open = true
		case len(line) >= 4 && string(line[:4]) == "id: " && plain:
			b.id.assign(line[4:])
			b.plain = plain && (b.plain || !b.open)
			b.open = true
		case len(line) == 0:
			l.pos, l.from = pos, pos
			if d.dispatch(ev) {
				return true
			}
		default:
			l.plain = plain
			d.field(line)
		}
	}
	l.pos, l.from = pos, i
	return false
}
