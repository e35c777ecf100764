package broker

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// A guard is a ResponseWriter whose write deadlines go through a lock. So the
// Broker can end a blocked write from outside, by a deadline in the past: one
// that was set in between would be a new lease, and on HTTP/2 one that is set
// after the handler has returned panics.
//
// It also saves most of them. Setting a deadline and clearing it takes a tenth
// of the time of a small write. On HTTP/1 a deadline means nothing while no one
// writes, so there it is left, and only moved when a quarter of it is used up.
type guard struct {
	http.ResponseWriter

	mu       sync.Mutex // guards what follows and the write deadline
	timeout  time.Duration
	conn     net.Conn  // taken over from the ResponseWriter, or nil
	until    time.Time // the deadline that is set; zero: none
	deadline int64     // of the last write, in ns since 1970
	armed    bool      // a write may be blocked
	isCut    bool
	returned bool // the handler is about to return

	lazy bool // HTTP/1
}

func newGuard(w http.ResponseWriter, r *http.Request, timeout time.Duration) *guard {
	return &guard{ResponseWriter: w, timeout: timeout, lazy: r.ProtoMajor == 1}
}

var longAgo = time.Unix(1, 0)

// Unwrap lets [http.ResponseController] find the methods of the writer.
func (g *guard) Unwrap() http.ResponseWriter { return g.ResponseWriter }

// SetWriteDeadline is called before each write, and after it with the zero time.
func (g *guard) SetWriteDeadline(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.armed = !t.IsZero(); g.armed {
		g.deadline = t.UnixNano()
	}
	switch {
	case g.isCut && g.armed:
		return g.setLocked(longAgo)
	case !g.lazy:
		return g.setLocked(t)
	case !g.armed, !t.After(g.until):
		return nil
	}
	return g.setLocked(t.Add(time.Until(t) / 4))
}

// deadlineStride is how many bytes get a write timeout of their own: a large
// event may take longer than one.
const deadlineStride = 64 << 10

// write writes p to w, which is the ResponseWriter or the connection.
func (g *guard) write(w io.Writer, p []byte) error {
	for len(p) > 0 {
		part := p[:min(len(p), deadlineStride)]
		p = p[len(part):]
		if err := g.arm(); err != nil {
			return err
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// arm sets the deadline for a write.
func (g *guard) arm() error {
	if g.timeout < 0 {
		return nil
	}
	err := g.SetWriteDeadline(time.Now().Add(g.timeout))
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

// disarm clears it, once what was written has been sent.
func (g *guard) disarm() error {
	if g.timeout < 0 {
		return nil
	}
	return g.SetWriteDeadline(time.Time{})
}

// page is the wire of an ordinary stream. What [sse.Writer] does besides is done
// elsewhere here, and takes a thirtieth of the time of a small write.
type page guard

func (p *page) Write(data []byte) (int, error) {
	g := (*guard)(p)
	if err := g.write(g.ResponseWriter, data); err != nil {
		return 0, err
	}
	return len(data), nil
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
	g.until = t
	if g.conn != nil {
		return g.conn.SetWriteDeadline(t)
	}
	return http.NewResponseController(g.ResponseWriter).SetWriteDeadline(t)
}

// writing returns for how long a write has been under way, if it runs with a
// deadline, which is this timeout from its start.
func (g *guard) writing(timeout time.Duration) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.armed {
		return 0
	}
	return max(timeout-time.Until(time.Unix(0, g.deadline)), 1)
}

// handOver makes g the guard of the connection that was taken over from its
// ResponseWriter, which is of no use any more.
func (g *guard) handOver(conn net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conn, g.ResponseWriter = conn, nil
	g.until = time.Time{} // Hijack clears it
}

// release clears the deadline for somebody who writes without the guard.
func (g *guard) release() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.until.IsZero() || g.isCut {
		return nil
	}
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
	g.isCut = true
	if g.armed || g.timeout < 0 {
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
	if !g.armed && timeout > 0 {
		_ = g.setLocked(time.Now().Add(timeout))
	}
}
