package broker

import (
	"bytes"
	"sync"
)

// Buffers hold what is sent with one write. An event that is larger is sent on
// its own, without a copy.
const bufferSize = 32 << 10

var buffers = sync.Pool{New: func() any { return bytes.NewBuffer(make([]byte, 0, bufferSize)) }}

// available returns the rest of the buffer, to encode in place: what does not
// fit there is elsewhere.
func (st *stream) available() []byte { return st.buffer().AvailableBuffer() }

func (st *stream) buffer() *bytes.Buffer {
	if st.buf == nil {
		st.buf = buffers.Get().(*bytes.Buffer)
		if len(st.whole) <= bufferSize { // else it is sent on its own
			st.buf.Write(st.whole)
			st.whole = nil
		}
		if st.gzip != nil {
			st.gzip.from = st.buf.Len()
		}
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

// free lets others have buf, unless it has grown.
func free(buf *bytes.Buffer) {
	if buf.Cap() <= bufferSize {
		buf.Reset()
		buffers.Put(buf)
	}
}
