package sse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// WriterOptions are the options of a [Writer]. The zero value, and nil, stand
// for the defaults.
type WriterOptions struct {
	// Retry is the reconnection time that is sent first, if positive.
	Retry time.Duration

	// Heartbeat is how long nothing was sent when SendAll sends an empty
	// comment, so that a client, a proxy, and the server can tell an idle
	// connection from a dead one. 0 means 15 s, negative never.
	Heartbeat time.Duration

	// WriteTimeout is how long a write may wait for a client that does not
	// read. It replaces the WriteTimeout of the http.Server, which counts from
	// the request on and would end every stream. It starts with each flush, or
	// with the first Write after one, and again with every 64 KiB, so that a
	// large event may take longer. 0 means 10 s, negative no timeout at all.
	//
	// Over HTTP/2 what is timed is how long the client leaves the stream's own
	// window full. A connection whose socket takes nothing is for the
	// http.Server to end: set WriteByteTimeout in its HTTP2.
	WriteTimeout time.Duration
}

const (
	defaultHeartbeat    = 15 * time.Second
	defaultWriteTimeout = 10 * time.Second

	// deadlineStride is how many bytes are written under one write deadline.
	deadlineStride = 64 << 10
)

// ErrBody is why [NewWriter] does not begin a stream whose request has a body that
// does not end.
var ErrBody = errors.New("sse: request with an endless body")

// A Writer is the server end of one stream: it writes events as the response to
// one request. Its methods must not be called concurrently, nor after the
// request's handler has returned.
//
// A write or a flush that fails ends the stream: from then on every method
// returns the same error, and the handler should return. So it should when the
// request's context ends, whose cause every method returns then. The last that a
// handler calls should be [Writer.SendAll], or else [Writer.Close], for instance
// with defer.
type Writer struct {
	rw          http.ResponseWriter
	rc          *http.ResponseController
	ctx         context.Context // the request's
	lastEventID string
	heartbeat   time.Duration // negative: never
	timeout     time.Duration // negative: none
	armed       bool          // a write deadline is set
	written     int           // bytes, since it was
	buf         []byte        // for encoding; reused
	err         error         // final
}

// NewWriter starts a stream as the response to r and sends the response header
// at once, with status 200, so that the client knows that it is connected. It
// sets the header field Content-Type, sets Cache-Control to "no-cache,
// no-transform" and X-Accel-Buffering to "no" unless w has these fields
// already, and deletes Content-Length. It replaces the write deadline of the
// connection and removes its read deadline, which would end r's context.
//
// What is to be read of r's body is read before: over HTTP/1.1 NewWriter reads and
// discards the rest, for until that is done net/http does not notice a client that
// goes. (Whoever reads on, after [http.ResponseController.EnableFullDuplex], gives
// NewWriter a copy of r without it.) If the rest is more than 256 KiB, or does not
// come within WriteTimeout or, if that is negative, 10 s, the error wraps [ErrBody].
//
// nil opts stand for the defaults; opts is not kept.
//
// If neither w nor what its Unwrap methods lead to can flush, the error wraps
// [http.ErrNotSupported]. After this error and ErrBody w and its header are as they
// were: the handler can still answer with a status of its own, after ErrBody within
// WriteTimeout. After any other, such as the cause of the end of r's context, the response may have begun.
//
// To HEAD the header is all the response. Every method of the Writer returns
// [http.ErrBodyNotAllowed] then, so that the handler returns, as it does when a
// client goes, and the header is sent. Waiting for events, it would keep the
// connection from the client's next request.
func NewWriter(w http.ResponseWriter, r *http.Request, opts *WriterOptions) (*Writer, error) {
	if last, ok := canFlush(w); !ok {
		return nil, fmt.Errorf("sse: cannot stream to a %T, which has neither Flush nor Unwrap: %w", last, http.ErrNotSupported)
	}
	var o WriterOptions
	if opts != nil {
		o = *opts
	}
	sw := &Writer{
		rw:          w,
		rc:          http.NewResponseController(w),
		ctx:         r.Context(),
		lastEventID: LastEventID(r),
		heartbeat:   cmp.Or(o.Heartbeat, defaultHeartbeat),
		timeout:     cmp.Or(o.WriteTimeout, defaultWriteTimeout),
	}

	if err := sw.readBody(r); err != nil {
		return nil, err
	}
	// A read deadline that passes looks to net/http like a client that is gone.
	// Whoever cannot set one has none that matters here.
	_ = sw.rc.SetReadDeadline(time.Time{})
	if sw.timeout < 0 {
		if err := sw.setDeadline(time.Time{}); err != nil {
			return nil, err
		}
	}

	SetHeader(w.Header())
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		sw.err = http.ErrBodyNotAllowed // nor a flush: over HTTP/2 it may fail, as the header is the end
		return sw, nil
	}
	if o.Retry > 0 {
		if _, err := sw.Write(AppendRetry(nil, o.Retry)); err != nil {
			return nil, err
		}
	}
	if err := sw.Flush(); err != nil {
		return nil, err
	}
	return sw, nil
}

// maxBody is how much of a request's body net/http reads to keep its connection.
const maxBody = 256 << 10

// readBody reads what is left of r's body. If net/http did that, as it does before
// the header and again after the response, it would have no limit in time once the
// read deadline is gone, and http.Server.Shutdown would wait for it.
func (w *Writer) readBody(r *http.Request) error {
	if r.ProtoMajor != 1 || r.ContentLength == 0 || r.Body == nil {
		return nil
	}
	limit := w.timeout
	if limit < 0 {
		limit = defaultWriteTimeout
	}
	_ = w.rc.SetReadDeadline(time.Now().Add(limit))
	_, err := io.CopyN(io.Discard, r.Body, maxBody+1)
	// The http.Server's write deadline counts from the request on and may have passed
	// meanwhile. The answer needs another, whoever gives it.
	_ = w.rc.SetWriteDeadline(time.Now().Add(limit))
	switch {
	case err == nil:
		return fmt.Errorf("%w: it is larger than %d bytes", ErrBody, maxBody)
	case err == io.EOF, errors.Is(err, http.ErrBodyReadAfterClose):
		return nil
	default:
		return fmt.Errorf("%w: %w", ErrBody, err)
	}
}

// SetHeader sets the fields of the response header h that make it that of a
// stream, as [NewWriter] does: Content-Type, and, unless h has them already,
// Cache-Control and X-Accel-Buffering. It deletes Content-Length.
func SetHeader(h http.Header) {
	h.Set("Content-Type", MediaType)
	if _, ok := h["Cache-Control"]; !ok {
		h.Set("Cache-Control", "no-cache, no-transform")
	}
	if _, ok := h["X-Accel-Buffering"]; !ok {
		h.Set("X-Accel-Buffering", "no") // nginx would wait for a full buffer
	}
	h.Del("Content-Length")
}

// canFlush reports whether [http.ResponseController.Flush] finds something to
// call, and returns the writer that it found or, if none can, the last it came to.
// Trying it out would send the header.
func canFlush(w http.ResponseWriter) (last http.ResponseWriter, ok bool) {
	for {
		switch t := w.(type) {
		case interface{ FlushError() error }, http.Flusher:
			return w, true
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return w, false
		}
	}
}

// LastEventID returns the last event ID of the client that sent r: the ID of
// the event after which its stream is to go on, or "" if it has none. That is
// the header field Last-Event-ID or, without one, the query parameter
// lastEventId, for clients that cannot set header fields.
func LastEventID(r *http.Request) string {
	const param = "lastEventId"
	id, query := r.Header.Get("Last-Event-ID"), r.URL.RawQuery
	// Parsing a query makes a map, and the name of a parameter may be escaped.
	if id == "" && (strings.Contains(query, param) || strings.Contains(query, "%")) {
		return strings.Clone(r.URL.Query().Get(param)) // it may outlive the query that it was cut out of
	}
	return id
}

// LastEventID returns the last event ID of the client, as [LastEventID] finds
// it in the request.
func (w *Writer) LastEventID() string { return w.lastEventID }

// Send writes ev and flushes it. If ev cannot be encoded, Send writes nothing
// and returns a [*FieldError], and the stream can go on.
func (w *Writer) Send(ev Event) error {
	if err := w.ended(); err != nil {
		return err
	}
	b, err := ev.AppendTo(w.buf[:0])
	if err != nil {
		return err
	}
	return w.send(b)
}

// Comment writes text, any number of lines, as a comment and flushes it. An
// empty text is a heartbeat. Browsers ignore comments.
func (w *Writer) Comment(text string) error {
	return w.send(AppendComment(w.buf[:0], text))
}

// send writes and flushes b, which was encoded into w.buf.
func (w *Writer) send(b []byte) error {
	if w.buf = b; cap(b) > roomy {
		w.buf = nil
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	return w.Flush()
}

// Write writes p, which must consist of whole blocks as [Event.AppendTo] and
// its siblings encode them, without flushing them. It does not keep p. The
// write timeout runs until the next [Writer.Flush], which therefore must not be
// left waiting for anything but more to write.
func (w *Writer) Write(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, w.ended()
	}
	for n < len(p) && err == nil {
		if err := w.ended(); err != nil { // a client that reads slowly makes this take its time
			return n, err
		}
		part := p[n:min(n+deadlineStride, len(p))]
		if err = w.arm(len(part)); err == nil {
			var m int
			m, err = w.rw.Write(part)
			n += m
			if err == nil && m < len(part) {
				err = io.ErrShortWrite
			}
		}
	}
	w.err = err
	return n, err
}

// Flush sends what was written to the client.
func (w *Writer) Flush() error {
	if err := w.ended(); err != nil {
		return err
	}
	w.err = w.flush()
	return w.err
}

func (w *Writer) flush() error {
	if err := w.arm(0); err != nil {
		return err
	}
	if err := w.rc.Flush(); err != nil {
		// The deadline stays: what net/http writes when the handler returns
		// then fails at once as well, instead of waiting for the client again.
		return err
	}
	if !w.armed {
		return nil
	}
	// A deadline that was left would reset an idle HTTP/2 stream when it
	// passes, and break what net/http writes at the end.
	w.armed = false
	return w.setDeadline(time.Time{})
}

// ended returns the error of a stream that has ended.
func (w *Writer) ended() error {
	if w.err == nil && w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	return w.err
}

// arm sets the write deadline for the next n bytes, unless one is set that
// still covers them.
func (w *Writer) arm(n int) error {
	if w.timeout < 0 {
		return nil
	}
	if w.armed && w.written+n <= deadlineStride {
		w.written += n
		return nil
	}
	w.armed, w.written = true, n
	return w.setDeadline(time.Now().Add(w.timeout))
}

// setDeadline sets the write deadline to t, zero for none.
func (w *Writer) setDeadline(t time.Time) error {
	err := w.rc.SetWriteDeadline(t)
	if errors.Is(err, http.ErrNotSupported) {
		// As with an httptest.ResponseRecorder. Nothing there can block, or it
		// is not ours to end; do not try again.
		w.timeout, w.armed = -1, false
		return nil
	}
	return err
}
