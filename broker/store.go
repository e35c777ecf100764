package broker

import (
	"context"
	"errors"
	"iter"

	"github.com/fanfare-go/fanfare/sse"
)

// Errors that a [Store] reports and that callers branch on. Test with
// [errors.Is].
var (
	// ErrGap is the last element of [Store.Range] and [Follower.Follow] where
	// the history does not go back to the cursor, or does not know it.
	ErrGap = errors.New("broker: events after the cursor are missing")

	// ErrDuplicate is returned by [Store.Append], and so by [Broker.Publish],
	// for an event whose ID is still remembered. Nothing was stored or
	// delivered.
	ErrDuplicate = errors.New("broker: an event with this ID is already stored")
)

// A Store keeps the history of a [Broker]: it gives every event its ID and its
// place in the order, and yields what a subscriber that comes back has missed.
// [NewMemoryStore] is the default, [Discard] keeps nothing; package storetest
// checks an implementation of your own.
//
// An event that no stream can carry, such as one with a line end in its Type, which
// Publish refuses, is left out by a Broker that meets it in a shared history, with an
// error in the log.
//
// All methods may be called concurrently. A Store whose Append can fail after
// it has stored must be a [Follower], or an event would be in the history and
// reach nobody.
type Store interface {
	// Append stores ev, published on topics, and returns the ID that ev has
	// from now on: unique, ordered over all topics, not reused after a restart.
	// Whether a non-empty ev.ID becomes that ID is the Store's to say. If
	// ev.ID is still remembered, Append stores nothing and returns the
	// remembered ID and [ErrDuplicate], so that a retry is safe.
	//
	// Append owns neither ev nor topics: it must copy the slice if it keeps it.
	Append(ctx context.Context, ev sse.Event, topics []string) (id string, err error)

	// Last returns the newest ID. For an empty Store that is an ID which comes
	// before all to come; only a Store that gives no IDs returns "".
	Last(ctx context.Context) (id string, err error)

	// Range yields the events that q asks for, in order, each with its ID, and
	// reads them in bounded pages. An error is the last element. ErrGap, at
	// once or after some events, says that something after q.After is gone or
	// that q.After is unknown. A spurious ErrGap is allowed (the cursor just
	// before the oldest event held, evicted events of other topics), a silent
	// hole is not: a Store that can lose its newest events, as in a crash, says
	// ErrGap after the events that are left if it no longer has q.Through.
	Range(ctx context.Context, q Query) iter.Seq2[sse.Event, error]
}

// Query says which events [Store.Range] yields.
type Query struct {
	After   string   // only events after this ID; "": from the oldest held
	Through string   // only events up to and with this ID; "": up to the newest. Always an ID that Append, Last or Follow gave
	Topics  []string // only events published on at least one of these; nil: all events
	Newest  int      // if positive, only the newest n of the events above, oldest first
}

// A Follower is a Store that several processes share. A [Broker] on a Follower
// delivers what Follow yields, whoever published it.
//
// A Broker keeps the newest of these events in memory as well: at most 16,384,
// at most 16 MiB, counted as in [MemoryOptions], and none for longer than ten
// minutes. A subscriber that comes back within that window, and a
// backlog within it, cost no call of Range. So an event that was
// removed from the Store by hand, or by limits that are narrower than that, may
// be replayed for a while yet. A gap in Follow empties the window.
type Follower interface {
	Store

	// Follow yields each event after the ID after as it is appended, and waits
	// for more until ctx ends. "" is from the oldest held. An error is the last
	// element; [ErrGap] means what it means in Range. If the engine has lost its
	// newest events, and with them some that Follow has yielded, that is ErrGap,
	// too: the Broker asks for Last, tells every subscriber a gap, and goes on
	// from there, though IDs may come again.
	Follow(ctx context.Context, after string) iter.Seq2[Message, error]

	// Compare returns a negative number if a comes before b in the order of
	// this Store, zero if they are the same, and a positive number if a comes
	// after b. Both are IDs that this Store gave. It does no I/O and calls no method
	// of the Broker, which calls it while it holds a lock.
	Compare(a, b string) int
}

// Message is an event together with the topics it was published on.
type Message struct {
	Event  sse.Event
	Topics []string // must not be changed
}

// Discard is a [Store] that gives no IDs and keeps nothing: for events that
// are worthless once they are old. A subscriber of a Broker on Discard has no
// cursor to come back with, and any cursor that a client sends is a gap.
var Discard Store = discard{}

type discard struct{}

func (discard) Append(context.Context, sse.Event, []string) (string, error) { return "", nil }

func (discard) Last(context.Context) (string, error) { return "", nil }

func (discard) Range(_ context.Context, q Query) iter.Seq2[sse.Event, error] {
	return func(yield func(sse.Event, error) bool) {
		if q.After != "" {
			yield(sse.Event{}, ErrGap)
		}
	}
}
