package broker

// A shard writes to the socket of a detached subscriber itself, as long as the
// socket takes everything: waking a goroutine for it costs more than all the
// rest. A socket has one owner at a time, as a write waits for a goroutine that
// is in a write to the same socket. The subscriber's goroutine gives its socket
// away by an op that the shard handles (adopt) and ends; the shard gives it back
// by starting that goroutine anew (release), with what the socket did not take,
// and puts what comes from then on into the queue.

// adopt makes the shard the owner of a subscriber's socket, unless something
// has been queued since the subscriber found its queue empty.
func (s *shard) adopt(o op) {
	r := o.reg
	if r.slots != nil {
		s.emit(r)
	}
	if r.slots == nil || len(r.queue) > 0 {
		go r.sub.resume()
		return
	}
	r.direct = true
	r.queue = nil // an idle subscriber needs none
}

// release gives r's socket back to its subscriber.
func (s *shard) release(r *registration) {
	r.direct = false
	r.queue = make(chan item, s.queueSize)
	go r.sub.resume()
}

// write writes b to r's socket.
func (s *shard) write(r *registration, b *batch) {
	sub := r.sub
	if id := b.frame.event.ID; id != "" {
		sub.position, sub.handed = id, id
	}
	sub.seen = r.count
	s.written += uint64(b.events)
	s.writeChunk(r, b)
}

// writeChunk writes b, which may be a heartbeat, to r's socket.
func (s *shard) writeChunk(r *registration, b *batch) {
	l := r.sub.line
	r.sub.out.wrote = s.now
	chunk := b.inChunk()
	n, err := l.tryWrite(chunk)
	switch {
	case err != nil:
		l.err = err
		s.drop(r)
	case n < len(chunk):
		l.rest = chunk[n:]
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
			switch {
			case !r.direct || s.now.Sub(r.sub.out.wrote) < s.heartbeat:
			case id == "" || id == r.sub.handed:
				s.writeChunk(r, comment)
			default:
				r.sub.position, r.sub.handed = id, id
				s.writeChunk(r, o.mark)
			}
		}
	}
}

var emptyComment = &frame{data: []byte(":\n\n")}
