package broker

import (
	"bytes"
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/fanfare-go/fanfare/sse"
)

// A stream is the outlet of an HTTP subscriber. Its headers go out with the
// first thing there is to write, so that a Store that fails before that can
// still be answered with a status.
type stream struct {
	sub   *Subscription
	guard *guard
	r     *http.Request // nil once detached, unless a Snapshot wants it
	ctx   context.Context
	from  string        // the remote address
	w     wire          // nil until the headers are out
	buf   *bytes.Buffer // written, not sent; nil when there is nothing, for an idle stream is to cost little
	wrote time.Time     // the last write
	beats *time.Timer   // when to look whether a heartbeat is due
}

// A wire is what a stream writes whole blocks to: an [sse.Writer], or the line
// of a detached subscriber.
type wire interface {
	Write(p []byte) (int, error)
	Flush() error
}

// Buffers hold what is sent with one write. An event that is larger is sent on
// its own, without a copy.
const bufferSize = 32 << 10

var buffers = sync.Pool{New: func() any { return bytes.NewBuffer(make([]byte, 0, bufferSize)) }}

func newStream(sub *Subscription, g *guard, r *http.Request) *stream {
	return &stream{sub: sub, guard: g, r: r, ctx: r.Context(), from: r.RemoteAddr}
}

// begin sends the headers, once.
func (st *stream) begin() error {
	if st.w != nil {
		return nil
	}
	opts := &st.sub.b.opts
	if opts.Detach && canWriteSocket {
		l, err := detach(st.guard, st.r, opts.WriteTimeout)
		if err != nil {
			return err
		}
		if l != nil {
			return st.detached(l)
		}
	}
	w, err := sse.NewWriter(st.guard, st.r, st.sub.b.writerOptions())
	if err != nil {
		return err
	}
	st.w = w
	st.wrote = time.Now()
	return nil
}

func (st *stream) event(ev sse.Event) error {
	if err := st.begin(); err != nil {
		return err
	}
	data, err := ev.AppendTo(st.available())
	if err != nil {
		return err
	}
	return st.write(data)
}

func (st *stream) blocks(data []byte) (bool, error) {
	if err := st.begin(); err != nil {
		return true, err
	}
	return true, st.write(data)
}

func (st *stream) mark(id string) error {
	if st.sub.b.opts.NoPriming {
		return nil
	}
	if err := st.begin(); err != nil {
		return err
	}
	data, err := sse.AppendID(st.available(), id)
	if err != nil {
		return err
	}
	return st.write(data)
}

func (st *stream) snapshot() ([]sse.Event, bool, error) {
	take := st.sub.b.opts.Snapshot
	if take == nil {
		return nil, false, nil
	}
	// It may take its time, and the headers should not wait for it.
	if err := st.begin(); err != nil {
		return nil, true, err
	}
	events, err := take(st.r, st.sub.topics)
	return events, true, err
}

// available returns the rest of the buffer, to encode in place.
func (st *stream) available() []byte {
	if st.buf == nil {
		st.buf = buffers.Get().(*bytes.Buffer)
	}
	return st.buf.AvailableBuffer()
}

// write takes data for the next flush, which comes early when there is much:
// the write timeout must not run while the Store is asked for more.
func (st *stream) write(data []byte) error {
	if st.buf != nil && st.buf.Len() > 0 && st.buf.Len()+len(data) > bufferSize {
		if err := st.send(st.buf.Bytes()); err != nil {
			return err
		}
	}
	if len(data) > bufferSize {
		return st.send(data)
	}
	if st.buf == nil {
		st.buf = buffers.Get().(*bytes.Buffer)
	}
	st.buf.Write(data)
	return nil
}

// flush sends what was written, and the headers if they are not out yet.
func (st *stream) flush() error {
	if st.w == nil {
		return st.begin()
	}
	if st.buf == nil {
		return nil
	}
	return st.send(st.buf.Bytes())
}

// send writes and flushes data, and lets the buffer go, which holds data or
// nothing.
func (st *stream) send(data []byte) error {
	_, err := st.w.Write(data)
	st.release()
	if err != nil {
		return err
	}
	st.wrote = time.Now()
	return st.w.Flush()
}

func (st *stream) release() {
	if st.buf != nil {
		st.buf.Reset()
		buffers.Put(st.buf)
		st.buf = nil
	}
}

func (st *stream) ticks() <-chan time.Time {
	d := st.sub.b.opts.Heartbeat
	if st.beats == nil && d > 0 {
		st.beats = time.NewTimer(d - time.Since(st.wrote))
	}
	if d <= 0 {
		return nil
	}
	return st.beats.C
}

// due reports whether nothing has been written for the time of a heartbeat.
// The timer is not touched by every write, but looked at when it fires.
func (st *stream) due() bool {
	rest := st.sub.b.opts.Heartbeat - time.Since(st.wrote)
	if rest > 0 {
		st.beats.Reset(rest)
		return false
	}
	st.beats.Reset(st.sub.b.opts.Heartbeat)
	return true
}

func (st *stream) beat() error {
	if err := st.write(sse.AppendComment(st.available(), "")); err != nil {
		return err
	}
	return st.flush()
}

func (st *stream) failed(error) bool { return st.w == nil }

// farewell is the last thing a client is told when the Broker ends.
func (st *stream) farewell() {
	_ = st.write(sse.AppendRetry(st.available(), st.sub.b.spreadRetry()))
}

// rest lets go of what an idle stream does not need.
func (st *stream) rest() {
	st.release()
	if st.beats != nil {
		st.beats.Stop()
		st.beats = nil
	}
}

// detached makes l, on which the header has been sent, the wire of st.
func (st *stream) detached(l *line) error {
	st.w, st.sub.line, st.sub.out = l, l, st
	st.wrote = time.Now()
	// The request's context ends with its handler; the stream does not. Of the
	// request an idle stream keeps nothing that nobody asks for.
	st.ctx = context.Background()
	if st.sub.b.opts.Snapshot == nil {
		st.r = nil
	} else {
		st.ctx = context.WithoutCancel(st.r.Context())
		st.r = st.r.WithContext(st.ctx)
	}
	go l.watch(st.sub)
	if retry := st.sub.b.opts.Retry; retry > 0 {
		return st.write(sse.AppendRetry(st.available(), retry))
	}
	return nil
}

// park gives the socket to the shard, if the shard can write to it, and reports
// whether it did. Then the stream belongs to the shard.
func (st *stream) park() bool {
	l := st.sub.line
	if l == nil || l.raw == nil || l.guard.release() != nil {
		return false
	}
	st.rest()
	return st.sub.b.park(st.sub)
}

// close ends the stream, before its handler returns.
func (st *stream) close() {
	st.rest()
	if l := st.sub.line; l != nil {
		l.finish()
		l.end(st.sub)
		return
	}
	st.guard.finish(st.sub.b.opts.WriteTimeout)
	st.sub.unserve()
}
