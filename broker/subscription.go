package broker

import (
	"context"
	"errors"
	"iter"
	"math"
	"sync/atomic"
	"time"

	"github.com/fanfare-go/fanfare/sse"
)

// A Subscription is a subscriber's handle in process: a loop over Events gets
// what is published on its topics. [Broker.Subscribe] and [Broker.Resume] return
// it, and Close ends it. Close, Add and Remove may be called concurrently with
// everything; Events is for one goroutine at a time.
type Subscription struct {
	// First what a delivery touches, in two lines of the processor's cache; for those
	// over HTTP see stream.
	stream *stream      // of a subscriber over HTTP; set before anybody else sees s
	closed atomic.Bool  // set under the order lock
	debt   atomic.Int32 // short turns that it owes: see longTurn

	// What has been handed out. Owned by the goroutine whose turn it is, or by
	// the shard while the registration is parked.
	direct   bool // the shard may write to line then
	plain    bool // its next turn may be a plain one: see plainTurn
	stage    stage
	ahead    bool          // of this Broker, which lags behind the one the subscriber was on before
	told     bool          // a replay has told the Gap, and nothing has been handed out since
	primes   bool          // the replay ends with a block that sets the ID to through
	wasSlow  bool          // that is in the log
	seen     uint64        // item.n of the newest item of the current registration
	total    atomic.Uint64 // events handed out, but for those in delivered
	wrote    time.Duration // of a subscriber over HTTP: when its last write was over, counted from Broker.born
	position string        // everything up to this ID is done; "" before the first
	handed   string        // newest ID that was handed out or passed over, or that a replay confirmed
	line     *line         // the connection, once it is detached
	tally    *tally        // of the shard

	// Of a loop over Events that is one more.
	delivered uint64 // events that are not counted yet: see account
	b         *Broker
	changes   atomic.Pointer[changes] // of the topics; nil: none so far

	// None is touched when a single event comes, and nothing is in its way: see
	// stream.plainTurn and loop.wait.
	worker  *worker  // who does its turn; nil: a goroutine of its own
	held    item     // taken from the queue, not handed out yet
	laidOut []*frame // of a batch that is handed out one by one, the next one last

	loop loop // the one over Events

	// Guarded by the order lock.
	topics    []string      // never changed in place; those over HTTP are the same for ever
	reg       *registration // the current one; nil once nobody can register
	through   string        // newest at the time of reg: what came before is in the Store, the rest in the queue
	known     bool          // through is known; it is not before the Broker has started
	serving   bool
	ending    ending                  // who closed it
	interrupt context.CancelCauseFunc // ends the replay under way, if any

	// Of a subscriber over HTTP; set before anybody else sees s.
	remote string        // the remote address
	caller string        // see Options.Caller
	until  time.Duration // when it is old enough, counted from Broker.born; 0: never

	// What Subscribers tells. Durations count from Broker.born.
	since    time.Duration
	catching atomic.Int64  // since when the Store is asked, as a Duration; negative: it is not
	dropped  atomic.Uint64 // events that the slow policy discarded
}

// stage is where in the fixed order of a stream a subscription stands.
type stage int8

const (
	fresh    stage = iota // no cursor: Snapshot or Backlog come first
	resuming              // the events after position come first
	lost                  // the Gap has been told: all that is held after position comes first
	live                  // the queue is next
)

// Reasons for which run leaves its parts; none is seen by a user.
var (
	errBehind = errors.New("broker: behind") // the queue was full
	errGapped = errors.New("broker: gapped") // events are missing behind what was queued, and a Snapshot is wanted
	errBreak  = errors.New("broker: break")  // the loop over Events wants no more
	errTime   = errors.New("broker: time")   // what comes next may take more time than a worker has
)

// outlet is where a subscription's events go: an HTTP response, or a loop over
// Events. An error ends the stream.
type outlet interface {
	event(ev sse.Event) error
	blocks(b *batch) (ok bool, err error)                                  // encoded events; not ok: they are wanted one by one
	mark(id string) error                                                  // everything up to id has been handed out
	snapshot(ctx context.Context) (events []sse.Event, ok bool, err error) // the state to start with, if there is one
	flush() error                                                          // nothing more is queued for now
	park(complete bool)                                                    // the registration is about to be parked; not complete: a Gap is to come

	untilBeat() time.Duration // until something should be written, so that the stream does not seem dead
	beat() error              // writes something that means nothing

	failed(err error) (final bool) // the Store failed; final: the stream has not begun, and ends with err
}

// Subscribe subscribes to the topics, or, without any, to the topic "". The
// Subscription gets every event that is published on at least one of them from
// now on, each once, after [Options.Backlog]. On a [Follower], what other
// processes publish counts from when the Broker has first heard from it, which
// New does not wait for. The slice is not kept. The error is [ErrFull] or
// [ErrClosed].
//
// A Subscription holds its place until Close, or until Events has yielded
// [ErrSlow] or [ErrClosed].
func (b *Broker) Subscribe(topics ...string) (*Subscription, error) {
	return b.Resume("", topics...)
}

// Resume is Subscribe for a subscriber that comes back: the events after
// lastEventID come first, or [Options.Gap] and all that is held if some of them
// are gone. "" is Subscribe.
func (b *Broker) Resume(lastEventID string, topics ...string) (*Subscription, error) {
	return b.subscribe(lastEventID, &Subscription{topics: orDefault(topics)}, unasked)
}

// unasked stands for the count of calls of End where nobody has been asked
// whether there may be a subscription.
const unasked = -1

// subscribe opens s, which has its topics. Over HTTP, somebody serves it from
// the start. The topics are worth as much as the count of calls of End, from
// before they were asked for: errEnded says that there were more since.
func (b *Broker) subscribe(lastEventID string, s *Subscription, ends int64) (*Subscription, error) {
	s.b, s.primes, s.since, s.tally = b, true, b.age(), &b.stats.elsewhere
	s.catching.Store(int64(s.since))
	if lastEventID != "" {
		s.stage, s.position, s.primes = resuming, lastEventID, false
	}
	if !canReturn(lastEventID) {
		s.position = "" // of no event: a gap, without asking the Store, which may choke on it
	}
	b.order.Lock()
	defer b.order.Unlock()
	if b.isRefusing() {
		return nil, ErrClosed
	}
	if n := b.opts.MaxSubscribers; n > 0 && len(b.subs) >= n {
		return nil, ErrFull
	}
	if ends != unasked && ends != b.ends.Load() {
		return nil, errEnded
	}
	if err := b.admitLocked(s); err != nil {
		return nil, err
	}
	b.subs[s] = struct{}{}
	b.registerLocked(s)
	if s.stream != nil {
		s.serving = true
		b.serving++
	}
	return s, nil
}

// Close ends the subscription and frees its place: a loop over Events ends
// with [ErrClosed]. Closing again does nothing.
func (s *Subscription) Close() {
	s.close(endClosed)
}

// close is Close by e, and reports whether that was first.
func (s *Subscription) close(e ending) bool {
	s.b.order.Lock()
	defer s.b.order.Unlock()
	return s.closeLocked(e)
}

func (s *Subscription) closeLocked(e ending) bool {
	if s.closed.Swap(true) {
		return false
	}
	s.ending = e
	delete(s.b.subs, s)
	if s.stream != nil && s.serving {
		s.b.leaving[s] = struct{}{}
	}
	s.b.dischargeLocked(s)
	s.b.unregisterLocked(s) // closes the queue, which wakes up whoever waits for it
	if s.interrupt != nil {
		s.interrupt(ErrClosed)
	}
	return true
}

// Events yields the subscription's events and waits for more. IDs that only
// move the cursor are not seen, so before the first event there is none to
// [Broker.Resume] from; [Options.Gap] stands where events are missing.
//
// An error is the last element: the cause of the end of ctx, after which Events
// may be called again and goes on where it was; [ErrClosed] after Close or the
// end of the Broker; or [ErrSlow]. Breaking out of the loop ends nothing
// either. What is queued while nobody ranges is subject to [Options.Slow]. A
// second loop at the same time gets nothing but an error.
func (s *Subscription) Events(ctx context.Context) iter.Seq2[sse.Event, error] {
	return func(yield func(sse.Event, error) bool) {
		if !s.serve() {
			yield(sse.Event{}, errors.New("broker: Events of one Subscription called concurrently"))
			return
		}
		err := func() error {
			defer s.unserve()
			defer context.AfterFunc(ctx, func() { s.b.wake(s) })()
			s.loop.yield = yield
			defer func() { s.loop.yield = nil }()
			return s.run(ctx, &s.loop, nil)
		}()
		if err != errBreak {
			yield(sse.Event{}, err)
		}
	}
}

// loop is the outlet of Events. It is part of the Subscription, for one place less
// to fetch: with 10,000 subscriptions that is 2 % of a delivery.
type loop struct {
	yield func(sse.Event, error) bool // nil: there is none
}

func (l *loop) event(ev sse.Event) error {
	if !l.yield(ev, nil) {
		return errBreak
	}
	return nil
}

func (l *loop) mark(string) error                                   { return nil }
func (l *loop) snapshot(context.Context) ([]sse.Event, bool, error) { return nil, false, nil }
func (l *loop) flush() error                                        { return nil }
func (l *loop) blocks(*batch) (bool, error)                         { return false, nil }
func (l *loop) park(bool)                                           {}
func (l *loop) untilBeat() time.Duration                            { return math.MaxInt64 }
func (l *loop) beat() error                                         { return nil }
func (l *loop) failed(error) bool                                   { return false }

// run hands out everything there is, in the order of the stream, until there
// is a reason to end. Called again, it goes on where it was. err is what
// somebody else has found to be in the way of that; nil: nothing.
//
// It returns errParked when the shard has taken over. Then nothing of s may be
// touched.
func (s *Subscription) run(ctx context.Context, out outlet, err error) error {
	err = s.serveAll(ctx, out, err)
	if err != errParked {
		s.account()
	}
	return err
}

func (s *Subscription) serveAll(ctx context.Context, out outlet, err error) error {
	for {
		switch err {
		case nil, errTime:
		case errBehind, errGapped:
			// Slow is resumed in place: what follows is what a reconnect with
			// the ID that was sent last would do.
			if err == errBehind {
				s.b.stats.caughtUp.Add(1)
				s.logSlow(ctx, "it catches up")
			}
			s.catching.Store(int64(s.b.age()))
			s.account()
			if err := out.flush(); err != nil {
				return err
			}
			s.b.reregister(s)
			s.stage, s.seen = resuming, 0
		case ErrSlow:
			s.b.stats.disconnected.Add(1)
			s.logSlow(ctx, "it is disconnected")
			s.Close()
			return err
		case ErrClosed:
			s.Close()
			return err
		default:
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if s.stage != live {
			if err = s.replay(ctx, out); err == errChanged {
				err = nil // it goes on where it was
				continue
			} else if err != nil {
				return err
			}
		}
		s.catching.Store(-1)
		err = s.drain(ctx, out, s.registration())
	}
}

// account adds what has been delivered to the Broker's figures, once per flush.
func (s *Subscription) account() {
	if s.delivered > 0 {
		s.tally.delivered.Add(s.delivered)
		s.total.Add(s.delivered)
		s.delivered = 0
	}
}
