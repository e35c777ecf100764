package broker

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"time"
	"unsafe"

	"github.com/fanfare-go/fanfare/sse"
)

// A stream is a subscriber over HTTP: its subscription, and the outlet of that.
// Its headers go out with the first thing there is to write, so that a Store that
// fails before that can still be answered with a status.
//
// It belongs to the goroutine whose turn it is or, while the registration is
// parked, to the shard.
type stream struct {
	// What a delivery touches, see plainTurn, is the beginnings of these two, which
	// lie in three lines of the processor's cache as long as a stream has no more
	// than 512 bytes: the runtime has it begin where a line does.
	guard guard
	sub   Subscription

	w     wire          // nil until the headers are out
	whole []byte        // written, not sent: a batch, which is not copied unless more comes
	buf   *bytes.Buffer // written after that; nil when there is nothing, for an idle stream is to cost little
	gzip  *gzipped      // nil: not compressed

	ctx       context.Context // the request's values; the end of the request closes the subscription
	r         *http.Request   // nil once detached, unless a Snapshot wants it
	done      chan struct{}   // closed when the handler may return
	concluded bool            // sayWhy was called
	panicked  any             // what a callback has panicked with, for the handler to repeat; set before done is closed
}

// A stream must fit into the size class that begins at a cache line.
var _ [512 - unsafe.Sizeof(stream{})]byte

// A wire is what a stream writes whole blocks to: a page, or the line of a
// detached subscriber.
type wire interface {
	Write(p []byte, now time.Duration) error // now is the age of the Broker: to ask for it is a good part of a small write
	Flush() error
}

// newStream returns a stream for r and topics, whose subscription is not open yet.
func (b *Broker) newStream(w http.ResponseWriter, r *http.Request, topics []string) *stream {
	st := &stream{
		guard: newGuard(w, r, b),
		sub: Subscription{
			topics: topics,
			remote: r.RemoteAddr,
			caller: b.opts.Caller(r),
			until:  b.lifetime(),
		},
		ctx:  context.WithoutCancel(r.Context()),
		r:    r,
		done: make(chan struct{}),
	}
	st.sub.stream = st
	return st
}

// serve runs the subscription.
func (st *stream) serve(err error) error {
	st.sub.worker = nil
	return st.guarded(func() error {
		if l := st.sub.line; l != nil && err == nil {
			err = l.Write(nil, st.sub.b.age()) // what the shard has left
		}
		return st.sub.run(st.ctx, st, err)
	})
}

// turn writes what has come for reg. w calls it.
func (st *stream) turn(reg *registration, w *worker) error {
	return st.guarded(func() error {
		if err := st.plainTurn(reg, w); err != nil {
			return err
		}
		st.sub.worker = w
		return st.sub.drain(st.ctx, st, reg)
	})
}

// begin sends the headers, once.
func (st *stream) begin() error {
	if st.w != nil {
		return nil
	}
	opts, writerOpts := &st.sub.b.opts, st.sub.b.writerOptions()
	header := st.guard.ResponseWriter.Header()
	if opts.Compress && offerGzip(header, st.r) {
		st.gzip = new(gzipped)
		writerOpts.Retry = 0 // it has to be compressed as well: first writes it
	}
	if opts.Detach && canWriteSocket {
		l, err := detach(&st.guard, st.r)
		if err != nil {
			return err
		}
		if l != nil {
			return st.detached(l)
		}
	}
	unchunked := unchunk(header, st.r)
	// For the header and the body of the request; from here on a page writes.
	if _, err := sse.NewWriter(&st.guard, st.r.WithContext(st.ctx), writerOpts); err != nil {
		// It is for another response now.
		if st.gzip != nil {
			header.Del("Content-Encoding")
		}
		if unchunked {
			header.Del("Transfer-Encoding")
		}
		return err
	}
	if writerOpts.Retry > 0 {
		st.sub.tally.bytes.Add(uint64(len(sse.AppendRetry(nil, writerOpts.Retry))))
	}
	st.w = (*page)(&st.guard)
	st.sub.wrote = st.sub.b.age()
	if st.gzip != nil {
		return st.first()
	}
	return nil
}

// unchunk has net/http send the response with the header h as it is, until the
// connection closes, instead of in chunks, and reports whether it has. In chunks
// net/http writes what is larger than its buffer of 4 KiB in two pieces, and a
// small event takes a twentieth more time.
//
// Spec: "Authors are also cautioned that HTTP chunking can have unexpected
// negative effects on the reliability of this protocol [...]. If this is a
// problem, chunking can be disabled for serving event streams."
func unchunk(h http.Header, r *http.Request) bool {
	// Whoever else implements ResponseWriter might send the field as it is.
	isNetHTTP := r.Context().Value(http.ServerContextKey) != nil
	if r.ProtoMajor != 1 || !isNetHTTP || len(h["Transfer-Encoding"]) > 0 {
		return false
	}
	h.Set("Transfer-Encoding", "identity")
	return true
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

func (st *stream) blocks(b *batch) (bool, error) {
	if err := st.begin(); err != nil {
		return true, err
	}
	if st.gzip != nil {
		st.clock() // what the worker knows is old when this is compressed
		return true, st.spliceBatch(b)
	}
	if st.whole == nil && st.buf == nil {
		st.whole = b.data
		return true, nil
	}
	return true, st.write(b.data)
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

func (st *stream) snapshot(ctx context.Context) ([]sse.Event, bool, error) {
	take := st.sub.b.opts.Snapshot
	if take == nil {
		return nil, false, nil
	}
	// It may take its time, and the headers should not wait for it.
	if err := st.begin(); err != nil {
		return nil, true, err
	}
	events, err := take(st.r.WithContext(ctx), st.sub.topics)
	switch {
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx)
	case err != nil:
		st.sub.b.opts.Logger.LogAttrs(ctx, slog.LevelWarn, "broker: snapshot failed",
			slog.String("remote", st.sub.remote), slog.Any("topics", st.sub.topics), slog.Any("error", err))
		err = fmt.Errorf("broker: snapshot: %w", err)
	}
	return events, true, err
}

// write takes data for the next flush.
func (st *stream) write(data []byte) error {
	if st.gzip != nil && len(data) > bufferSize {
		return st.squeezeLarge(data)
	}
	return st.put(data)
}

// put takes data for the next flush, which comes early when there is much: the
// write timeout must not run while the Store is asked for more.
func (st *stream) put(data []byte) error {
	if st.room(len(data)).Len()+len(data) > bufferSize {
		if err := st.flush(); err != nil {
			return err
		}
	}
	if len(data) > bufferSize {
		return st.send(data)
	}
	st.room(len(data)).Write(data)
	return nil
}

// flush sends what was written, and the headers if they are not out yet.
func (st *stream) flush() error {
	if err := st.begin(); err != nil {
		return err
	}
	if st.buf == nil {
		return st.send(nil)
	}
	if st.gzip != nil {
		st.squeeze()
	}
	return st.send(st.buf.Bytes())
}

// send writes and flushes what is whole, then data, and lets the buffer go,
// which holds data or nothing.
func (st *stream) send(data []byte) (err error) {
	written := 0
	for _, p := range [][]byte{st.whole, data} {
		if len(p) > 0 && err == nil {
			err = st.w.Write(p, st.clock())
			written += len(p)
		}
	}
	st.release()
	if err != nil || written == 0 {
		return err
	}
	st.sub.tally.bytes.Add(uint64(written))
	err = st.w.Flush()
	st.sub.wrote = st.sub.b.age() // which may be long after it began
	if w := st.sub.worker; w != nil {
		w.now = st.sub.wrote
	}
	return err
}

// clock returns the age of the Broker. A worker knows it from the write before:
// to ask for it is a hundredth of a small write.
func (st *stream) clock() time.Duration {
	if w := st.sub.worker; w != nil && w.now != 0 {
		now := w.now
		w.now = 0
		return now
	}
	return st.sub.b.age()
}

// untilBeat returns how long it is until a heartbeat is due, or ages if there is to
// be none.
func (st *stream) untilBeat() time.Duration {
	if d := st.sub.b.opts.Heartbeat; d > 0 {
		return max(d-(st.sub.b.age()-st.sub.wrote), 0)
	}
	return math.MaxInt64
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

// detached makes l, on which the header has been sent, the wire of st.
func (st *stream) detached(l *line) error {
	st.w, st.sub.line = l, l
	st.sub.wrote = st.sub.b.age()
	// The handler returns before the stream ends. Of its request an idle stream
	// keeps nothing that nobody asks for.
	if st.sub.b.opts.Snapshot == nil {
		st.r, st.ctx = nil, context.Background()
	}
	st.sub.b.watch(&st.sub)
	return st.first()
}

// park prepares the stream for being idle.
func (st *stream) park(complete bool) {
	sub := &st.sub
	sub.direct = false
	sub.plain = complete && !sub.ahead && st.gzip == nil && sub.line == nil
	if l := sub.line; l != nil {
		closeOnce(st.done) // the handler has nothing to wait for
		// The shard tells no Gap, and does not pick from what a Broker has that
		// lags behind the one before.
		sub.direct = complete && !sub.ahead && l.raw != nil && l.guard.release() == nil
	}
}

// close ends the stream, and lets its handler return.
func (st *stream) close() {
	st.release()
	if l := st.sub.line; l != nil {
		closeOnce(st.done)
		l.finish(&st.sub)
		return
	}
	_ = st.guarded(func() error { st.guard.finish(st.sub.b.opts.WriteTimeout); return nil })
	closeOnce(st.done)
	st.sub.unserve()
}
