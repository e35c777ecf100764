package broker

import (
	"cmp"
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
//
// It looks whether there is enough, and ranges again to yield it, rather than keep
// the events meanwhile: who takes them may stop reading.
func (b *Broker) recallNewest(ctx context.Context, q Query, w *MemoryStore) iter.Seq2[sse.Event, error] {
	return func(yield func(sse.Event, error) bool) {
		n, first, last := 0, "", ""
		for ev, err := range w.Range(ctx, q) {
			if err == nil {
				n++
				first = cmp.Or(first, ev.ID)
			}
		}
		if n >= q.Newest {
			for ev, err := range w.Range(ctx, q) {
				if last == "" && ev.ID != first || errors.Is(err, ErrGap) {
					break // the window has left it behind
				}
				if !yield(ev, err) || err != nil {
					return
				}
				if last = ev.ID; n == 1 {
					return
				}
				n--
			}
		}
		if last != "" {
			q.After, q.Newest = last, 0
		}
		b.store.Range(ctx, q)(yield)
	}
}
