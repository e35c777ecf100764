package broker

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// read hands over what the Follower yields, whoever published it, until ctx
// ends. When the Store fails, it asks again and goes on where it was; what is
// gone by then is a gap for every subscriber.
func (b *Broker) read(ctx context.Context) {
	defer close(b.readDone)
	r := reader{b: b}
	for failures := 0; ; failures++ {
		before := r.after
		err := r.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if r.after != before {
			failures = 0
		}
		if errors.Is(err, ErrGap) {
			var changed bool
			if changed, err = r.lose(ctx); changed {
				continue
			}
		}
		b.opts.Logger.LogAttrs(ctx, slog.LevelWarn, "broker: following failed", slog.Any("error", err))
		select {
		case <-time.After(backoff(failures)):
		case <-ctx.Done():
			return
		}
	}
}

// reader is where read stands.
type reader struct {
	b     *Broker
	after string // newest ID that was handed over; "" after a gap
	gap   bool   // events are missing before the next one
}

// lose prepares for what comes after ErrGap. If there is something new to ask the
// Follower for, changed says so; if not, err is why there is none yet.
func (r *reader) lose(ctx context.Context) (changed bool, err error) {
	b := r.b
	last, err := b.store.Last(ctx)
	switch {
	case err != nil:
		return false, err
	case b.follower.Compare(last, b.newestID()) < 0:
		// The history ends before what was handed over, and goes on from there:
		// what comes next may come before that in the order, and would be taken
		// for what everybody has.
		b.startWindow(last)
		b.setBack(last)
		r.gap, r.after = false, last
		return true, nil
	case r.gap:
		return false, ErrGap
	}
	// Nobody is told before the next event comes. A subscriber that comes back in
	// between has newest as its target, which is from before the gap: it would be
	// told nothing, and then get events from after the gap. So the gap and the
	// event that ends it are handed over as one.
	r.gap, r.after = true, ""
	b.startWindow("")
	return true, nil
}

// follow hands over events until the Follower fails.
func (r *reader) follow(ctx context.Context) error {
	b := r.b
	if err := b.start(ctx); err != nil {
		return err
	}
	if r.after == "" && !r.gap {
		r.after = b.origin
		b.startWindow(b.origin)
	}
	for m, err := range b.follower.Follow(ctx, r.after) {
		if err != nil {
			return err
		}
		id := m.Event.ID
		if b.follower.Compare(id, b.newestID()) <= 0 {
			continue // from the oldest, after a gap
		}
		topics := orDefault(m.Topics)
		f, err := newFrame(m.Event, topics, b.opts.Key(m.Event, topics))
		if err != nil {
			b.opts.Logger.LogAttrs(ctx, slog.LevelError, "broker: event left out", slog.String("id", id), slog.Any("error", err))
			if !r.gap { // which the next event ends
				r.after = id
			}
			continue
		}
		b.remember(Message{m.Event, topics})
		b.handOver(f, r.gap)
		r.after, r.gap = id, false
	}
	return errors.New("broker: Follow ended")
}

func (b *Broker) newestID() string {
	b.order.Lock()
	defer b.order.Unlock()
	return b.newest
}
