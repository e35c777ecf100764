package broker

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A guard is a ResponseWriter whose write deadlines go through a lock. So the
// Broker can end a blocked write from outside, by a deadline in the past: one
// that was set in between would be a new lease, and on HTTP/2 one that is set
// after the handler has returned panics.
//
// It also saves most of them. Setting a deadline and clearing it takes a tenth
// of the time of a small write. On HTTP/1 a deadline means nothing while no one
// writes, so there it is left, and only moved when a quarter of it is used up; but
// not with TLS, which may write when the other end asks for new keys.
// A write before that takes no lock: it says that it may be blocked, and then
// looks whether it has been cut. Whoever cuts does it the other way round, so one
// of the two sees the other.
type guard struct {
	http.ResponseWriter
	timeout time.Duration // negative: none
	since   atomic.Int64  // when the write began that may be blocked, in ns, plus 1; 0: none may be
	covered time.Duration // writes that begin until then have the deadline that is set; of whoever owns the stream
	isCut   atomic.Bool
	lazy    bool // HTTP/1 without TLS
	b       *Broker

	mu       sync.Mutex // guards what follows and the write deadline
	conn     net.Conn   // taken over from the ResponseWriter, or nil
	isSet    bool       // there is a deadline
	returned bool       // the handler is about to return
}

func newGuard(w http.ResponseWriter, r *http.Request, b *Broker) guard {
	return guard{ResponseWriter: w, b: b, timeout: b.opts.WriteTimeout, lazy: r.ProtoMajor == 1 && r.TLS == nil}
}

var longAgo = time.Unix(1, 0)

// Unwrap lets [http.ResponseController] find the methods of the writer.
func (g *guard) Unwrap() http.ResponseWriter { return g.ResponseWriter }

// SetWriteDeadline is for [sse.NewWriter], which calls it before it writes, and
// after it with the zero time. Its timeout is that of g.
func (g *guard) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		return g.clear()
	}
	return g.arm(g.b.age())
}

// set sets the deadline, unless the writes to come are to fail.
func (g *guard) set(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isCut.Load() {
		return g.setLocked(longAgo)
	}
	return g.setLocked(t)
}

// clear says that no write is under way, and that the deadline means nothing.
func (g *guard) clear() error {
	g.since.Store(0)
	if g.lazy && g.timeout >= 0 {
		return nil // without a timeout, that of the http.Server has to go
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isCut.Load() {
		return g.setLocked(longAgo)
	}
	return g.setLocked(time.Time{})
}

// deadlineStride is how many bytes get a write timeout of their own: a large
// event may take longer than one.
const deadlineStride = 64 << 10

// write writes p to w, which is the ResponseWriter or the connection. It is called
// at the age now of the Broker, or a moment later.
func (g *guard) write(w io.Writer, p []byte, now time.Duration) error {
	for first := true; len(p) > 0; first = false {
		part := p[:min(len(p), deadlineStride)]
		p = p[len(part):]
		if !first {
			now = g.b.age()
		}
		if err := g.arm(now); err != nil {
			return err
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// arm sets the deadline for a write that begins at the age now of the Broker.
func (g *guard) arm(now time.Duration) error {
	if g.timeout < 0 {
		return nil
	}
	g.since.Store(int64(now) + 1)
	if now < g.covered && !g.isCut.Load() {
		return nil
	}
	deadline := now + g.timeout
	if g.lazy {
		g.covered = now + g.timeout/4
		deadline += g.timeout / 4
	}
	err := g.set(g.b.born.Add(deadline))
	if errors.Is(err, http.ErrNotSupported) {
		// As with an httptest.ResponseRecorder. Nothing there can block, or it is
		// not ours to end.
		g.mu.Lock()
		defer g.mu.Unlock()
		g.timeout = -1
		return nil
	}
	return err
}

// disarm clears the deadline, once what was written has been sent.
func (g *guard) disarm() error {
	if g.timeout < 0 {
		return nil
	}
	return g.clear()
}

// page is the wire of an ordinary stream. What [sse.Writer] does besides is done
// elsewhere here, and takes a thirtieth of the time of a small write.
type page guard

func (p *page) Write(data []byte, now time.Duration) error {
	return (*guard)(p).write(p.ResponseWriter, data, now)
}

// Flush sends what was written. After an error the deadline stays: what net/http
// writes when the handler returns then fails at once as well, instead of waiting
// for the client again.
func (p *page) Flush() error {
	g := (*guard)(p)
	if err := http.NewResponseController(g.ResponseWriter).Flush(); err != nil {
		return err
	}
	return g.disarm()
}

func (g *guard) setLocked(t time.Time) error {
	g.isSet = !t.IsZero()
	if g.conn != nil {
		return g.conn.SetWriteDeadline(t)
	}
	return http.NewResponseController(g.ResponseWriter).SetWriteDeadline(t)
}

// writing returns for how long a write has been under way at an age of the
// Broker, if it runs with a deadline.
func (g *guard) writing(age time.Duration) time.Duration {
	since := g.since.Load()
	if since == 0 {
		return 0
	}
	return max(age-time.Duration(since-1), 1)
}

// handOver makes g the guard of the connection that was taken over from its
// ResponseWriter, which is of no use any more.
func (g *guard) handOver(conn net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conn, g.ResponseWriter = conn, nil
	g.isSet, g.covered = false, 0 // Hijack clears it
}

// release clears the deadline for somebody who writes without the guard.
func (g *guard) release() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.isSet || g.isCut.Load() {
		return nil
	}
	g.covered = 0
	return g.setLocked(time.Time{})
}

// cut frees a write that is blocked, and fails those to come. It may be called
// at any time. A stream that is not in a write is left alone, so that it can
// end cleanly.
func (g *guard) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.returned {
		return
	}
	g.isCut.Store(true)
	if g.since.Load() != 0 || g.timeout < 0 {
		_ = g.setLocked(longAgo) // a writer without deadlines has no blocked writes either
	}
}

// finish prepares for what net/http writes after the handler has returned: it
// must have time for it, but not for ever, or a client that does not read would
// hold the goroutine, and http.Server.Shutdown with it. After a write that
// failed the old deadline stays.
func (g *guard) finish(timeout time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.returned {
		return // a ResponseWriter that ends its goroutine here has it called again
	}
	g.returned = true
	if g.since.Load() == 0 && timeout > 0 {
		_ = g.setLocked(time.Now().Add(timeout))
	}
}
