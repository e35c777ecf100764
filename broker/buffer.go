package broker

import (
	"bytes"
	"sync"
)

// Buffers hold what is sent with one write. An event that is larger than a large
// one is sent on its own, without a copy. A stream begins with a small one: what
// a subscriber gets who connects is a line or two, and when many connect at once
// each has a buffer.
const (
	smallBuffer = 1 << 10
	bufferSize  = 32 << 10
)

var (
	smallBuffers = sync.Pool{New: func() any { return bytes.NewBuffer(make([]byte, 0, smallBuffer)) }}
	buffers      = sync.Pool{New: func() any { return bytes.NewBuffer(make([]byte, 0, bufferSize)) }}
)

// newBuffer returns an empty buffer with room for n bytes, unless that is more
// than any has.
func newBuffer(n int) *bytes.Buffer {
	if n <= smallBuffer {
		return smallBuffers.Get().(*bytes.Buffer)
	}
	return buffers.Get().(*bytes.Buffer)
}

// free lets others have buf, unless it has grown.
func free(buf *bytes.Buffer) {
	buf.Reset()
	switch buf.Cap() {
	case smallBuffer:
		smallBuffers.Put(buf)
	case bufferSize:
		buffers.Put(buf)
	}
}

// available returns the rest of the buffer, to encode in place: what does not
// fit there is elsewhere.
func (st *stream) available() []byte { return st.room(0).AvailableBuffer() }

// room returns the buffer, with room for n bytes if a buffer can have that.
func (st *stream) room(n int) *bytes.Buffer {
	switch {
	case st.buf == nil:
		var whole []byte
		if len(st.whole) <= bufferSize { // else it is sent on its own
			whole, st.whole = st.whole, nil
		}
		st.buf = newBuffer(len(whole) + n)
		st.buf.Write(whole)
		if st.gzip != nil {
			st.gzip.from = st.buf.Len()
		}
	case st.buf.Available() < n && st.buf.Cap() < bufferSize:
		large := newBuffer(bufferSize)
		large.Write(st.buf.Bytes())
		free(st.buf)
		st.buf = large
	}
	return st.buf
}

func (st *stream) release() {
	st.whole = nil
	if st.buf != nil {
		free(st.buf)
		st.buf = nil
	}
}
