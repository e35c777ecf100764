package broker

import (
	"context"

	"github.com/fanfare-go/fanfare/sse"
)

// maxUncounted is how many events of a subscriber Stats may lag behind: who is slow
// may have no flush for hours, and a replay none at all.
const maxUncounted = 64

// drain hands out what has come for reg, until there is no more to come. A loop
// over Events waits for more; a subscriber over HTTP is parked meanwhile.
func (s *Subscription) drain(ctx context.Context, out outlet, reg *registration) error {
	if reg == nil {
		return ErrClosed // closed, or shut down: then the replay was the last there is
	}
	for {
		busy := reg.busy.Load()
		var missed uint64
		for {
			if err := s.take(ctx, out, reg); err != nil {
				return err
			}
			if s.delivered >= maxUncounted {
				s.account()
			}
			// Before looking at the queue. When an event is dropped, missed is
			// set, and then there is an item to take after that, or the shard
			// looks whether there is none, and queues a mark. So whoever finds the
			// queue empty has loaded missed since, or has a mark to come.
			missed = reg.missed.Load()
			var closed bool
			if s.held, closed = reg.receive(busy); closed {
				return s.reason(out, reg)
			}
			if s.held.batch == nil {
				break
			}
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
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !reg.waits {
			out.park(missed <= s.seen)
			if reg.park(busy) {
				return errParked
			}
			continue
		}
		var ok bool
		var err error
		if s.held, ok, err = s.loop.wait(ctx, s, reg); err != nil {
			return err
		} else if !ok {
			return s.reason(out, reg)
		}
	}
}

// wait waits for an item that is not plain, or returns without one when there is
// something else to do; not ok: there will be none. What is plain, and that is nearly
// all, it hands out: events with nothing missing before them. That is less to run
// through than drain, take and what they call and, most of all, less to fetch where
// there are so many subscriptions that nothing of theirs is in the cache any more: 5
// to 10 % of a delivery with 100 of them, 15 to 20 % with 10,000.
func (l *loop) wait(ctx context.Context, s *Subscription, reg *registration) (it item, ok bool, err error) {
	queue, yield := reg.queue, l.yield
	for {
		// Not a select with ctx: all there is to wait for comes through the queue,
		// see [Broker.wake], and that costs half as much.
		if reg.conflates {
			it, ok = reg.await()
		} else {
			it, ok = <-queue
		}
		b := it.batch
		if !ok || b.events == 0 || it.n-uint64(b.events) != s.seen {
			return it, ok, nil
		}
		s.seen = it.n
		several := b.parent != nil
		for ; b.parent != nil; b = b.parent {
			s.laidOut = append(s.laidOut, b.frame)
		}
		for f := b.frame; ; f = s.pop() {
			if s.closed.Load() || ctx.Err() != nil || s.changes.Load() != nil || s.isBehind(f.event.ID) {
				s.laidOut = append(s.laidOut, f)
				return item{}, true, nil
			}
			reg.leave(1, len(f.data))
			s.passed(f.event.ID)
			if !yield(f.event, nil) {
				return item{}, true, errBreak
			}
			if !several || len(s.laidOut) == 0 { // to look there is one thing more to fetch
				break
			}
		}
		// After all have left, and before it waits: until then the shard queues no mark,
		// neither for a gap nor for the end of ctx.
		if reg.missed.Load() > s.seen || ctx.Err() != nil {
			return item{}, true, nil
		}
		if len(queue) == 0 || s.delivered >= maxUncounted {
			s.account()
		}
	}
}

// take hands out the item that is held, if there is one. A loop over Events may
// break at any event, and then come back for the rest.
func (s *Subscription) take(ctx context.Context, out outlet, reg *registration) error {
	for s.held.batch != nil || len(s.laidOut) > 0 {
		// The queue and the end may have been ready together: the end comes
		// first, and the item stays.
		if s.closed.Load() {
			return ErrClosed
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var err error
		if last := len(s.laidOut) - 1; last >= 0 {
			err = s.handFrame(out, reg, s.pop(), s.seen-uint64(last))
		} else {
			err = s.takeBatch(ctx, out, reg)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pop takes the next frame out of rest, which is not empty.
func (s *Subscription) pop() *frame {
	last := len(s.laidOut) - 1
	f := s.laidOut[last]
	s.laidOut[last] = nil
	s.laidOut = s.laidOut[:last]
	return f
}

// takeBatch hands out the batch that is held, or lays it out in rest.
func (s *Subscription) takeBatch(ctx context.Context, out outlet, reg *registration) error {
	b := s.held.batch
	if before := s.held.n - uint64(b.events); before > s.seen {
		if s.worker != nil {
			return errTime // for the Logger
		}
		s.forgetLost(reg)
		s.seen = before
		if s.dropped.Load() > 0 { // not by the Store alone
			s.logSlow(ctx, "events were dropped")
		}
		return s.tell(out)
	}
	s.seen = s.held.n
	s.held = item{}
	id := b.frame.event.ID
	if b.events == 0 {
		switch {
		case b == comment:
			_, err := out.blocks(b)
			return err
		case id == "" || id == s.handed || s.isBehind(id):
			return nil
		}
		s.moveTo(id)
		return out.mark(id)
	}
	if !s.ahead {
		if ok, err := out.blocks(b); ok {
			reg.leave(b.events, b.size)
			s.delivered += uint64(b.events)
			s.moveTo(id)
			return err
		}
	}
	if b.events == 1 {
		return s.handFrame(out, reg, b.frame, s.seen)
	}
	for ; b != nil; b = b.parent {
		s.laidOut = append(s.laidOut, b.frame)
	}
	return nil
}

// handFrame hands out f, which is number n in the queue of reg, if it is wanted.
func (s *Subscription) handFrame(out outlet, reg *registration, f *frame, n uint64) error {
	reg.leave(1, len(f.data))
	switch {
	case s.isBehind(f.event.ID): // handed out by a Broker that was ahead of this one
		return nil
	case s.changes.Load() != nil && !s.wants(reg, f, n):
		s.moveTo(f.event.ID)
		return nil
	}
	return s.hand(out, f.event)
}

// hand hands out an event.
func (s *Subscription) hand(out outlet, ev sse.Event) error {
	s.passed(ev.ID)
	return out.event(ev)
}

// moveTo notes that everything up to id is done. "" is the ID of an event without
// one, after which the cursor is what it was.
func (s *Subscription) moveTo(id string) {
	if id != "" {
		s.position, s.handed = id, id
	}
}

// passed notes that the event with this ID is handed out.
func (s *Subscription) passed(id string) {
	s.moveTo(id)
	s.delivered++
	s.ahead, s.told = false, false
}

// tell hands out the Gap.
func (s *Subscription) tell(out outlet) error {
	s.b.stats.gaps.Add(1)
	return out.event(s.b.opts.Gap)
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
	s.forgetLost(reg)
	catchesUp := reg.behind && s.b.opts.Slow == CatchUp // and finds out whether anything is gone
	if missed := reg.missed.Load(); missed > s.seen && !catchesUp {
		s.seen = missed
		if err := s.tell(out); err != nil {
			return err
		}
	}
	switch {
	case reg.gapped:
		return errGapped
	case !reg.behind:
		return ErrClosed // shut down: this was the last there is
	case s.b.opts.Slow == Disconnect:
		return ErrSlow
	default:
		return errBehind
	}
}
