package broker

// A subscriber over HTTP that is idle is parked: its goroutine gives the stream
// to the shard, by an op (adopt), and ends. When there is something to do the
// shard starts the goroutine anew (release), and puts what has come into the
// queue.
//
// To a detached subscriber's socket the shard writes itself, as long as the
// socket takes everything: waking a goroutine for it costs more than all the
// rest. Only what the socket does not take, and what comes after it, is for the
// goroutine. A socket has one owner at a time, as a write waits for a goroutine
// that is in a write to the same socket.

// adopt makes the shard the owner of a stream, unless something has been queued
// since its goroutine found the queue empty.
func (s *shard) adopt(o op) {
	r := o.reg
	if r.slots != nil {
		s.emit(r)
	}
	if r.slots == nil || len(r.queue) > 0 {
		go r.sub.resume()
		return
	}
	r.parked = true
	r.queue = nil // an idle subscriber needs none
}

// release gives a stream back to its goroutine.
func (s *shard) release(r *registration) {
	r.parked = false
	r.queue = make(chan item, s.queueSize)
	go r.sub.resume()
}

// wake has a subscriber look at what else there is than its queue: the end of
// a context, a heartbeat that is due. One whose queue is not empty comes by.
func (s *shard) wake(o op) {
	if r := o.reg; r.parked && r.sub.line == nil {
		s.release(r)
	} else {
		s.mark(o)
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
	s.writeChunk(r, b)
}

// writeChunk writes b, which may be a heartbeat, to r's socket.
func (s *shard) writeChunk(r *registration, b *batch) {
	l := r.sub.line
	r.sub.out.wrote = s.now
	chunk := b.inChunk()
	n, err := l.tryWrite(&s.socket, chunk)
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
			case !r.parked || r.sub.line == nil || s.now.Sub(r.sub.out.wrote) < s.heartbeat:
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
