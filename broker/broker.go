package broker

import (
	"context"
	"errors"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Errors that callers branch on. Test with [errors.Is].
var (
	// ErrClosed is returned once the Broker shuts down or is closed, and is the
	// last element of [Subscription.Events] after the end of the Broker or of
	// the Subscription.
	ErrClosed = errors.New("broker: closed")

	// ErrSlow is the last element of [Subscription.Events] under [Disconnect]
	// when the queue was full.
	ErrSlow = errors.New("broker: subscriber too slow")

	// ErrFull is returned when [Options.MaxSubscribers] are subscribed.
	ErrFull = errors.New("broker: too many subscribers")
)

// A Broker fans events out to subscribers, in process and over HTTP, and keeps
// the history from which they resume. It is an [http.Handler]. All methods may
// be called concurrently. A Broker runs a few goroutines per core until
// Shutdown or Close.
type Broker struct {
	opts     Options
	born     time.Time // what durations count from
	store    Store
	follower Follower                    // the Store, if several processes share it; else nil
	window   atomic.Pointer[MemoryStore] // the newest of what Follow yielded; nil before that, and without a Follower

	// publishing is the publish lock: holding it is having sent to it. A
	// channel, because waiting for it must honour a context and the end. It
	// orders Store.Append.
	publishing chan struct{}
	appended   string // newest ID that Append gave here; guarded by publishing

	ctx      context.Context // ends with Close; every call of the Store sees it
	abort    context.CancelFunc
	refuse   func()        // closes refusing, and notes crowd, once
	refusing chan struct{} // closed by refuse: no more events and subscribers

	watcher     watcher            // of detached connections
	spare       chan task          // received from by goroutines that have nothing to do; see spawn
	stopReading context.CancelFunc // ends read
	readDone    chan struct{}      // closed by read as it returns; closed from the start without a Follower
	retireDone  chan struct{}      // closed by retire as it returns

	shards []*shard

	// The order lock. It guards what follows and the hand-over to the shards: the
	// channels are closed under it, and waited for without. It is never held over
	// I/O. There are two exceptions to the rule that nothing blocks and no code of
	// the user is called under a lock: a send to an inbox may wait, for a shard that
	// waits for nobody and always comes back to its inbox; and a Follower's Compare
	// is called.
	order    sync.Mutex
	newest   string        // ID of the newest event handed over
	frames   uint64        // events handed over
	origin   string        // newest as it was when the Broker started
	started  chan struct{} // closed once newest is known
	frozen   bool          // newest never changes again, and nobody registers
	quiet    chan struct{} // closed once frozen and nobody is being served
	last     string        // ID for which Shutdown waits; "": none
	reached  chan struct{} // closed once newest is not before last
	serving  int           // subscriptions whose events somebody is taking right now
	subs     map[*Subscription]struct{}
	leaving  map[*Subscription]struct{} // streams that are closed and may still be in their last write
	callers  map[string]int             // how many of subs each caller has, if there is a limit
	crowd    int                        // how many there were when the end began
	interest map[string][]interest

	ends  atomic.Int64 // calls of End; written under the order lock
	stats counters
}

// interest is how many registrations for a topic a shard has, or had until it
// ended them without being asked: a shard without any is not woken.
type interest struct {
	shard *shard
	n     int
}

type counters struct {
	published, dropped, caughtUp, disconnected, gaps, conflated atomic.Uint64

	elsewhere tally // of subscriptions that have never been with a shard
}

// A tally counts what subscribers get. Each shard has one for its own: to count
// with every delivery what other cores count as well is to wait for them.
type tally struct {
	delivered, bytes atomic.Uint64
}

// Stats are figures about a [Broker] since New. They marshal to JSON, so that
// one line publishes them with package expvar: see the example of
// [Broker.Stats].
type Stats struct {
	Subscribers  int    // subscriptions that are open now
	Published    uint64 // events that Publish took
	Delivered    uint64 // events that subscribers took or were sent, replayed ones included, Gap and Snapshot events not
	Dropped      uint64 // events that DropOldest and DropNewest discarded
	CaughtUp     uint64 // times that a slow subscriber went on from the Store
	Disconnected uint64 // subscriptions that ended with ErrSlow
	Gaps         uint64 // Gap events that subscribers took or were sent
	Bytes        uint64 // bytes of streams that were written to HTTP subscribers: all but the header, and HTTP's own framing
	Conflated    uint64 // events that were replaced under Conflate, once for each queue
}

// New returns a Broker with the settings of opts; nil is all defaults. Whoever
// calls New ends the Broker with [Broker.Shutdown] or [Broker.Close].
func New(opts *Options) *Broker {
	b := &Broker{
		opts:       opts.withDefaults(),
		born:       time.Now(),
		publishing: make(chan struct{}, 1),
		refusing:   make(chan struct{}),
		started:    make(chan struct{}),
		quiet:      make(chan struct{}),
		reached:    make(chan struct{}),
		readDone:   make(chan struct{}),
		spare:      make(chan task),
		retireDone: make(chan struct{}),
		callers:    make(map[string]int),
		subs:       make(map[*Subscription]struct{}),
		leaving:    make(map[*Subscription]struct{}),
		interest:   make(map[string][]interest),
		shards:     make([]*shard, runtime.GOMAXPROCS(0)),
	}
	b.store = b.opts.Store
	b.follower, _ = b.store.(Follower)
	b.ctx, b.abort = context.WithCancel(context.Background())
	ctx, cancel := context.WithCancel(b.ctx)
	b.stopReading = cancel
	b.refuse = sync.OnceFunc(func() {
		close(b.refusing)
		b.order.Lock()
		defer b.order.Unlock()
		b.crowd = len(b.subs)
	})
	for i := range b.shards {
		s := newShard(b)
		s.beater = time.AfterFunc(math.MaxInt64, func() { b.beat(s) })
		b.shards[i] = s
		go s.run()
	}
	go b.retire(ctx)
	if b.follower != nil {
		go b.read(ctx)
	} else {
		close(b.readDone)
	}
	return b
}

// Stats returns the current figures. They are read one after the other, so
// they may be a few events apart.
func (b *Broker) Stats() Stats {
	b.order.Lock()
	subscribers := len(b.subs)
	b.order.Unlock()
	var sum tally
	for _, s := range b.shards {
		sum.add(&s.tally)
	}
	sum.add(&b.stats.elsewhere)
	return Stats{
		Subscribers:  subscribers,
		Published:    b.stats.published.Load(),
		Delivered:    sum.delivered.Load(),
		Dropped:      b.stats.dropped.Load(),
		CaughtUp:     b.stats.caughtUp.Load(),
		Disconnected: b.stats.disconnected.Load(),
		Gaps:         b.stats.gaps.Load(),
		Bytes:        sum.bytes.Load(),
		Conflated:    b.stats.conflated.Load(),
	}
}

func (t *tally) add(u *tally) {
	t.delivered.Add(u.delivered.Load())
	t.bytes.Add(u.bytes.Load())
}
