package broker

import (
	"net/http"

	"github.com/fanfare-go/fanfare/sse"
)

// gzipHeader is that of every stream: nothing is said about file and time.
//
// RFC 1952, 2.3: ID1, ID2, CM (8 is deflate), FLG, MTIME, XFL, and OS, of which
// 255 is unknown.
const gzipHeader = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

// maxDirectDeflate bounds what a shard compresses itself, to write it to a
// socket. More takes so long that a worker does it: nobody waits for somebody
// else's subscribers.
const maxDirectDeflate = 16 << 10

// A gzipped is what a stream that is compressed has besides: whole holds blocks
// of deflate then, and so does the beginning of buf.
type gzipped struct {
	checksum
	from int // buf[from:] is not compressed yet; 0 without buf
}

// offerGzip sets Content-Encoding in h, the header of the response to r, if r
// accepts gzip, and reports whether it has. Where some middleware has said that
// it encodes the response, that is left to it.
func offerGzip(h http.Header, r *http.Request) bool {
	if h.Get("Content-Encoding") != "" || !acceptsGzip(r.Header.Values("Accept-Encoding")) {
		return false
	}
	h.Set("Content-Encoding", "gzip")
	return true
}

// first writes what comes before everything else.
func (st *stream) first() error {
	if st.gzip != nil {
		if err := st.splice([]byte(gzipHeader)); err != nil {
			return err
		}
	}
	if retry := st.sub.b.opts.Retry; retry > 0 {
		return st.write(sse.AppendRetry(st.available(), retry))
	}
	return nil
}

// last sends what was written, and the end of a stream that ends in order.
func (st *stream) last() error {
	if st.gzip != nil {
		st.squeeze()
		if err := st.splice(st.gzip.trailer()); err != nil {
			return err
		}
	}
	return st.flush()
}

// spliceBatch is blocks of a stream that is compressed.
func (st *stream) spliceBatch(b *batch) error {
	st.squeeze()
	d := b.deflate()
	st.gzip.join(b, d)
	if st.whole == nil && st.buf == nil {
		st.whole = d.data
		return nil
	}
	return st.splice(d.data)
}

// squeezeLarge is write of data that no buffer holds.
func (st *stream) squeezeLarge(data []byte) error {
	st.squeeze()
	st.gzip.add(data)
	return st.splice(appendDeflated(nil, data))
}

// splice takes data, which is compressed, behind what is compressed.
func (st *stream) splice(data []byte) error {
	err := st.put(data)
	if st.buf != nil {
		st.gzip.from = st.buf.Len()
	}
	return err
}

// squeeze compresses what is in the buffer.
func (st *stream) squeeze() {
	if st.buf == nil {
		return
	}
	head, rest := st.buf.Bytes()[:st.gzip.from], st.buf.Bytes()[st.gzip.from:]
	if len(rest) == 0 {
		return
	}
	st.gzip.add(rest)
	buf := newBuffer(st.buf.Len() + minDeflate) // what is small may grow by some bytes
	buf.Write(head)
	buf.Write(appendDeflated(buf.AvailableBuffer(), rest))
	free(st.buf)
	st.buf, st.gzip.from = buf, buf.Len()
}

// takes reports whether the shard is to write b to the socket itself.
func (st *stream) takes(b *batch) bool { return st.gzip == nil || b.size <= maxDirectDeflate }

// bytes returns b, which is ready, as the shard is to write it to the socket.
func (st *stream) bytes(b *batch) []byte {
	if st.gzip == nil {
		return b.data
	}
	d := b.deflate()
	st.gzip.join(b, d)
	return d.data
}
