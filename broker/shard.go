package broker

import (
	"sync/atomic"

	"github.com/fanfare-go/fanfare/sse"
)

// A frame is an event on its way to the subscribers: encoded once, then shared
// by all queues and never changed. A frame without data carries no event: by
// its place in the queue it tells that everything up to its ID has been queued
// (see shard.mark), and by its count whether events are missing before it.
type frame struct {
	event  sse.Event
	data   []byte // the encoded event
	topics []string
}

// An item is a place in a queue.
type item struct {
	frame *frame

	// n counts the events that were meant for this queue, this one and those
	// that were dropped included. A jump is a gap.
	n uint64
}

// A registration is a subscription's place in a shard: the topics it is
// indexed under and its queue. It ends for good when the queue is closed;
// a subscription that goes on after that has a new one.
type registration struct {
	topics []string
	shard  *shard

	// queue is sent to by the shard alone, which is also its only closer; under
	// DropOldest the shard receives from it, too. Closed, it tells its
	// subscriber to look for the reason.
	queue chan item

	taken  atomic.Uint64 // bytes of all events that have left the queue
	missed atomic.Uint64 // item.n of the newest event that was dropped instead of queued

	// Owned by the shard; behind may be read once the queue is closed.
	slots  []int  // the places in the index: slots[i] is that in the list of topics[i]
	last   *frame // the newest frame that was for this registration
	count  uint64 // item.n of the newest event
	sent   uint64 // bytes of all events that were queued
	first  uint64 // bytes of all events through that which was queued when the queue was empty
	behind bool   // the queue was full: the subscriber has to catch up, or end
}

// An op is what a shard is asked to do. Ops of one shard are handed over under
// the order lock, and done in that order.
type op struct {
	do    func(*shard, op)
	frame *frame
	reg   *registration
}

// A shard is a goroutine that owns a part of the subscribers and the index of
// their topics. Nothing else touches them, so there is no lock. It calls no
// code of the user and never waits for a subscriber.
type shard struct {
	inbox chan op       // sent to under the order lock; never closed
	done  chan struct{} // closed by run as it returns
	load  int           // registrations; guarded by the order lock

	slow       SlowPolicy
	queueBytes uint64
	dropped    *atomic.Uint64

	// Owned by run.
	index map[string][]entry
	ended bool
}

// An entry is a registration in the list of one of its topics, which is
// reg.topics[slot]. Lists, because going through one is most of the work of a
// fan-out and a map takes several times as long; the slots make removal from
// the middle as cheap as from a map.
type entry struct {
	reg  *registration
	slot int
}

func newShard(opts *Options, dropped *atomic.Uint64) *shard {
	return &shard{
		// Room for a burst, so that publishers need not take turns with the
		// shard; what is more makes the publisher wait for the shard.
		inbox:      make(chan op, 256),
		done:       make(chan struct{}),
		slow:       opts.Slow,
		queueBytes: uint64(opts.QueueBytes),
		dropped:    dropped,
		index:      make(map[string][]entry),
	}
}

// send hands o to the shard. The caller holds the order lock.
func (s *shard) send(o op) {
	select {
	case s.inbox <- o:
	case <-s.done:
	}
}

// run does what the inbox asks for until end. It is started by New and joined
// through done.
func (s *shard) run() {
	defer close(s.done)
	for !s.ended {
		o := <-s.inbox
		o.do(s, o)
	}
}

// register opens a registration: it gets every frame that is handed over after
// it, and none from before.
func (s *shard) register(o op) {
	r := o.reg
	r.slots = make([]int, len(r.topics))
	for i, topic := range r.topics {
		list := s.index[topic]
		r.slots[i] = len(list)
		s.index[topic] = append(list, entry{r, i})
	}
}

// unregister ends a registration, unless the shard has ended it before.
func (s *shard) unregister(o op) {
	if o.reg.slots != nil {
		s.drop(o.reg)
	}
}

// drop takes r out of the index and closes its queue. What is queued stays
// readable.
func (s *shard) drop(r *registration) {
	for i, topic := range r.topics {
		list, at := s.index[topic], r.slots[i]
		end := len(list) - 1
		moved := list[end]
		list[at] = moved
		moved.reg.slots[moved.slot] = at
		list[end] = entry{}
		if end == 0 {
			delete(s.index, topic)
		} else {
			s.index[topic] = list[:end]
		}
	}
	r.slots = nil
	close(r.queue)
}

// deliver queues a frame for every registration of its topics, once.
func (s *shard) deliver(o op) {
	f := o.frame
	for _, topic := range f.topics {
		// Backwards: when push drops a registration, the last entry takes its
		// place in the list, and that one has had its turn.
		list := s.index[topic]
		for i := len(list) - 1; i >= 0; i-- {
			if r := list[i].reg; r.last != f {
				r.last = f
				s.push(r, f)
			}
		}
	}
}

// push queues f for r or, if r's queue is full, does what the slow policy says.
func (s *shard) push(r *registration, f *frame) {
	r.count++
	it := item{f, r.count}
	size := uint64(len(f.data))
	for !s.offer(r, it, size) {
		switch s.slow {
		case DropOldest:
			// The queue may have been emptied since, by its subscriber: then
			// the next offer finds room.
			select {
			case old := <-r.queue:
				r.taken.Add(uint64(len(old.frame.data)))
				if old.frame.data != nil {
					s.dropped.Add(1)
				}
			default:
			}
			continue
		case DropNewest:
			s.dropped.Add(1)
			r.missed.Store(r.count)
		default:
			r.behind = true
			s.drop(r)
		}
		return
	}
}

// offer queues it if r's queue is not full. The subscriber may take items
// meanwhile, which only makes room.
func (s *shard) offer(r *registration, it item, size uint64) bool {
	// A subscriber counts what it took after it took it: the length is ahead of
	// the count. The count knows that a mark weighs nothing.
	taken := r.taken.Load()
	empty := len(r.queue) == 0 || taken == r.sent
	if !empty && r.sent-max(taken, r.first)+size > s.queueBytes {
		return false
	}
	select {
	case r.queue <- it:
	default:
		return false
	}
	r.sent += size
	if empty {
		r.first = r.sent
	}
	return true
}

// mark tells one registration that all events up to the frame's ID, if it has
// one, have been queued for it, and the count of its events. It comes through
// the queue, behind them. If there is no room, the subscriber has other things
// to read.
func (s *shard) mark(o op) {
	if o.reg.slots != nil {
		s.offer(o.reg, item{o.frame, o.reg.count}, 0)
	}
}

// gap tells every registration that events are missing which nobody here has
// seen: it counts one that is not there.
func (s *shard) gap(o op) {
	for _, list := range s.index {
		for i := len(list) - 1; i >= 0; i-- {
			r := list[i].reg
			if r.last == o.frame {
				continue
			}
			r.last = o.frame
			r.count++
			if !s.offer(r, item{o.frame, r.count}, 0) {
				r.missed.Store(r.count)
			}
		}
	}
}

// end closes all queues and stops the shard.
func (s *shard) end(op) {
	for topic := range s.index {
		for list := s.index[topic]; len(list) > 0; list = s.index[topic] {
			s.drop(list[len(list)-1].reg)
		}
	}
	s.ended = true
}
