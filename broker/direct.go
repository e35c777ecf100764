package broker

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

// wake has a subscriber look at what else there is than what the shard has for
// it: the end of a context, a heartbeat that is due.
func (s *shard) wake(o op) {
	switch r := o.reg; {
	case r.slots == nil:
	case r.waits:
		s.mark(o) // or there is something else in the queue
	case r.isParked() && r.sub.direct:
	default:
		s.post(r, item{})
	}
}

// write writes b to r's socket.
func (s *shard) write(r *registration, b *batch) {
	sub := r.sub
	if id := b.frame.event.ID; id != "" {
		sub.position, sub.handed = id, id
	}
	sub.seen = r.count
	s.written += uint64(b.events)
	sub.total.Add(uint64(b.events))
	s.writeBytes(r, b)
}

// writeBytes writes b, which may be a heartbeat, to r's socket.
func (s *shard) writeBytes(r *registration, b *batch) {
	b.ready()
	l := r.sub.line
	r.sub.out.wrote = s.now
	p := r.sub.out.bytes(b)
	s.bytes += uint64(len(p))
	n, err := l.tryWrite(&s.socket, p)
	switch {
	case err != nil:
		l.err = err
		s.drop(r)
	case n < len(p):
		l.rest = p[n:]
		s.release(r)
	}
}

// beat writes a heartbeat to every socket of this shard that has been idle for
// long: the newest ID, up to which the shard has delivered everything, where
// that is news.
func (s *shard) beat(o op) {
	s.flush()
	comment := new(batch).with(emptyComment)
	id := o.mark.frame.event.ID
	for _, list := range s.index {
		for i := len(list) - 1; i >= 0; i-- {
			r := list[i].reg
			if !r.isParked() || !r.sub.direct {
				continue
			}
			r.queue = nil // an idle subscriber needs none
			switch {
			case s.now.Sub(r.sub.out.wrote) < s.heartbeat:
			case id == "" || id == r.sub.handed:
				s.writeBytes(r, comment)
			default:
				r.sub.position, r.sub.handed = id, id
				s.writeBytes(r, o.mark)
			}
		}
	}
}

var emptyComment = &frame{data: []byte(":\n\n")}
