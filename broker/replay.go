package broker

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/fanfare-go/fanfare/sse"
)

// storeError marks an error of the Store, after which a replay tries again.
type storeError struct{ err error }

func (e *storeError) Error() string { return "broker: store: " + e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

// replay hands out what comes before the queue. While the Store fails, it asks
// again: nobody else waits for that.
func (s *Subscription) replay(ctx context.Context, out outlet) error {
	ctx, done := s.interruptible(ctx)
	defer done()
	for attempt := 0; ; attempt++ {
		from := s.position
		err := s.catchUp(ctx, out)
		failure, ok := errors.AsType[*storeError](err)
		if !ok {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.b.opts.Logger.LogAttrs(ctx, slog.LevelWarn, "broker: replay failed", slog.Any("error", failure.err))
		if out.failed(err) {
			return err
		}
		if s.position != from && s.position != "" {
			attempt = 0 // it gets on
		}
		if err := pause(ctx, out, backoff(attempt)); err != nil {
			return err
		}
	}
}

// interruptible returns a context that also ends with the subscription.
func (s *Subscription) interruptible(ctx context.Context) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	s.b.order.Lock()
	defer s.b.order.Unlock()
	if s.closed.Load() {
		cancel(ErrClosed)
	}
	s.interrupt = cancel
	return ctx, func() {
		s.b.order.Lock()
		defer s.b.order.Unlock()
		s.interrupt = nil
		cancel(nil)
	}
}

// catchUp hands out what the stage asks for, from the position through the
// newest event that is not in the queue.
func (s *Subscription) catchUp(ctx context.Context, out outlet) error {
	through, err := s.target(ctx)
	if err != nil {
		return err
	}
	for {
		topics, end, next := s.stretch()
		if next == nil {
			end = through
		}
		if err := s.catchUpThrough(ctx, out, end, topics); err != nil || s.stage == live {
			return err
		}
		if next == nil {
			return s.arrive(out, through)
		}
		s.endStretch(end, next)
	}
}

// catchUpThrough is catchUp as far as its topics stay the same.
func (s *Subscription) catchUpThrough(ctx context.Context, out outlet, through string, topics []string) (err error) {
	if len(topics) == 0 {
		if s.stage == resuming && s.handed == "" {
			s.position = "" // the Store has not been asked whether it knows the cursor, and will not be
		}
		return nil
	}
	q := Query{Through: through, Topics: topics}
	switch s.stage {
	case fresh:
		if ok, err := s.present(ctx, out, through); ok || err != nil {
			return err
		}
		if n := s.b.opts.Backlog; n != 0 && through != "" {
			q.Newest = max(n, 0)
			err = s.pass(ctx, out, q)
		}
	case resuming:
		switch s.position {
		case "":
			// There is nothing to go on from: the Store gives no IDs, or the cursor is
			// none that an event can have, or the Store was never asked about it.
			err = ErrGap
		case through:
		default:
			q.After = s.position
			err = s.pass(ctx, out, q)
		}
	case lost:
		switch s.position {
		case "":
			err = ErrGap // which has been told
		case through:
		default:
			q.After = s.position
			err = s.pass(ctx, out, q)
		}
	}
	for err == ErrGap {
		err = s.startOver(ctx, out, through, topics)
	}
	return err
}

// target returns the ID at which the queue takes over.
func (s *Subscription) target(ctx context.Context) (string, error) {
	if err := s.b.start(ctx); err != nil {
		return "", &storeError{err}
	}
	s.b.order.Lock()
	defer s.b.order.Unlock()
	if !s.known {
		// Registered before there was a newest ID: all that has come since is
		// in the queue.
		s.through, s.known = s.b.origin, true
	}
	return s.through, nil
}

// pass hands out the events of a query. The error is ErrGap, a *storeError, or
// final.
func (s *Subscription) pass(ctx context.Context, out outlet, q Query) error {
	for ev, err := range s.b.recall(ctx, q) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, ErrGap) {
			return ErrGap
		}
		if err != nil {
			return &storeError{err}
		}
		if s.isBehind(ev.ID) {
			continue // from the oldest, after a gap in the middle
		}
		stage, position, handed, told := s.stage, s.position, s.handed, s.told
		if s.stage == fresh {
			s.stage = resuming // from here on it goes on where it was
		}
		err := s.hand(out, ev)
		if _, ok := errors.AsType[*sse.FieldError](err); ok {
			// It was not published here, and read leaves it out as well. It must
			// not end the streams of all who come to it, time and again.
			s.b.opts.Logger.LogAttrs(ctx, slog.LevelError, "broker: event left out", slog.String("id", ev.ID), slog.Any("error", err))
			s.stage, s.position, s.handed, s.told = stage, position, handed, told
			s.delivered--
			continue
		}
		if err != nil {
			return err
		}
		if s.delivered >= maxUncounted {
			s.account()
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// startOver tells the Gap, unless that was the last thing it did, and hands out the
// state or else all that is held. The error is that of pass: events may be evicted
// while those before them are handed out, which is a gap of its own.
func (s *Subscription) startOver(ctx context.Context, out outlet, through string, topics []string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.stage, s.position = lost, ""
	if !s.told {
		s.told = true
		if err := s.tell(out); err != nil {
			return err
		}
	}
	if ok, err := s.present(ctx, out, through); ok || err != nil {
		return err
	}
	end, err := s.endOfHistory(ctx, through)
	if err != nil {
		return err
	}
	err = s.pass(ctx, out, Query{Through: end, Topics: topics})
	if err == ErrGap && s.position == "" {
		return &storeError{err} // from the oldest on there can be no gap; do not spin
	}
	if err == nil && end != through && end != s.handed {
		s.moveTo(end)
		err = out.mark(end)
	}
	return err
}

// endOfHistory returns through, or, for a Broker that lags behind its Follower, the
// newest ID there. Whoever has lost its cursor and gets all that is held gets that as
// well: its cursor may have been from another Broker, which was ahead of this one, and
// with the ID through it would go back.
func (s *Subscription) endOfHistory(ctx context.Context, through string) (string, error) {
	f := s.b.follower
	if f == nil || s.changes.Load() != nil { // or the topics may be others from there on
		return through, nil
	}
	last, err := s.b.store.Last(ctx)
	if err != nil {
		return "", &storeError{err}
	}
	if f.Compare(last, through) > 0 {
		return last, nil
	}
	return through, nil
}

// present hands out a snapshot, if there is one to be had.
func (s *Subscription) present(ctx context.Context, out outlet, through string) (ok bool, err error) {
	events, ok, err := out.snapshot(ctx)
	if err != nil {
		return ok, err
	}
	if !ok {
		return false, nil
	}
	for _, ev := range events {
		ev.ID = ""
		if err := out.event(ev); err != nil {
			return ok, err
		}
	}
	s.primes = true
	return ok, s.arrive(out, through)
}

// arrive ends a replay: all that came before the queue has been handed out.
func (s *Subscription) arrive(out outlet, through string) error {
	if s.stage == resuming && s.handed == "" {
		s.handed = s.position // the Store knows it: the subscriber's own cursor
	}
	mark := s.primes || s.stage == lost && s.position == ""
	s.stage, s.primes, s.told = live, false, false
	if through == "" || s.isBehind(through) {
		s.ahead = through != s.handed
		return nil
	}
	s.position = through
	if !mark || through == s.handed {
		return nil
	}
	s.handed = through
	return out.mark(through)
}

// backoff is how long to wait after so many failures of a Store in a row: 0.1
// to 5 seconds, and up to half as much again at random, so that the
// subscribers of a Store that comes back do not all ask at once.
func backoff(failures int) time.Duration {
	d := min(100*time.Millisecond<<min(failures, 6), 5*time.Second)
	return d + rand.N(d/2)
}

// pause waits, and keeps the stream alive meanwhile.
func pause(ctx context.Context, out outlet, d time.Duration) error {
	if err := out.flush(); err != nil {
		return err
	}
	for end := time.Now().Add(d); ; {
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		timer := time.NewTimer(min(left, out.untilBeat()))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		if out.untilBeat() == 0 {
			if err := out.beat(); err != nil {
				return err
			}
		}
	}
}
