package ssetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"testing"

	"github.com/fanfare-go/fanfare/sse"
)

// Recorder runs a handler without a network and is the client of its stream:
// it sees what the handler has flushed, when it is flushed. Use [Record] to
// make one.
//
// Next and Events read one stream and must not be called concurrently with
// each other; all other methods may be called concurrently.
type Recorder struct {
	stream  *sse.Decoder
	body    *half // flushed, not yet read by stream; the handler writes, Next reads
	cancel  context.CancelFunc
	started chan struct{} // closed by commitLocked: code and header are final
	ended   chan struct{} // closed by the handler's goroutine, once err is final
	err     error         // why the handler ended, if it did not return

	mu       sync.Mutex // guards all below
	header   http.Header
	code     int         // as given to WriteHeader; 0: not yet called
	sent     http.Header // header when WriteHeader was called
	bodyless bool        // the response has no body: HEAD, 204, 304
	pending  []byte      // written, not flushed
	flushed  []byte      // all that was flushed
	gone     bool        // the client is, by Close
	broken   error       // of the first flush that failed; sticky
	returned bool        // the handler has
}

// NewRequest returns the request that a client of server-sent events makes of
// target, a path or a URL. A lastEventID that is not empty is sent as the
// header Last-Event-ID. It panics if target is not a URL.
func NewRequest(target, lastEventID string) *http.Request {
	r, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		panic(fmt.Sprintf("ssetest: NewRequest: %v", err))
	}
	r.Header.Set("Accept", sse.MediaType)
	if lastEventID != "" {
		r.Header.Set("Last-Event-ID", lastEventID)
	}
	return r
}

// Record starts h, in a goroutine of its own, on a copy of r whose context
// also ends by Close. A nil r is NewRequest("/", ""). What a server would have
// set and r lacks, such as RemoteAddr, is set. When the test ends, Close is
// called.
//
// The handler's [http.ResponseWriter] is as strict as those of package
// net/http: what is written is sent by a flush, or by the handler's return,
// and by nothing else. A client that is gone, or a write deadline that has
// passed, is reported by the flush, and by every call after that. Using it
// after the handler has returned panics. Deadlines work as usual with
// [http.ResponseController]; there is nothing to read, so a read deadline has
// no effect.
//
// A handler that panics fails the test, unless with [http.ErrAbortHandler].
func Record(t testing.TB, h http.Handler, r *http.Request) *Recorder {
	if r == nil {
		r = NewRequest("/", "")
	}
	ctx, cancel := context.WithCancel(r.Context())
	r = asServed(r.Clone(ctx))
	rec := &Recorder{
		body:     newHalf(-1),
		cancel:   cancel,
		started:  make(chan struct{}),
		ended:    make(chan struct{}),
		header:   make(http.Header),
		bodyless: r.Method == http.MethodHead,
	}
	rec.stream = sse.NewDecoder((*recorded)(rec))
	go rec.run(t, h, r) // joined by Close
	if t != nil {
		t.Cleanup(rec.Close)
	}
	return rec
}

// asServed sets what only a server knows and tests forget.
func asServed(r *http.Request) *http.Request {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	if r.RemoteAddr == "" {
		r.RemoteAddr = "192.0.2.1:1234"
	}
	if r.RequestURI == "" {
		r.RequestURI = r.URL.RequestURI()
	}
	if r.Host == "" {
		r.Host = "sse.test"
	}
	return r
}

func (r *Recorder) run(t testing.TB, h http.Handler, req *http.Request) {
	defer close(r.ended)
	defer r.cancel() // as a server does
	completed := false
	defer func() {
		v := recover()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.returned = true
		switch {
		case completed:
			if err := r.flushLocked(); err != nil && !r.gone {
				r.err = fmt.Errorf("%w: the end of the response was not sent: %w", io.ErrUnexpectedEOF, err)
			}
		case v == nil || v == any(http.ErrAbortHandler): // nil: runtime.Goexit, as by t.FailNow
			r.err = io.ErrUnexpectedEOF
		default:
			r.err = fmt.Errorf("ssetest: the handler panicked: %v\n%s", v, debug.Stack())
			if t != nil {
				t.Error(r.err)
			}
		}
		r.commitLocked()
		r.body.closeWrite(net.ErrClosed)
	}()
	h.ServeHTTP((*recorderWriter)(r), req)
	completed = true
}

// Next waits for the next event that the handler flushes. When the handler has
// returned, the error is [io.EOF], or [io.ErrUnexpectedEOF] if the stream ended
// inside an event, or the error of Wait.
func (r *Recorder) Next() (sse.Event, error) { return r.stream.Decode() }

// Events yields what Next returns, up to the error, which is the last element.
// It ends silently at io.EOF.
func (r *Recorder) Events() iter.Seq2[sse.Event, error] { return r.stream.Events() }

// LastEventID returns the ID that a client would resume after, by what Next
// has read so far. To be called by the goroutine that calls Next.
func (r *Recorder) LastEventID() string { return r.stream.LastEventID() }

// Code waits until the response has started, which is the first flush, and
// returns its status.
func (r *Recorder) Code() int {
	<-r.started
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.code
}

// Header waits until the response has started and returns a copy of its
// header.
func (r *Recorder) Header() http.Header {
	<-r.started
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent.Clone()
}

// Body returns everything that has been flushed so far, whether Next has read
// it or not. It does not wait.
func (r *Recorder) Body() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.flushed)
}

// Wait waits until the handler returns by itself. The error is not nil if it
// panicked, or returned when its write deadline had passed: net/http could then
// not send the end.
func (r *Recorder) Wait() error {
	<-r.ended
	return r.err
}

// Close is the client going away: the context of the request ends, and the
// next flush fails. It returns when the handler has returned. What was flushed
// until then can still be read. Closing again does nothing.
func (r *Recorder) Close() {
	r.mu.Lock()
	r.gone = true
	r.mu.Unlock()
	r.cancel()
	<-r.ended
}

var errGone = errors.New("ssetest: the client is gone")

// recorded is a Recorder as its stream reads it.
type recorded Recorder

func (r *recorded) Read(p []byte) (int, error) {
	n, err := r.body.read(p)
	if err == io.EOF {
		if <-r.ended; r.err != nil {
			err = r.err
		}
	}
	return n, err
}

// commitLocked makes code and header final.
func (r *Recorder) commitLocked() {
	r.writeHeaderLocked(http.StatusOK)
	select {
	case <-r.started:
	default:
		close(r.started)
	}
}

func (r *Recorder) writeHeaderLocked(code int) {
	if r.code != 0 {
		return
	}
	r.code = code
	r.sent = r.header.Clone()
	r.bodyless = r.bodyless || code == http.StatusNoContent || code == http.StatusNotModified
}

// sendLocked hands p to the client. It never blocks, as the client takes all.
func (r *Recorder) sendLocked(p []byte) error {
	switch {
	case r.broken != nil:
	case r.gone:
		r.broken = errGone
	default:
		_, r.broken = r.body.write(p)
	}
	return r.broken
}

// flushLocked makes visible what is pending.
func (r *Recorder) flushLocked() error {
	if err := r.sendLocked(r.pending); err != nil {
		return err
	}
	r.commitLocked()
	r.flushed = append(r.flushed, r.pending...)
	r.pending = r.pending[:0]
	return nil
}
