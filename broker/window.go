package broker

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/fanfare-go/fanfare/sse"
)

// What a Broker on a [Follower] keeps of what Follow yielded, so that
// subscribers that come back all at once do not all ask the engine: some
// minutes, in at most so much memory.
const (
	windowEvents = 16384
	windowBytes  = 16 << 20 // counted as in MemoryOptions
	windowAge    = 10 * time.Minute
)

// startWindow begins a window on what comes after an ID; "" is one that nobody
// has. Only read calls it, and remember: a replay that is under way goes on in
// the window that it has, in which nothing is missing either.
func (b *Broker) startWindow(after string) {
	w := NewMemoryStore(&MemoryOptions{MaxEvents: windowEvents, MaxBytes: windowBytes, MaxAge: windowAge})
	w.floor = after // the oldest cursor with nothing missing after it
	b.window.Store(w)
}

// remember puts what Follow yielded next into the window. It is called before
// the event becomes the newest, so that the window never ends before the target
// of a replay.
func (b *Broker) remember(m Message) {
	if _, err := b.window.Load().Append(context.Background(), m.Event, m.Topics); err != nil {
		b.startWindow("") // it would have a hole
	}
}

// recall is Range of the Store, but asks the Store only for what the window
// does not have.
//
// A cursor is in the window if it is the ID of an event there, or the one just
// before the first. Compare could not tell: it is for IDs that the Store gave,
// and a cursor may be anything.
func (b *Broker) recall(ctx context.Context, q Query) iter.Seq2[sse.Event, error] {
	w := b.window.Load()
	switch {
	case w == nil || q.After == "" && q.Newest == 0:
		return b.store.Range(ctx, q)
	case q.After == "":
		return b.recallNewest(ctx, q, w)
	}
	return func(yield func(sse.Event, error) bool) {
		for ev, err := range w.Range(ctx, q) {
			if errors.Is(err, ErrGap) {
				// Older than the window, or the window has left it behind.
				b.store.Range(ctx, q)(yield)
				return
			}
			if !yield(ev, err) {
				return
			}
			q.After = ev.ID
		}
	}
}

// recallNewest is recall without a cursor. What is before the window is
// unknown, but if enough is in it, the newest are.
func (b *Broker) recallNewest(ctx context.Context, q Query, w *MemoryStore) iter.Seq2[sse.Event, error] {
	return func(yield func(sse.Event, error) bool) {
		var newest []sse.Event
		for ev, err := range w.Range(ctx, q) {
			if err == nil {
				newest = append(newest, ev)
			}
		}
		if len(newest) < q.Newest {
			b.store.Range(ctx, q)(yield)
			return
		}
		for _, ev := range newest {
			if !yield(ev, nil) {
				return
			}
		}
	}
}
