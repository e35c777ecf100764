package broker

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fanfare-go/fanfare/sse"
)

// A line is the connection of a detached subscriber: taken over from net/http,
// so that nothing of a request but its socket is left. The response ends with
// the connection. A goroutine serves the stream while there is something to wait
// for, see [Subscription.resume]; in between the shard writes to it. Somebody
// watches for the other end to go.
type line struct {
	conn  net.Conn
	raw   syscall.RawConn
	guard *guard

	// Owned by whoever owns the socket.
	left []byte // what the shard could not write
	err  error  // final: of a write

	ignored int          // bytes that the other end has sent; of whoever watches
	users   atomic.Int32 // goroutines that have not ended
}

// maxIgnored is how many bytes the other end may send after its request. To read
// what a client sends all day long would cost more than what it is sent.
const maxIgnored = 64 << 10

// errParked leaves run when the shard has taken over.
var errParked = errors.New("broker: parked")

// detach takes the connection over from net/http and sends the response header.
// It returns nil, having done nothing, where that is not possible.
func detach(g *guard, r *http.Request) (*line, error) {
	if r.TLS != nil || r.ProtoMajor != 1 || r.ContentLength != 0 {
		return nil, nil // a body is for the sse.Writer to read
	}
	h := g.ResponseWriter.Header().Clone()
	conn, _, err := http.NewResponseController(g.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil // middleware has words of its own for http.ErrNotSupported
	}
	l := &line{conn: conn, guard: g}
	l.users.Store(1)
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		// Without it the shard leaves the socket alone. A connection of another
		// type may do more in Write than to write to its socket.
		l.raw, _ = conn.(syscall.Conn).SyscallConn()
	}
	g.handOver(conn)
	sse.SetHeader(h)
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	h.Del("Transfer-Encoding")
	h.Set("Connection", "close") // see unchunk
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 200 OK\r\n")
	_ = h.Write(&head) // into memory
	head.WriteString("\r\n")
	if err := l.Write(head.Bytes(), g.b.age()); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return l, nil
}

// Write writes p after what the shard left.
func (l *line) Write(p []byte, now time.Duration) error {
	for _, data := range [][]byte{l.left, p} {
		if l.err == nil {
			l.err = l.guard.write(l.conn, data, now)
		}
	}
	l.left = nil
	if l.err == nil {
		l.err = l.guard.disarm()
	}
	return l.err
}

// Flush does nothing: Write does not hold anything back.
func (l *line) Flush() error { return nil }

// tryWrite writes what the socket takes without waiting. w is of the caller.
func (l *line) tryWrite(w *socketWriter, p []byte) (n int, err error) {
	if w.write == nil {
		w.write = w.once
	}
	w.p, w.n, w.err = p, 0, nil
	if err := l.raw.Write(w.write); err != nil {
		return w.n, err
	}
	return w.n, w.err
}

// A socketWriter is what RawConn.Write calls, with its argument and results:
// used again, it saves three allocations for each write.
type socketWriter struct {
	write func(fd uintptr) (done bool) // once
	p     []byte
	n     int
	err   error
}

func (w *socketWriter) once(fd uintptr) bool {
	w.n, w.err = writeSocket(fd, w.p)
	w.p = nil
	return true // rather than wait
}

// watch has somebody close s when the other end of its line goes.
func (b *Broker) watch(s *Subscription) {
	if !b.watcher.add(s) {
		s.line.users.Add(1)
		go s.line.watch(s)
	}
}

// watch waits for the other end to go. What it sends is of no interest.
func (l *line) watch(s *Subscription) {
	var ignored [16]byte
	for l.ignored <= maxIgnored {
		n, err := l.conn.Read(ignored[:])
		if err != nil {
			break
		}
		l.ignored += n
	}
	s.gone()
	l.release(s)
}

// gone closes s, as the other end of its line has gone.
func (s *Subscription) gone() {
	s.close(endClient)
	s.stream.guard.cut()
}

// release is called by each user of l as it ends.
func (l *line) release(s *Subscription) {
	if l.users.Add(-1) == 0 {
		s.unserve()
	}
}

// finish ends the connection, and the response with it.
func (l *line) finish(s *Subscription) {
	l.guard.finish(-1)
	s.b.watcher.remove(s)
	_ = l.conn.Close()
	l.release(s)
}
