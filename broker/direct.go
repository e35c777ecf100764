package broker

import "time"

// To a detached subscriber's socket the shard writes itself while the
// registration is parked and the socket takes everything: having somebody else
// do it costs more than all the rest. Only what the socket does not take, and
// what comes until that is written, is for somebody else. A socket has one owner
// at a time, as a write waits for a goroutine that is in a write to the same
// socket.

// release gives a registration that is parked to a goroutine of its own, which
// begins with what the socket did not take.
func (s *shard) release(r *registration) {
	r.queue = nil
	r.busy.Store(1)
	r.sub.spawn(nil)
}

// write writes b to r's socket.
func (s *shard) write(r *registration, b *batch) {
	sub := r.sub
	sub.moveTo(b.frame.event.ID)
	sub.seen = r.count
	if r.queue != nil {
		r.queue = nil // an idle subscriber needs none
	}
	if s.writeBytes(r, b) {
		s.written += uint64(b.events)
		sub.total.Add(uint64(b.events))
	}
}

// writeBytes writes b, which may be a heartbeat, to r's socket, and reports whether
// that took it, or will.
func (s *shard) writeBytes(r *registration, b *batch) (ok bool) {
	b.ready()
	l := r.sub.line
	r.sub.wrote = s.now.Sub(s.born)
	p := r.sub.stream.bytes(b)
	n, err := l.tryWrite(&s.socket, p)
	if err != nil {
		s.bytes += uint64(n)
		l.err = err
		s.drop(r)
		return false
	}
	s.bytes += uint64(len(p)) // with what is left to somebody else
	if n < len(p) {
		l.left = p[n:]
		s.release(r)
	}
	if !s.writes {
		s.writes = true
		s.yields.begin(time.Since(s.born))
	}
	s.yields.wrote(s.born, yieldCore)
	return true
}
