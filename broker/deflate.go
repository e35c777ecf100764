package broker

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
	"sync"
)

// What many subscribers get is compressed once, as deflate blocks that refer to
// nothing before them. Such blocks can stand anywhere in any subscriber's
// stream, so no stream needs a compressor of its own, which is what makes
// compressing streams expensive: it is most of a megabyte.

// A deflated is the compressed form of a batch.
type deflated struct {
	once  sync.Once // makes what follows
	data  []byte    // see appendDeflated
	crc   uint32    // of the batch's bytes
	power uint32    // see powerOf, of their number
}

// deflate returns the compressed form of b, which is ready. The first who needs
// it makes it, and whoever needs it meanwhile waits.
func (b *batch) deflate() *deflated {
	d := b.deflated.Load()
	for d == nil {
		b.deflated.CompareAndSwap(nil, new(deflated))
		d = b.deflated.Load()
	}
	d.once.Do(func() {
		buf := newBuffer(bufferSize)
		d.data = bytes.Clone(appendDeflated(buf.AvailableBuffer(), b.data))
		free(buf)
		d.crc, d.power = crc32.ChecksumIEEE(b.data), powerOf(len(b.data))
	})
	return d
}

// minDeflate is the size from which on something is compressed: what is smaller
// hardly shrinks, and may grow.
const minDeflate = 64

// syncMarker is an empty stored block at the start of a byte. A decompressor
// that comes to it hands out all it has; some wait for it.
//
// RFC 1951, 3.2.4: "Any bits of input up to the next byte boundary are ignored",
// and then come the length and its complement.
const syncMarker = "\x00\x00\x00\xff\xff"

// appendDeflated appends p to b as blocks that begin and end at the boundary of a
// byte, refer to nothing before them, and end with the marker.
func appendDeflated(b, p []byte) []byte {
	if len(p) < minDeflate {
		b = append(b, 0) // a stored block, not the last
		b = binary.LittleEndian.AppendUint16(b, uint16(len(p)))
		b = binary.LittleEndian.AppendUint16(b, ^uint16(len(p)))
		b = append(b, p...)
		return append(b, syncMarker...)
	}
	c := compressors.Get().(*compressor)
	c.out = b
	c.w.Reset(c)
	_, _ = c.w.Write(p) // into memory
	_ = c.w.Flush()     // which writes the marker
	b, c.out = c.out, nil
	compressors.Put(c)
	return b
}

// A compressor costs most of a megabyte, so there are only as many as are in use
// at the same time.
type compressor struct {
	w   *flate.Writer
	out []byte
}

var compressors = sync.Pool{New: func() any {
	// Better levels clear half a megabyte of tables for every batch, which
	// takes longer than to compress it.
	w, _ := flate.NewWriter(nil, flate.BestSpeed) // it is a level
	return &compressor{w: w}
}}

// Write takes what the compressor has made.
func (c *compressor) Write(p []byte) (int, error) {
	c.out = append(c.out, p...)
	return len(p), nil
}

// A checksum is what the end of a gzip stream says about all that came before.
type checksum struct {
	crc  uint32
	size uint32 // modulo 2^32
}

// add counts p in.
func (c *checksum) add(p []byte) {
	c.crc = crc32.Update(c.crc, crc32.IEEETable, p)
	c.size += uint32(len(p))
}

// join counts b in, whose compressed form is d, without a look at its bytes.
//
// A CRC is the remainder of a polynomial. Bytes that follow multiply what came
// before by x to the power of eight times their number, and the remainder of a
// sum is the sum of the remainders, which is what their exclusive or is.
func (c *checksum) join(b *batch, d *deflated) {
	c.crc = multiply(d.power, c.crc) ^ d.crc
	c.size += uint32(len(b.data))
}

// lastBlock is an empty block with fixed codes, the last of its stream.
const lastBlock = "\x03\x00"

// trailer returns the end of a gzip stream.
//
// RFC 1952, 2.3: CRC32, and ISIZE, "the size of the original (uncompressed) input
// data modulo 2^32".
func (c *checksum) trailer() []byte {
	b := binary.LittleEndian.AppendUint32([]byte(lastBlock), c.crc)
	return binary.LittleEndian.AppendUint32(b, c.size)
}

// Polynomials modulo that of CRC-32 are reversed, as in package crc32: the
// highest bit is the coefficient of 1, the next that of x.
const (
	polynomial1  = 1 << 31       // 1
	polynomialX8 = 1 << (31 - 8) // x to the power of 8
)

// multiply returns the product of two polynomials.
func multiply(p, q uint32) (product uint32) {
	for ; p != 0; p <<= 1 {
		product ^= q & -(p >> 31)
		q = q>>1 ^ crc32.IEEE&-(q&1) // times x
	}
	return product
}

// powerOf returns x to the power of 8n.
func powerOf(n int) uint32 {
	power, square := uint32(polynomial1), uint32(polynomialX8)
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			power = multiply(power, square)
		}
		square = multiply(square, square)
	}
	return power
}
