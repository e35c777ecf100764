package ssetest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// DefaultBuffer is how many bytes each direction of an in-memory connection
// holds unless [NetworkOptions.Buffer] says otherwise: what a socket holds.
const DefaultBuffer = 64 << 10

// Conn is one end of an in-memory connection. It behaves like a TCP connection
// over loopback: each direction has a buffer, a Write blocks only when that is
// full, deadlines free blocked calls, and what was written before a Close
// arrives before its [io.EOF].
//
// In a [testing/synctest] bubble a blocked Read or Write is durably blocked, so
// that the fake clock advances; both ends must then be used within one bubble.
//
// All methods may be called concurrently. Concurrent Writes do not mix their
// bytes.
type Conn struct {
	in, out       *half
	local, remote net.Addr
}

var _ net.Conn = (*Conn)(nil)

// Pipe returns the two ends of a new connection that belongs to no [Network].
// Each direction holds buffer bytes; 0 is [DefaultBuffer], negative is no
// bound.
func Pipe(buffer int) (*Conn, *Conn) {
	return pipe(buffer, addr("pipe"), addr("pipe"))
}

func pipe(buffer int, a, b net.Addr) (*Conn, *Conn) {
	if buffer == 0 {
		buffer = DefaultBuffer
	}
	ab, ba := newHalf(buffer), newHalf(buffer)
	return &Conn{in: ba, out: ab, local: a, remote: b}, &Conn{in: ab, out: ba, local: b, remote: a}
}

// Read reads what the other end wrote. Errors are those of a TCP connection,
// each in a [*net.OpError]: [io.EOF] itself after the other end's Close or
// CloseWrite, [syscall.ECONNRESET] after a Reset, [os.ErrDeadlineExceeded],
// and [net.ErrClosed] after this end's Close.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	return n, c.opError("read", err)
}

// Write hands p to the other end, and returns once all of it is in the
// buffer. Errors are those of a TCP connection, each in a [*net.OpError]:
// [syscall.EPIPE] when the other end is closed or this one's CloseWrite was
// called, [syscall.ECONNRESET] after a Reset, [os.ErrDeadlineExceeded], and
// [net.ErrClosed] after this end's Close. The n bytes written before an error
// arrive.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	return n, c.opError("write", err)
}

// Close closes this end, and frees the calls that are blocked on either end.
// The other end still reads what was written here, then io.EOF; what it wrote
// and was not read is lost. Closing again does nothing.
func (c *Conn) Close() error {
	c.out.closeWrite(net.ErrClosed)
	c.in.closeRead()
	return nil
}

// CloseWrite closes the writing side of this end: the other end reads what was
// written, then io.EOF, and can still write.
func (c *Conn) CloseWrite() error {
	c.out.closeWrite(syscall.EPIPE)
	return nil
}

// Reset breaks the connection: what is in the buffers is lost, and the calls
// on both ends, blocked ones too, fail with [syscall.ECONNRESET]. Each end is
// still to be closed.
func (c *Conn) Reset() {
	c.out.reset()
	c.in.reset()
}

// LocalAddr returns the address of this end.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the other end.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets the deadline of Read and Write. As with every [net.Conn],
// the zero time is no deadline, and one that is past frees a call that is
// blocked already.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets the deadline of Read.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.opError("set", c.in.setDeadline(&c.in.readBy, t))
}

// SetWriteDeadline sets the deadline of Write.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.opError("set", c.out.setDeadline(&c.out.writeBy, t))
}

// opError wraps err as package net does.
func (c *Conn) opError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if errno, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: c.remote, Err: err}
}

// half is one direction of a connection: a bounded buffer between the end that
// writes and the end that reads.
//
// A condition variable, not channels: a Read waits for any of five things
// (bytes, the end, a reset, its own Close, its deadline), and with all of them
// under one lock there is one order in which they happen.
type half struct {
	mu      sync.Mutex // guards all below; let go of by changed.Wait, so never held while blocked
	changed sync.Cond  // broadcast on every change; L is &mu

	buf   []byte // buf[off:] was written and not yet read
	off   int
	limit int // of len(buf[off:]); negative: none

	writing      bool  // a Write is under way; the next one waits
	ended        error // not nil: the writing end is closed, and this is what its Write returns
	readerClosed bool
	broken       bool // by Reset

	readBy, writeBy deadline
}

func newHalf(limit int) *half {
	h := &half{limit: limit}
	h.changed.L = &h.mu
	return h
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.readerClosed:
			return 0, net.ErrClosed
		case h.broken:
			return 0, syscall.ECONNRESET
		case h.readBy.hasPassed(): // even if there are bytes: as package net does
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case h.off < len(h.buf):
			n := copy(p, h.buf[h.off:])
			if h.off += n; h.off == len(h.buf) {
				h.buf, h.off = h.buf[:0], 0
			}
			h.changed.Broadcast()
			return n, nil
		case h.ended != nil:
			return 0, io.EOF
		}
		h.changed.Wait()
	}
}

func (h *half) write(p []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.writing { // whoever ends that Write by an error ends this one as well
		h.changed.Wait()
	}
	h.writing = true
	defer func() {
		h.writing = false
		h.changed.Broadcast()
	}()
	for {
		switch {
		case h.ended != nil:
			return n, h.ended
		case h.broken:
			return n, syscall.ECONNRESET
		case h.writeBy.hasPassed():
			return n, os.ErrDeadlineExceeded
		case h.readerClosed:
			return n, syscall.EPIPE
		}
		k := h.putLocked(p)
		n, p = n+k, p[k:]
		if len(p) == 0 {
			return n, nil
		}
		h.changed.Broadcast()
		h.changed.Wait()
	}
}

// putLocked appends as much of p as fits and returns how much that was.
func (h *half) putLocked(p []byte) int {
	if h.limit >= 0 {
		p = p[:min(len(p), h.limit-(len(h.buf)-h.off))]
	}
	if len(h.buf)+len(p) > cap(h.buf) && h.off >= len(h.buf)/2 {
		// Moving at most as many bytes as were read since the last move keeps
		// the cost of a byte constant.
		h.buf, h.off = h.buf[:copy(h.buf, h.buf[h.off:])], 0
	}
	h.buf = append(h.buf, p...)
	return len(p)
}

// closeWrite ends the direction; err is what a later write returns.
func (h *half) closeWrite(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended == nil || err == net.ErrClosed {
		h.ended = err
	}
	if err == net.ErrClosed {
		h.writeBy.stop()
	}
	h.changed.Broadcast()
}

func (h *half) closeRead() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readerClosed = true
	h.buf, h.off = nil, 0
	h.readBy.stop()
	h.changed.Broadcast()
}

func (h *half) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken = true
	h.buf, h.off = nil, 0
	h.changed.Broadcast()
}

// deadline is when the calls of one kind on a half fail. The half's mu guards
// it.
type deadline struct {
	at     time.Time // zero: none
	timer  *time.Timer
	number int // of the deadlines set so far: tells a timer that fires late that it is replaced
	passed bool
}

// hasPassed does not rely on the timer alone: who wakes at the very moment of
// the deadline, as happens on a fake clock, must not depend on which of the
// two goroutines runs first.
func (d *deadline) hasPassed() bool {
	return d.passed || !d.at.IsZero() && !time.Now().Before(d.at)
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
	*d = deadline{number: d.number + 1}
}

// setDeadline sets d, which is one of h's two, to t.
func (h *half) setDeadline(d *deadline, t time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d == &h.readBy && h.readerClosed || d == &h.writeBy && h.ended == net.ErrClosed {
		return net.ErrClosed
	}
	d.stop()
	d.at = t
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		d.passed = true
		h.changed.Broadcast()
	default:
		number := d.number
		d.timer = time.AfterFunc(wait, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			if d.number == number {
				d.passed = true
				h.changed.Broadcast()
			}
		})
	}
	return nil
}
