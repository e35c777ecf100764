package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/fanfare-go/fanfare/sse"
)

// Publish stores ev and hands it to every subscriber of at least one of the
// topics; without topics, to those of the topic "". It returns the ID that the
// [Store] gave the event. It waits for the Store and for earlier calls of
// Publish, never for a subscriber. The slice of topics is not kept.
//
// An event that was read from another stream has the ID of that stream, which an
// event without one, such as a gap, shares with the event before it, and may have a
// Retry that is not meant for your clients: clear both before you publish it, or, to
// keep the IDs, the Retry and each ID that is that of the event before.
//
// Nothing is published if the error is
//   - a [*sse.FieldError]: the Type or ID would corrupt the stream, the Retry is
//     negative, or a client could not send the ID back in a header, because it
//     has control characters, blanks at its ends, ill-formed UTF-8, or more than
//     4096 bytes,
//   - [ErrDuplicate]: an event with this ID is already stored. The ID is
//     returned,
//   - [ErrClosed], or the cause of the end of ctx, unless the Store is a
//     [Follower].
//
// Any other error is the Store's. If that is a Follower, the fate of the event
// is unknown, also when ctx or the Broker has ended while it was asked; with an
// ID of its own the event can be published again safely.
func (b *Broker) Publish(ctx context.Context, ev sse.Event, topics ...string) (id string, err error) {
	if err := check(ev); err != nil {
		return "", err
	}
	topics = orDefault(topics)
	key := ""
	if b.follower == nil {
		key = b.opts.Key(ev, topics) // before there is a lock
	}
	if err := b.lockPublishing(ctx); err != nil {
		return "", err
	}
	defer b.unlockPublishing()

	ctx, cancel := b.bind(ctx)
	defer cancel()
	if err := b.startLocked(ctx); err != nil {
		if b.ctx.Err() != nil {
			return "", ErrClosed
		}
		return "", fmt.Errorf("broker: %w", err)
	}
	ev.ID, err = b.store.Append(ctx, ev, topics)
	switch {
	case errors.Is(err, ErrDuplicate):
		if b.follower != nil && (b.appended == "" || b.follower.Compare(ev.ID, b.appended) > 0) {
			b.appended = ev.ID // a retry: Shutdown waits for it, too
		}
		return ev.ID, ErrDuplicate
	case err != nil && b.ctx.Err() != nil:
		return "", ErrClosed
	case err != nil:
		return "", fmt.Errorf("broker: append: %w", err)
	}
	b.appended = ev.ID
	b.stats.published.Add(1)
	if b.follower != nil {
		return ev.ID, nil // read hands it over when its turn comes
	}
	f, err := newFrame(ev, topics, key)
	if err != nil {
		return "", fmt.Errorf("broker: the Store gave an unusable ID: %w", err)
	}
	b.handOver(f, false)
	return ev.ID, nil
}

// newFrame encodes ev.
func newFrame(ev sse.Event, topics []string, key string) (*frame, error) {
	data, err := ev.AppendTo(nil)
	if err != nil {
		return nil, err
	}
	return &frame{event: ev, data: data, topics: topics, key: key}, nil
}

// handOver makes f the newest event and hands it to the shards that have
// subscribers for it; first, if events before it are missing, it says so to
// all subscribers.
func (b *Broker) handOver(f *frame, gap bool) {
	b.order.Lock()
	defer b.order.Unlock()
	if b.frozen {
		return // closed since the event was stored; nobody is left to get it
	}
	b.newest = f.event.ID
	b.frames++
	if b.follower != nil {
		b.reachLocked()
	}
	if gap {
		b.tellGapLocked("", f)
	}
	var buf [8]*shard
	sent := buf[:0]
	for _, topic := range f.topics {
		for _, in := range b.interest[topic] {
			if !slices.Contains(sent, in.shard) {
				in.shard.send(op{do: (*shard).deliver, frame: f})
				sent = append(sent, in.shard)
			}
		}
		if len(sent) == len(b.shards) {
			break
		}
	}
}

// tellGapLocked has all subscribers told that events are missing before next. If the
// history was set back, it was to the ID last; "": it was not.
func (b *Broker) tellGapLocked(last string, next *frame) {
	for _, s := range b.shards {
		s.send(op{do: (*shard).gap, mark: newMark(last), frame: next})
	}
}

// start makes the newest ID known, so that subscribers have a place to start
// from. It asks the Store once; whoever needs it first waits for it.
func (b *Broker) start(ctx context.Context) error {
	select {
	case <-b.started:
		return nil
	default:
	}
	select {
	case <-b.started:
		return nil
	case b.publishing <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer b.unlockPublishing()
	return b.startLocked(ctx)
}

// startLocked is start for a caller that holds the publish lock: an event that
// was appended while the Store is asked might otherwise be newer than the
// answer, or not.
func (b *Broker) startLocked(ctx context.Context) error {
	select {
	case <-b.started:
		return nil
	default:
	}
	id, err := b.store.Last(ctx)
	if err != nil {
		return fmt.Errorf("newest ID: %w", err)
	}
	b.order.Lock()
	defer b.order.Unlock()
	b.newest, b.origin = id, id
	close(b.started)
	return nil
}

// lockPublishing takes the publish lock for an event.
func (b *Broker) lockPublishing(ctx context.Context) error {
	select {
	case b.publishing <- struct{}{}:
	case <-b.refusing:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	// With several ready, select picks any: the end comes first.
	if b.isRefusing() {
		b.unlockPublishing()
		return ErrClosed
	}
	if ctx.Err() != nil {
		b.unlockPublishing()
		return context.Cause(ctx)
	}
	return nil
}

func (b *Broker) unlockPublishing() { <-b.publishing }

func (b *Broker) isRefusing() bool {
	select {
	case <-b.refusing:
		return true
	default:
		return false
	}
}

// bind returns a context that ends with ctx and with the Broker, for a call of
// the Store. It costs as much as the rest of Publish, so it is spared the Store
// that never waits.
func (b *Broker) bind(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := b.store.(*MemoryStore); ok {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(b.ctx, func() { cancel(ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// maxIDSize is how long an ID may be to be published. Common servers and
// proxies take header lines of 8 KiB.
const maxIDSize = 4096

// check refuses an event that cannot be encoded, and an ID that no client
// could send back: net/http and browsers trim blanks at the ends of a header
// and refuse control characters within, and what is not UTF-8 arrives as
// something else.
func check(ev sse.Event) error {
	if strings.ContainsAny(ev.Type, "\r\n") {
		return &sse.FieldError{Field: "event", Value: ev.Type}
	}
	if ev.Retry < 0 {
		return &sse.FieldError{Field: "retry", Value: ev.Retry.String()}
	}
	if !canReturn(ev.ID) {
		return &sse.FieldError{Field: "id", Value: ev.ID}
	}
	return nil
}

// canReturn reports whether a client can send id back.
func canReturn(id string) bool {
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	return len(id) <= maxIDSize && strings.Trim(id, " ") == id && !strings.ContainsFunc(id, control) && utf8.ValidString(id)
}
