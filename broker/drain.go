package broker

import (
	"context"

	"github.com/fanfare-go/fanfare/sse"
)

// drain hands out what the queue holds, and waits for more, until the queue is
// closed.
func (s *Subscription) drain(ctx context.Context, out outlet) error {
	reg := s.registration()
	if reg == nil {
		return ErrClosed // closed, or shut down: then the replay was the last there is
	}
	for {
		if s.held.frame != nil {
			if err := s.take(ctx, out, reg); err != nil {
				return err
			}
		}
		// Before looking at the queue. An event is only dropped while the queue
		// is full, so there is an item to take after missed is set: whoever
		// then finds the queue empty has loaded missed since.
		missed := reg.missed.Load()
		var ok bool
		select {
		case s.held, ok = <-reg.queue:
			if !ok {
				return s.reason(out, reg)
			}
			continue
		default:
		}
		if missed > s.seen {
			// Events are missing at the end of what was queued. How many, the
			// shard knows: it may be about to drop another one. Its answer comes
			// through the queue, and is the gap.
			s.b.markCount(reg)
		}
		s.account()
		if err := out.flush(); err != nil {
			return err
		}
		select {
		case s.held, ok = <-reg.queue:
			if !ok {
				return s.reason(out, reg)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-out.ticks():
			// A mark is a sign of life, too.
			if out.due() && !s.b.markNewest(s, reg) {
				if err := out.beat(); err != nil {
					return err
				}
			}
		}
	}
}

// take hands out the item that is held.
func (s *Subscription) take(ctx context.Context, out outlet, reg *registration) error {
	// The queue and the end may have been ready together: the end comes first,
	// and the item stays for the next call of Events.
	if s.closed.Load() {
		return ErrClosed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f := s.held.frame
	before := s.held.n
	if f.data != nil {
		before--
	}
	if before > s.seen {
		s.seen = before // a loop that breaks here comes back for the event alone
		if err := s.tell(out); err != nil {
			return err
		}
	}
	s.seen = s.held.n
	s.held = item{}
	reg.taken.Add(uint64(len(f.data)))
	id := f.event.ID
	switch {
	case s.isBehind(id):
		return nil // handed out by a Broker that was ahead of this one
	case f.data != nil:
		return s.hand(out, f.event, f.data)
	case id != "" && id != s.handed:
		s.position, s.handed = id, id
		return out.mark(id)
	}
	return nil
}

// hand hands out an event.
func (s *Subscription) hand(out outlet, ev sse.Event, data []byte) error {
	if ev.ID != "" {
		s.position, s.handed = ev.ID, ev.ID
	}
	s.delivered++
	return out.event(ev, data)
}

// tell hands out the Gap.
func (s *Subscription) tell(out outlet) error {
	s.b.stats.gaps.Add(1)
	return out.event(s.b.opts.Gap, nil)
}

// isBehind reports whether id is not after what has been handed out. Only a
// Broker on a Follower can have such IDs: it may lag behind the one that the
// subscriber was on before.
func (s *Subscription) isBehind(id string) bool {
	f := s.b.follower
	return f != nil && id != "" && s.handed != "" && f.Compare(id, s.handed) <= 0
}

// reason says why the queue was closed.
func (s *Subscription) reason(out outlet, reg *registration) error {
	if s.closed.Load() {
		return ErrClosed
	}
	if missed := reg.missed.Load(); missed > s.seen {
		s.seen = missed
		if err := s.tell(out); err != nil {
			return err
		}
	}
	switch {
	case !reg.behind:
		return ErrClosed // shut down: this was the last there is
	case s.b.opts.Slow == Disconnect:
		return ErrSlow
	default:
		return errBehind
	}
}
