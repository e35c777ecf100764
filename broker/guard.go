package broker

import (
	"net/http"
	"sync"
	"time"
)

// A guard is a ResponseWriter whose blocked writes the Broker can end from
// outside, by a write deadline in the past. All write deadlines go through its
// lock: one that was set in between would be a new lease, and on HTTP/2 one
// that is set after the handler has returned panics.
type guard struct {
	http.ResponseWriter
	unlimited bool // writes run without a deadline

	mu       sync.Mutex // guards what follows and the write deadline
	armed    bool       // a deadline is set: a write may be blocked
	isCut    bool
	returned bool // the handler is about to return
}

var longAgo = time.Unix(1, 0)

// Unwrap lets [http.ResponseController] find the methods of the writer.
func (g *guard) Unwrap() http.ResponseWriter { return g.ResponseWriter }

// SetWriteDeadline is called around each write.
func (g *guard) SetWriteDeadline(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isCut && !t.IsZero() {
		t = longAgo
	}
	g.armed = !t.IsZero()
	return g.setLocked(t)
}

func (g *guard) setLocked(t time.Time) error {
	return http.NewResponseController(g.ResponseWriter).SetWriteDeadline(t)
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
	if g.armed || g.unlimited {
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
	g.returned = true
	if !g.armed && timeout > 0 {
		_ = g.setLocked(time.Now().Add(timeout))
	}
}
