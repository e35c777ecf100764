package broker

import (
	"log/slog"
	"math"
	"net/http"
	"time"

	"github.com/fanfare-go/fanfare/sse"
)

// SlowPolicy says what happens to a subscriber whose queue is full when an
// event is published.
type SlowPolicy int

const (
	// CatchUp takes the subscriber off the live events, lets it drain its queue
	// and continues from the [Store] after the last event it was sent. Nothing
	// is lost as long as the Store holds it; what it no longer holds is a gap.
	CatchUp SlowPolicy = iota

	// Disconnect ends the subscription with [ErrSlow] after what is queued.
	// Over HTTP that is a clean end: a client that reconnects is replayed what
	// it missed.
	Disconnect

	// DropOldest discards the oldest queued event. [Options.Gap] takes the
	// place of the events that are missing.
	DropOldest

	// DropNewest discards the event being published. [Options.Gap] takes the
	// place of the events that are missing.
	DropNewest

	// Conflate discards queued events that a later one with the same key
	// replaces, see [Options.Key]: for prices and positions, where only the
	// newest counts. What was replaced is not missing, so there is no Gap. If
	// there is nothing to replace, as the queue is full of events with different
	// keys, or without one, it is as under CatchUp: nothing is lost, and the
	// subscriber may be sent what was replaced after all. An event for a full queue
	// takes the time to look through all of it.
	Conflate
)

// Options are the settings of a [Broker]. The zero value, and a nil *Options,
// serve everybody the topic "" with a history in memory. New copies the
// struct; what its fields point to must not change afterwards. The functions
// may be called concurrently.
type Options struct {
	// Topics names the topics that a request subscribes to in
	// [Broker.ServeHTTP], and so decides who may see what. An error refuses the
	// request with 403, or with the status of a [*StatusError] in its tree; its
	// text is logged, never sent. No topics mean the topic "": who may see
	// nothing has to get an error. It is called for HEAD, too, and again if End is
	// called meanwhile, so it must not use anything up: what is good for one request
	// is redeemed by a handler around the Broker. The slice is not kept. Nil: everyone
	// gets the topic "".
	Topics func(*http.Request) ([]string, error)

	// Snapshot returns the state that an HTTP subscriber needs which starts
	// now, or starts anew after a gap because the Store does not go back to its
	// cursor. It is called once the subscriber's queue is open, so nothing
	// falls between: events published meanwhile come after it and may already
	// be in it. IDs of its events are not sent. The holes of DropOldest and
	// DropNewest, which a subscriber has in mid-stream, get no snapshot; under
	// these and Disconnect nor does what a [Follower] has lost meanwhile. An
	// error ends the stream; the client comes back and has it called again. The
	// request's context is for the call: it ends early with the subscriber, and
	// soon after it in any case. It must not change the topics; the slice it
	// returns is read at once, and not kept. Nil: no snapshot.
	Snapshot func(r *http.Request, topics []string) ([]sse.Event, error)

	// Store keeps the history. Nil: a [MemoryStore] with its defaults.
	// [Discard] keeps nothing.
	Store Store

	// Backlog is how many stored events a subscriber without a cursor gets
	// first; over HTTP a Snapshot takes its place. 0: none, negative: all that
	// are held. With one of the two, clients that ignore blocks which only set
	// the ID, as some libraries do, have a cursor as well.
	Backlog int

	// Gap is sent wherever events are missing for a subscriber: its cursor is
	// too old or unknown, or events were dropped. Its ID is not sent. One that
	// cannot be encoded ends a stream instead. The zero Event stands for
	// sse.Event{Type: "gap"}.
	Gap sse.Event

	// QueueSize is how many events may wait for one subscriber. Each costs 16 bytes
	// of a queue, full or not; over HTTP only who is busy has one. 0 or negative:
	// 64. More than 1,048,576 are as many.
	QueueSize int

	// QueueBytes is how many encoded bytes may wait for one subscriber beyond
	// the first queued event, which is always taken. 0 or negative: 1 MiB.
	QueueBytes int

	// Slow says what happens when either limit makes a queue full.
	Slow SlowPolicy

	// Key returns the key of an event under [Conflate]; "" is none. It is called
	// once for each event, before the event has an ID of the Store, by Publish
	// or, with a [Follower], when it is read. Keys of a subscriber's different
	// topics are not kept apart: what was replaced by an event of another topic
	// does not come back when that topic is removed. It must not change the
	// topics, which are sorted. Nil: no event has one.
	Key func(ev sse.Event, topics []string) string

	// MaxSubscribers bounds the subscriptions that are open at once. Beyond it
	// Subscribe returns [ErrFull], and HTTP answers 503 with Retry-After. 0 or
	// negative: no limit.
	MaxSubscribers int

	// MaxPerCaller bounds the HTTP subscribers of one Caller at once. Beyond it
	// the answer is 429 with Retry-After, after which a browser's EventSource
	// gives up until the page opens a new one. 0 or negative: no limit.
	MaxPerCaller int

	// Caller names who makes a request: for MaxPerCaller, and for those who look
	// at [Broker.Subscribers]. "" has no limit. Nil: the remote IP address, of
	// IPv6 its network of 64 bits. Behind a proxy that is the proxy's: then name
	// the user, or what the proxy says in a header of its own making.
	Caller func(*http.Request) string

	// MaxAge is how long a stream lasts: after 80 to 100 % of it, at random so
	// that those which began together do not come back together, the stream ends
	// cleanly. Its client comes back and goes on after its cursor, perhaps at
	// another server, and with Topics asked again. Streams whose clients have no
	// cursor, because of NoPriming or a Store without IDs, miss what comes until
	// they are back. 0 or negative: streams last for ever.
	MaxAge time.Duration

	// MaxTopics bounds the topics of one request to ServeHTTP, repetitions not
	// counted. A request for more is refused with 400. 0: 100, negative: no
	// limit.
	MaxTopics int

	// NoPriming suppresses blocks that only set the ID, for clients that
	// dispatch them as empty events. A client that has seen no event then has
	// no cursor to come back with.
	NoPriming bool

	// Heartbeat, Retry and WriteTimeout of each HTTP stream are those of
	// [sse.WriterOptions]. Where there are very many streams heartbeats may be
	// late, by a quarter of their interval at most; over HTTP/1.1 without TLS a write
	// that waits may have a quarter more than WriteTimeout.
	//
	// A Broker that shuts down tells its clients a reconnection time of its own: Retry or
	// a second, and at random up to a millisecond more for each subscriber it had, at
	// least 100 and at most half a minute. They keep it until they are told another:
	// with a Retry the next server does that.
	Heartbeat    time.Duration // idle time before an empty comment; 0: 15 s, negative: never, below a millisecond: that
	Retry        time.Duration // reconnection time sent first, if positive; on Shutdown, spread, at least a second
	WriteTimeout time.Duration // per write; 0: 10 s, negative: none

	// FlushInterval is how long a subscriber's events may be gathered before they
	// are sent together: at many events per second one write costs hardly more
	// than another, and far less than two. 0 or negative: events are sent at
	// once, as many together as have come while the subscriber was busy.
	FlushInterval time.Duration

	// Detach takes cleartext HTTP/1.1 connections over from net/http, so that an
	// idle subscriber costs a few kilobytes instead of some twenty, on Linux not
	// even a goroutine, and an event a write to the socket and nothing else. In CPU
	// that is a tenth less for an event that is sent on its own, and hardly less in
	// bursts: the ordinary way sends no chunks over HTTP/1.1 either.
	// HTTP/1.0 is answered in the same way. Connections with TLS or HTTP/2,
	// ResponseWriters that cannot be hijacked, and systems other than Unix get
	// the ordinary way, with the same promises.
	//
	// What is given up: the handler returns once the subscriber has caught up,
	// so middleware sees the request end early, and its wrappers of the
	// ResponseWriter see nothing of the stream. From then on the stream does not
	// end with the request's context, such as by a timeout of middleware; it does
	// with its client, by [Broker.End] and by MaxAge. [http.Server.Shutdown]
	// neither knows of these streams nor waits for them, so main itself has to
	// wait for [Broker.Shutdown]. A client that sends more than 64 KiB after its
	// request counts as gone.
	Detach bool

	// Compress sends streams as gzip to clients that accept it. Of JSON that is
	// about a quarter less for events of 200 bytes that come one by one, and
	// three quarters less for those that come in bursts, or are of some
	// kilobytes. An event, or what comes together for the same
	// subscribers, is compressed once and not by each stream, so a subscriber
	// costs no more memory than without; replays and snapshots are compressed
	// for whoever gets them. Each event is sent at once, as ever.
	//
	// It is worth it where bandwidth costs more than processor time, and not
	// for events of less than some 100 bytes, for data that is compressed or
	// encrypted already, or for subscribers whose topics differ so much that
	// there is nothing to share. A reverse proxy that compresses must be told to
	// leave these streams alone, or it holds events back; no-transform asks it
	// to.
	//
	// Compression lets sizes tell: whoever sees the length of what is sent, even
	// encrypted, and can have text of his own put beside a secret in the same
	// event, or in one that is sent together with it, can guess the secret bit
	// by bit, as in the attacks known as CRIME and BREACH. Leave it off for
	// streams that mix the two.
	//
	// Close cuts compressed streams off, so that clients may report an error
	// before they come back; Shutdown ends them in order.
	Compress bool

	// Logger gets a record of requests that were refused for an error, of
	// failures of the Store and of Snapshot, at info level of each subscriber's
	// first slowness, and, at debug level, of further slowness and of each
	// stream's start and, with its reason, its end. Nil: silent.
	Logger *slog.Logger
}

// longest is longer than a broker lives, and no sum of such times overflows.
const longest = math.MaxInt64 / 4

// withDefaults returns the settings that are in force for o.
func (o *Options) withDefaults() Options {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.Topics == nil {
		opts.Topics = func(*http.Request) ([]string, error) { return nil, nil }
	}
	if opts.Key == nil || opts.Slow != Conflate {
		opts.Key = func(sse.Event, []string) string { return "" }
	}
	if opts.Caller == nil {
		opts.Caller = remoteIP
	}
	if opts.Store == nil {
		opts.Store = NewMemoryStore(nil)
	}
	opts.Gap.ID = ""
	if opts.Gap == (sse.Event{}) {
		opts.Gap.Type = "gap"
	}
	if opts.MaxTopics == 0 {
		opts.MaxTopics = 100
	}
	if opts.QueueSize <= 0 {
		opts.QueueSize = 64
	}
	opts.QueueSize = min(opts.QueueSize, 1<<20)
	if opts.QueueBytes <= 0 {
		opts.QueueBytes = 1 << 20
	}
	switch {
	case opts.Heartbeat == 0:
		opts.Heartbeat = 15 * time.Second
	case opts.Heartbeat > 0:
		opts.Heartbeat = max(opts.Heartbeat, time.Millisecond)
	}
	if opts.WriteTimeout == 0 {
		opts.WriteTimeout = 10 * time.Second
	}
	opts.WriteTimeout = min(opts.WriteTimeout, longest)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return opts
}
