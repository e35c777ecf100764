package broker

import "time"

const (
	// maxFrames bounds the frames between two flushes, while more come in.
	maxFrames = 256

	// maxBatch bounds the bytes of a batch of more than one frame.
	maxBatch = 64 << 10
)

// gather adds f to what those in g get with the next flush.
func (s *shard) gather(g *group, f *frame) {
	if b := g.batch; b != nil && (b.events == s.maxEvents || b.size+len(f.data) > s.maxBytes) {
		s.tellTime()
		s.emit(g)
	}
	if g.batch == nil {
		g.batch = &s.empty
		if !g.dirty {
			g.dirty = true
			s.dirty = append(s.dirty, g)
		}
	}
	if g.batch.next == nil {
		s.grown = append(s.grown, g.batch)
	}
	g.batch = g.batch.with(f)
	if s.newest != f {
		if s.frames == 0 && s.interval > 0 {
			s.due.Reset(s.interval)
		}
		s.newest = f
		s.frames++
	}
}

// flush emits all that was gathered.
func (s *shard) flush() {
	s.now, s.timed = time.Now(), false
	for _, g := range s.dirty {
		g.dirty = false
		s.emit(g)
	}
	clear(s.dirty)
	s.dirty = s.dirty[:0]
	for _, b := range s.grown {
		b.next = nil // or a queue would hold what only others got
	}
	clear(s.grown)
	s.grown = s.grown[:0]
	s.empty, s.newest, s.frames = batch{}, nil, 0
	s.remainders = nil // a map that was large once would take its time to clear
	s.account()
	s.setPatience()
}

// account adds what was written to sockets to the Broker's figures.
func (s *shard) account() {
	if s.bytes > 0 || s.written > 0 {
		s.tally.delivered.Add(s.written)
		s.tally.bytes.Add(s.bytes)
		s.written, s.bytes = 0, 0
	}
}

// tellTime sets now for what is emitted before the flush.
func (s *shard) tellTime() {
	if !s.timed {
		s.now, s.timed = time.Now(), true
	}
}

// emit hands out what was gathered for g.
func (s *shard) emit(g *group) {
	b := g.batch
	g.batch = nil
	if b == nil {
		return
	}
	// Backwards: when one is dropped, the last takes its place, and has had its turn.
	for i := len(g.regs) - 1; i >= 0; i-- {
		s.give(g.regs[i], b)
	}
}

// emitEarly hands out what was gathered for r alone, before the flush.
func (s *shard) emitEarly(r *registration) {
	b := r.group.batch
	if b == nil {
		return
	}
	s.tellTime()
	s.give(r, b)
	if r.group != nil {
		r.past = b
	}
}

// give hands b, which is that of its group, to r.
func (s *shard) give(r *registration, b *batch) {
	if r.past != nil {
		b = s.since(b, r.past)
		r.past = nil
		if b == nil {
			return
		}
	}
	direct := r.isParked() && r.sub.direct && r.sub.stream.takes(b)
	if s.single && b.parent != nil && !direct {
		if s.give(r, b.parent); r.group == nil {
			return // it was dropped
		}
		b = s.since(b, b.parent)
	}
	r.count += uint64(b.events)
	if r.waits {
		s.work += wakeTime
	} else {
		s.work += writeTime
	}
	if direct {
		s.write(r, b)
	} else {
		s.push(r, b)
	}
}

// push queues b for r or, if r's queue is full, does what the slow policy says.
func (s *shard) push(r *registration, b *batch) {
	switch s.slow {
	case DropOldest:
		s.makeRoom(r, b)
	case Conflate:
		s.conflate(r, b)
	}
	n := r.count
	for b != nil && !s.fits(r, b) {
		b = b.parent // a shorter one may fit
		n--
	}
	lost := r.count - n
	if lost > 0 && s.slow == DropNewest {
		// Before the rest is queued, see drain: whoever has taken that must know
		// that there is something missing behind it.
		s.stats.dropped.Add(lost)
		r.sub.dropped.Add(lost)
		r.missed.Store(r.count)
	}
	if b != nil {
		s.put(r, item{b, n})
	}
	switch {
	case lost == 0:
	case s.slow != DropNewest:
		r.behind = true
		s.drop(r)
	case r.isIdle():
		// All that was in the way has been taken since, and whoever took it may have
		// looked at missed before.
		s.put(r, item{newMark(""), r.count})
	}
}

// makeRoom drops the oldest events until b fits.
func (s *shard) makeRoom(r *registration, b *batch) {
	for !s.fits(r, b) {
		// The queue may have been emptied since, by its subscriber: then b fits.
		select {
		case old := <-r.queue:
			r.leave(old.batch.events, old.batch.size)
			s.stats.dropped.Add(uint64(old.batch.events))
			r.sub.dropped.Add(uint64(old.batch.events))
		default:
		}
	}
}

// newQueue returns a queue. Besides events there is a place for a mark, or an
// event that comes behind it might be dropped, and be told as a gap of its own.
func (s *shard) newQueue() chan item { return make(chan item, s.queueSize+1) }

// put queues it, which fits.
func (s *shard) put(r *registration, it item) {
	b := it.batch
	b.ready()
	if r.isEmpty() {
		r.first = r.bytesIn + uint64(b.first)
	}
	if r.eventsOut.Load() == r.eventsIn { // what was taken and not handed out waits as well
		r.since = s.now.Sub(s.born)
	}
	r.eventsIn += uint64(b.events)
	r.bytesIn += uint64(b.size)
	s.post(r, it)
}

// fits reports whether there is room for b in r's queue. The subscriber may take
// items meanwhile, which only makes more.
func (s *shard) fits(r *registration, b *batch) bool {
	if r.queue != nil && len(r.queue) == cap(r.queue) {
		return false
	}
	if r.isEmpty() {
		return true // no batch is larger than a queue, but for its first event
	}
	events := int(r.eventsIn - r.eventsOut.Load())
	beyond := int(r.bytesIn - max(r.first, r.bytesOut.Load()))
	return events+b.events <= s.queueSize && beyond+b.size <= s.queueBytes
}

// isEmpty reports whether no event is queued. A subscriber counts what it took
// after it took it: the length of the queue is ahead of the count. The count
// knows that a mark is no event.
func (r *registration) isEmpty() bool {
	return len(r.queue) == 0 || r.eventsOut.Load() == r.eventsIn
}

// leave counts events that have left the queue.
func (r *registration) leave(events, bytes int) {
	r.eventsOut.Add(uint64(events))
	r.bytesOut.Add(uint64(bytes))
}

// mark queues a mark for one registration, behind what has been delivered to
// it. If that is not done with, the subscriber has other things to read; and a
// mark in a queue that is full would be taken before what is dropped behind it.
func (s *shard) mark(o op) {
	r := o.reg
	if r.group == nil {
		return
	}
	s.emitEarly(r)
	if r.group != nil && r.isIdle() {
		s.put(r, item{o.mark, r.count})
	}
}

// isIdle reports whether nothing is queued, and nothing that was is still on its
// way to the subscriber.
func (r *registration) isIdle() bool { return len(r.queue) == 0 && r.eventsOut.Load() == r.eventsIn }

// gap tells every registration that events are missing which nobody here has
// seen: it counts one that is not there. Whoever gets a Snapshot after a gap has to
// go through a replay for it.
func (s *shard) gap(o op) {
	s.flush()
	// Under Conflate there must be room for the event that comes next as well, or
	// the subscriber would have to catch up with it, and be told a second gap.
	next := &batch{frame: o.mark.frame, events: 1, size: len(o.frame.data)} // without a key
	for r := range s.all {
		if len(r.group.topics) == 0 {
			continue // nothing is missing for it
		}
		r.count++
		if id := o.mark.frame.event.ID; id != "" {
			r.noteSetBack(id)
		}
		if s.snapshots && !r.waits {
			r.gapped = true
			s.drop(r)
			continue
		}
		if s.slow == Conflate { // counts may go back, so missed would be wrong
			s.conflate(r, next)
			if s.fits(r, next) && len(r.queue) < s.queueSize { // one of two places is the mark's
				s.put(r, item{o.mark, r.count})
			} else {
				r.behind = true
				s.drop(r)
			}
			continue
		}
		// First, so that a subscriber that empties its queue now finds it.
		// Behind events there is no mark: what is dropped behind that
		// would be a gap of its own, though it is the same hole.
		r.missed.Store(r.count)
		if r.isIdle() {
			s.put(r, item{o.mark, r.count})
		}
	}
}
