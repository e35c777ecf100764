package ssetest

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// relay forwards the bytes of one connection, and breaks it by its plan.
type relay struct {
	faults *Faults
	plan   *plan
	dial   func(context.Context) (net.Conn, error) // another connection to the server; nil: not possible
	client net.Conn
	server net.Conn // nil until connected; then not changed

	ended atomic.Bool   // a fault has ended the connection, and is counted
	deaf  atomic.Bool   // half-closed: when the client goes, the server is closed
	asked chan struct{} // closed by up, when the client has sent something or will not
	gone  chan struct{} // closed by up, when the client sends no more

	mu     sync.Mutex // guards all below
	closed bool
	conns  []net.Conn // all there are, the client first: to close
}

// start numbers a new connection from client and forwards it to server, or to
// what dial gives if that is nil. It returns false if f is closed, or, with
// the client closed, if it is closed meanwhile.
func (f *Faults) start(client, server net.Conn, dial func(context.Context) (net.Conn, error)) bool {
	r := &relay{
		faults: f, dial: dial, client: client, server: server,
		asked: make(chan struct{}), gone: make(chan struct{}),
	}
	for _, c := range []net.Conn{client, server} {
		if c != nil {
			r.conns = append(r.conns, c)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.connections++
	r.plan = f.plan(f.connections)
	f.relays[r] = struct{}{}
	f.work.Go(func() { // joined by Faults.Close
		r.run()
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.relays, r)
	})
	return true
}

func (r *relay) run() {
	defer r.close()
	if r.server == nil {
		if r.server = r.connect(); r.server == nil {
			reset(r.client)
			return
		}
	}
	first, ok := r.plan.next()
	var second net.Conn
	if ok && first.Fault == FaultDuplicate {
		if second = r.connect(); second != nil {
			r.count(FaultDuplicate)
		}
		first, ok = r.plan.next()
	}
	var others sync.WaitGroup
	others.Go(func() { r.up(second) })
	if second != nil {
		others.Go(func() { io.Copy(io.Discard, second) })
	}
	r.down(first, ok)
	<-r.gone
	r.close()
	others.Wait()
}

// connect opens a connection to the server, which the relay then owns; nil if
// that fails.
func (r *relay) connect() net.Conn {
	if r.dial == nil {
		return nil
	}
	c, err := r.dial(r.faults.ctx)
	if err != nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		c.Close()
		return nil
	}
	r.conns = append(r.conns, c)
	return c
}

// relayBuffer is small, so that a client that does not read is felt by the
// server soon.
const relayBuffer = 4 << 10

// up forwards what the client sends until it sends no more.
func (r *relay) up(second net.Conn) {
	asked := sync.OnceFunc(func() { close(r.asked) })
	buf := make([]byte, relayBuffer)
	for {
		n, err := r.client.Read(buf)
		if n > 0 {
			if _, err := r.server.Write(buf[:n]); err != nil {
				break
			}
			if second != nil {
				if _, err := second.Write(buf[:n]); err != nil {
					second = nil
				}
			}
			asked()
		}
		if err != nil {
			break
		}
	}
	asked()
	// First gone, then deaf; down writes and reads them the other way round, so
	// that one of the two sees the other's and closes the server.
	close(r.gone)
	if second != nil {
		closeWrite(second)
	}
	if r.deaf.Load() {
		r.server.Close()
	} else {
		closeWrite(r.server)
	}
}

// down forwards what the server sends, and injects the faults: i, if there is
// one, and then the rest of the plan.
func (r *relay) down(i Injection, ok bool) {
	buf := make([]byte, relayBuffer)
	var sent int64
	// forward forwards the next n bytes; without end if n is negative.
	forward := func(n int64) bool {
		for n != 0 {
			b := buf
			if n > 0 {
				b = b[:min(n, int64(len(b)))]
			}
			k, err := r.server.Read(b)
			if k > 0 {
				if _, err := r.client.Write(b[:k]); err != nil {
					r.close() // nobody reads; the server is to notice
					return false
				}
				sent += int64(k)
				n -= int64(k)
			}
			if err != nil && n != 0 {
				if errors.Is(err, syscall.ECONNRESET) {
					reset(r.client)
				}
				closeWrite(r.client)
				return false
			}
		}
		return true
	}
	for ; ok; i, ok = r.plan.next() {
		if !forward(i.At - sent) {
			return
		}
		switch i.Fault {
		case FaultStall:
			r.count(i.Fault)
			r.pause(i.Pause)
		case FaultTrickle:
			r.count(i.Fault)
			for range i.Pieces {
				if !forward(int64(i.Bytes)) {
					return
				}
				r.pause(i.Pause)
			}
		case FaultGarbage:
			<-r.asked
			select {
			case <-r.gone: // nobody is there to be answered
			default:
				if r.end(i.Fault) {
					r.client.Write([]byte(i.Data))
					r.hangUp()
				}
			}
			return
		default:
			r.end(i.Fault)
			return
		}
	}
	forward(-1)
}

// pause waits for d, or without end if d is negative, but not for a client
// that is gone.
func (r *relay) pause(d time.Duration) {
	var after <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		after = t.C
	}
	select {
	case <-after:
	case <-r.gone:
	}
}

func (r *relay) count(kind Fault) {
	r.faults.mu.Lock()
	defer r.faults.mu.Unlock()
	r.faults.counts[kind]++
}

// end ends the connection by a fault, and counts that; false if one has ended
// it already.
func (r *relay) end(kind Fault) bool {
	if !r.ended.CompareAndSwap(false, true) {
		return false
	}
	r.count(kind)
	switch kind {
	case FaultCut:
		r.hangUp()
	case FaultReset:
		r.mu.Lock()
		conns := r.conns
		r.mu.Unlock()
		// The client last: when up sees it end it closes the server in order,
		// and a FIN must not come before the reset.
		for _, c := range slices.Backward(conns) {
			reset(c)
		}
	case FaultHalfClose:
		closeWrite(r.client)
		r.deaf.Store(true)
		select {
		case <-r.gone:
			r.server.Close()
		default:
			io.Copy(io.Discard, r.server)
		}
	}
	return true
}

// hangUp closes all in order: on a socket, Close alone would reset the client
// if there is something of it to be read, and what it was sent would be lost.
func (r *relay) hangUp() {
	closeWrite(r.client)
	r.close()
}

// close closes all connections, which ends up and down.
func (r *relay) close() {
	r.mu.Lock()
	r.closed = true
	conns := r.conns
	r.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}
