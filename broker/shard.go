package broker

import (
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

// A registration is a subscription's place in a shard: its group, which is that of
// its topics, and its queue. It ends for good when the queue is closed; a
// subscription that goes on after that has a new one.
//
// A delivery touches what comes first, the shard all but the counts of what has left,
// and who takes it mostly those: where there are many subscribers, none of it is in
// the cache any more, and to fetch it is a good part of the work.
type registration struct {
	busy    atomic.Int64 // whose turn it is: see turn.go
	carried item         // with which the turn began; of the goroutine whose turn it is

	// queue is sent to by the shard alone, which is also its only closer and,
	// unless somebody may wait for it, makes it when it is needed; under
	// DropOldest the shard receives from it, too. Closed, it tells its
	// subscriber to look for the reason.
	queue chan item
	sub   *Subscription

	// Owned by the shard.
	past     *batch        // the part of the group's batch that it must not get: it has it already, or joined later; nil: none
	count    uint64        // item.n of the newest event, but for those in the group's batch
	eventsIn uint64        // events that were queued
	bytesIn  uint64        // their bytes
	first    uint64        // bytesIn as it was right after the queue was last found empty: that event is free of QueueBytes
	since    time.Duration // when the queue was last empty no longer, counted from Broker.born
	group    *group        // nil once the registration has ended
	place    int32         // in group.regs

	waits     bool // somebody may wait for the queue: a loop over Events; without: see turn.go
	conflates bool // the slow policy is Conflate
	behind    bool // the queue was full: the subscriber has to catch up, or end; set before the queue is closed
	gapped    bool // the same for a gap: the subscriber asks the Store, and gets a Snapshot

	eventsOut atomic.Uint64 // events that have left the queue
	bytesOut  atomic.Uint64 // their bytes
	missed    atomic.Uint64 // item.n of the newest event that was dropped instead of queued

	// Under Conflate, held while an item is taken. A shard takes it for as long as
	// it looks through one queue.
	taking sync.Mutex

	// signal tells a loop over Events that something was queued, under Conflate. It
	// cannot wait for the queue itself: it would be handed an item outside taking,
	// and a later one might be put back before it.
	signal chan struct{} // of one slot; the shard sends and closes; nil under the other policies

	shard *shard

	setBack atomic.Pointer[setBack] // of the history, while there was this registration; nil: it was not
}

// An op is what a shard is asked to do. Ops of one shard are handed over under
// the order lock, and done in that order.
type op struct {
	do    func(*shard, op)
	frame *frame        // of deliver; of gap: what comes next
	mark  *batch        // of mark, gap and beat; with an ID, that of gap says that the history was set back to it
	reg   *registration // of register, unregister, change and mark
}

// A shard is a goroutine that owns a part of the subscribers and the index of
// their topics. Nothing else touches them, so there is no lock, but for those that
// Conflate takes for a queue that is full. It calls no code of the user, but for a
// Follower's Compare, and never waits for a subscriber.
type shard struct {
	inbox chan op       // sent to under the order lock; never closed
	done  chan struct{} // closed by run as it returns
	load  int           // registrations; guarded by the order lock

	publishing chan struct{} // the Broker's: it is full while somebody publishes
	alone      bool          // there is no core to publish on meanwhile

	slow       SlowPolicy
	queueSize  int
	queueBytes int
	single     bool // events are queued one by one: what was queued together could only be dropped together
	maxEvents  int  // of a batch
	maxBytes   int  // of a batch with several events
	heartbeat  time.Duration
	interval   time.Duration // how long frames are gathered before a flush; 0: not at all
	snapshots  bool          // who is told a gap by this shard wants a Snapshot after it
	stats      *counters
	born       time.Time // of the Broker

	// Owned by run.
	groups []*group
	common map[string]*group  // those that newcomers join, by what appendKey makes of their topics
	index  map[string][]entry // the groups, by topic
	ended  bool
	socket socketWriter
	writes bool    // it has written to a socket
	yields yielder // used once it has

	// Of conflate, empty in between.
	items []item
	newer map[string]struct{} // keys

	// What is gathered until the next flush.
	dirty      []*group             // those that have a batch
	empty      batch                // the root of the tree, see batch
	grown      []*batch             // those in the tree that have an extension
	remainders map[[2]*batch]*batch // what since has returned, by its arguments; nil: nothing yet
	frames     int
	newest     *frame      // the newest of the frames
	due        *time.Timer // fires when the interval is over

	work     time.Duration // what others were given to do by the last flush, roughly, see more
	patience int           // how often more may look at the inbox before the next flush
	looks    int           // how often it still may
	now      time.Time     // of the last flush, or of the first time before it that a batch was emitted
	timed    bool          // it is the latter
	written  uint64        // events written to sockets that are not in stats yet
	bytes    uint64        // written to sockets that are not in stats yet

	_     [64]byte // so that those who count in tally do not wait for those who use what is beside it
	tally tally
	_     [64]byte

	beater *time.Timer // calls Broker.beat
	beats  bool        // it is set

	ready   []*registration // those to send a worker to
	errands chan *errand    // to the workers; nil until there is one
}

func newShard(b *Broker) *shard {
	opts := &b.opts
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
		snapshots:  opts.Snapshot != nil && (opts.Slow == CatchUp || opts.Slow == Conflate),
		stats:      &b.stats,
		born:       b.born,
		publishing: b.publishing,
		alone:      len(b.shards) == 1,
		common:     make(map[string]*group),
		index:      make(map[string][]entry),
		newer:      make(map[string]struct{}),
	}
	s.single = s.slow == DropOldest || s.slow == Conflate
	if s.single && s.interval <= 0 {
		s.maxEvents = 1
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
			s.pause()
			o = <-s.inbox
			s.goOn()
		case s.frames == maxFrames:
			s.flush()
			continue
		case s.interval > 0:
			s.dispatch()
			s.pause()
			select {
			case o = <-s.inbox:
				s.goOn()
			case <-s.due.C:
				s.goOn()
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

// pause and goOn tell the yielder when the shard has nothing to do.
func (s *shard) pause() {
	if s.writes {
		s.yields.end(time.Since(s.born))
	}
}

func (s *shard) goOn() {
	if s.writes {
		s.yields.begin(time.Since(s.born))
	}
}

// What small things take, roughly, for more.
const (
	writeTime = 4 * time.Microsecond
	wakeTime  = 200 * time.Nanosecond // of a loop over Events
	lookTime  = 2 * time.Nanosecond   // at the inbox

	maxIdle = int(time.Microsecond / lookTime)
	maxWait = 100 * time.Microsecond
)

// more reports whether there is something in the inbox. While somebody is in
// Publish, or was a moment ago, the shard waits for that event, rather than have
// everybody get two writes instead of one. Between two flushes it waits no longer
// than maxWait in all, and than a twentieth of the time that the last flush gave
// others to write: with few subscribers it is not worth it.
//
// It counts, for in a bubble of testing/synctest no time passes meanwhile, and does
// not let other goroutines run, who might do so for much longer.
func (s *shard) more() bool {
	for idle := 0; len(s.inbox) == 0 && s.looks > 0 && idle <= maxIdle; idle++ {
		s.looks--
		if len(s.publishing) > 0 {
			idle = 0
		}
	}
	return len(s.inbox) > 0
}

// setPatience sets how long more may wait before the next flush.
func (s *shard) setPatience() {
	if s.work > 0 && !s.alone {
		s.patience = int(min(s.work/20, maxWait) / lookTime)
	}
	s.work, s.looks = 0, s.patience
}

// register opens a registration for topics: it gets every frame that is handed
// over after it, and none from before.
func (s *shard) register(r *registration, topics []string) {
	if !r.waits {
		s.expectBeats()
	}
	s.join(r, topics)
}

// unregister ends a registration, unless the shard has ended it before.
func (s *shard) unregister(o op) {
	if o.reg.group != nil {
		s.drop(o.reg)
	}
}

// closedQueue is that of a registration which never needed one.
var closedQueue = func() chan item { c := make(chan item); close(c); return c }()

// drop takes r out of its group and closes its queue. What is queued stays
// readable.
func (s *shard) drop(r *registration) {
	s.part(r)
	if r.waits {
		close(r.queue)
		if r.conflates {
			close(r.signal)
		}
		return
	}
	if r.queue == nil {
		r.queue = closedQueue
	} else {
		close(r.queue)
	}
	if r.busy.Add(2) == 2 {
		r.sub.spawn(nil)
	}
}

// deliver gathers a frame for every group that has one of its topics, once.
func (s *shard) deliver(o op) {
	f := o.frame
	for _, topic := range f.topics {
		// Backwards: when gather drops all of a group, the last entry takes its
		// place in the list, and that one has had its turn.
		list := s.index[topic]
		for i := len(list) - 1; i >= 0; i-- {
			if g := list[i].group; g.batch == nil || g.batch.frame != f {
				s.gather(g, f)
			}
		}
	}
}

// end closes all queues and stops the shard.
func (s *shard) end(op) {
	s.flush()
	for len(s.groups) > 0 {
		s.drop(s.groups[len(s.groups)-1].regs[0])
	}
	s.dispatch()
	if s.errands != nil {
		close(s.errands)
	}
	s.beater.Stop()
	s.ended = true
}
