package broker

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fanfare-go/fanfare/sse"
)

// A frame is an event on its way to the subscribers: encoded once, then shared
// by all and never changed.
type frame struct {
	event  sse.Event
	data   []byte // the encoded event
	topics []string
	key    string // under Conflate: which event this one may replace; "": none
}

// An item is a place in a queue.
type item struct {
	batch *batch

	// n counts the events that were meant for this queue, those of this item
	// and those that were dropped included. A jump is a gap.
	n uint64
}

// A registration is a subscription's place in a shard: the topics it is
// indexed under and its queue. It ends for good when the queue is closed;
// a subscription that goes on after that has a new one.
//
// What a delivery touches comes first, in 128 bytes: where there are many
// subscribers, none of it is in the cache any more, and to fetch it is a good part
// of the work.
type registration struct {
	busy    atomic.Int64 // whose turn it is: see turn.go
	carried item         // of whose turn it is

	// queue is sent to by the shard alone, which is also its only closer and,
	// unless somebody may wait for it, makes it when it is needed; under
	// DropOldest the shard receives from it, too. Closed, it tells its
	// subscriber to look for the reason.
	queue chan item
	sub   *Subscription

	// Owned by the shard.
	last  *frame        // the newest frame that was for this registration
	batch *batch        // what has come since the last flush; nil: nothing
	count uint64        // item.n of the newest event
	put   uint64        // events that were queued
	sent  uint64        // their bytes
	first uint64        // bytes of all events through that which was queued when the queue was empty
	since time.Duration // when the queue was last empty no longer, counted from Broker.born

	took   atomic.Uint64 // events that have left the queue
	taken  atomic.Uint64 // their bytes
	missed atomic.Uint64 // item.n of the newest event that was dropped instead of queued

	waits     bool // somebody may wait for the queue: a loop over Events; without: see turn.go
	conflates bool // the slow policy is Conflate
	behind    bool // the queue was full: the subscriber has to catch up, or end; set before the queue is closed

	// Under Conflate, held while an item is taken. A shard takes it for as long as
	// it looks through one queue.
	taking  sync.Mutex
	waiting bool // a loop over Events waits for the queue, or will in a moment; guarded by taking

	shard *shard

	// Owned by the shard.
	topics []string // the subscription's, or a copy
	slots  []int    // the places in the index: slots[i] is that in the list of topics[i]; nil once it has none
}

// An op is what a shard is asked to do. Ops of one shard are handed over under
// the order lock, and done in that order.
type op struct {
	do    func(*shard, op)
	frame *frame        // of deliver
	mark  *batch        // of mark, gap and beat
	reg   *registration // of all but deliver, gap and beat
}

// A shard is a goroutine that owns a part of the subscribers and the index of
// their topics. Nothing else touches them, so there is no lock. It calls no
// code of the user, but for a Follower's Compare, and never waits for a subscriber.
type shard struct {
	inbox chan op       // sent to under the order lock; never closed
	done  chan struct{} // closed by run as it returns
	load  int           // registrations; guarded by the order lock

	slow       SlowPolicy
	queueSize  int
	queueBytes int
	maxEvents  int // of a batch
	maxBytes   int // of a batch with several events
	heartbeat  time.Duration
	interval   time.Duration // how long frames are gathered before a flush; 0: not at all
	stats      *counters
	born       time.Time // of the Broker

	// Owned by run.
	index  map[string][]entry
	bare   map[*registration]struct{} // those without a topic
	ended  bool
	socket socketWriter

	// Of conflate, empty in between.
	items []item
	newer map[string]struct{} // keys

	// What is gathered until the next flush.
	dirty  []*registration // those that have a batch, and some that had one
	empty  batch           // the root of the tree
	grown  []*batch        // those in the tree that have an extension
	frames int
	newest *frame      // the newest of the frames
	due    *time.Timer // fires when the interval is over

	took    time.Duration // by the last flush
	now     time.Time     // of the last flush, or of the first time before it that a batch was emitted
	timed   bool          // it is the latter
	written uint64        // events written to sockets that are not in stats yet
	bytes   uint64        // written to sockets that are not in stats yet

	_     [64]byte // who counts there should not wait for those who use what is beside it
	tally tally
	_     [64]byte

	beater *time.Timer // calls Broker.beat
	beats  bool        // it is set

	ready   []*registration // those to send a worker to
	errands chan *errand    // to the workers; nil until there is one
}

// An entry is a registration in the list of one of its topics, which is
// reg.topics[slot]. Lists, because going through one is most of the work of a
// fan-out and a map takes several times as long; the slots make removal from
// the middle as cheap as from a map.
type entry struct {
	reg  *registration
	slot int
}

func newShard(opts *Options, stats *counters, born time.Time) *shard {
	s := &shard{
		// Room for a burst, so that publishers need not take turns with the
		// shard; what is more makes the publisher wait for the shard.
		inbox:      make(chan op, 256),
		done:       make(chan struct{}),
		slow:       opts.Slow,
		queueSize:  opts.QueueSize,
		queueBytes: opts.QueueBytes,
		maxEvents:  min(opts.QueueSize, maxFrames),
		maxBytes:   min(opts.QueueBytes, maxBatch),
		heartbeat:  opts.Heartbeat,
		interval:   opts.FlushInterval,
		stats:      stats,
		born:       born,
		index:      make(map[string][]entry),
		newer:      make(map[string]struct{}),
		bare:       make(map[*registration]struct{}),
	}
	if s.slow == DropOldest || s.slow == Conflate {
		s.maxEvents = 1 // what was queued together could only be dropped together
	}
	return s
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
	s.due = time.NewTimer(time.Hour)
	defer s.due.Stop()
	for !s.ended {
		var o op
		switch {
		case s.frames == 0:
			s.dispatch()
			o = <-s.inbox
		case s.frames == maxFrames:
			s.flush()
			continue
		case s.interval > 0:
			s.dispatch()
			select {
			case o = <-s.inbox:
			case <-s.due.C:
				s.flush()
				continue
			}
		default:
			if !s.more() {
				s.flush()
				continue
			}
			o = <-s.inbox // as long as there is more, one write is for all
		}
		o.do(s, o)
	}
}

// more reports whether there is something in the inbox. Who publishes several
// events may be at the second when the shard has done the first: for a hundredth
// of what the last flush took it waits, rather than have everybody get two writes
// instead of one.
func (s *shard) more() bool {
	if len(s.inbox) > 0 || s.took < 100*time.Microsecond {
		return len(s.inbox) > 0
	}
	for began := time.Now(); len(s.inbox) == 0 && time.Since(began) < s.took/100; {
		runtime.Gosched()
	}
	return len(s.inbox) > 0
}

// register opens a registration: it gets every frame that is handed over after
// it, and none from before.
func (s *shard) register(o op) {
	r := o.reg
	if !r.waits {
		s.expectBeats()
	}
	r.slots = make([]int, len(r.topics))
	for i, topic := range r.topics {
		list := s.index[topic]
		r.slots[i] = len(list)
		s.index[topic] = append(list, entry{r, i})
	}
}

// list puts r into the list of a further topic.
func (s *shard) list(r *registration, topic string) {
	list := s.index[topic]
	s.index[topic] = append(list, entry{r, len(r.topics)})
	r.topics = append(r.topics, topic)
	r.slots = append(r.slots, len(list))
}

// unlist takes r out of the list of r.topics[i].
func (s *shard) unlist(r *registration, i int) {
	topic, at := r.topics[i], r.slots[i]
	list := s.index[topic]
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

// unregister ends a registration, unless the shard has ended it before.
func (s *shard) unregister(o op) {
	if o.reg.slots != nil {
		s.drop(o.reg)
	}
}

// drop takes r out of the index and closes its queue. What is queued stays
// readable.
func (s *shard) drop(r *registration) {
	r.batch = nil
	for i := range r.topics {
		s.unlist(r, i)
	}
	delete(s.bare, r)
	r.slots = nil
	if r.waits {
		close(r.queue)
		return
	}
	s.openQueue(r)
	close(r.queue)
	if r.busy.Add(2) == 2 {
		r.sub.spawn(nil)
	}
}

// deliver gathers a frame for every registration of its topics, once.
func (s *shard) deliver(o op) {
	f := o.frame
	for _, topic := range f.topics {
		// Backwards: when gather drops a registration, the last entry takes its
		// place in the list, and that one has had its turn.
		list := s.index[topic]
		for i := len(list) - 1; i >= 0; i-- {
			r := list[i].reg
			if r.last == f {
				continue
			}
			r.last = f
			s.gather(r, f)
		}
	}
}

// end closes all queues and stops the shard.
func (s *shard) end(op) {
	s.flush()
	for topic := range s.index {
		for list := s.index[topic]; len(list) > 0; list = s.index[topic] {
			s.drop(list[len(list)-1].reg)
		}
	}
	for r := range s.bare {
		s.drop(r)
	}
	s.dispatch()
	if s.errands != nil {
		close(s.errands)
	}
	s.beater.Stop()
	s.ended = true
}
