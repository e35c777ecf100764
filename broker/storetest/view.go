package storetest

import (
	"context"
	"iter"
	"math"
	"slices"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// A View is a [broker.Follower] on a [Log], as one process has it. Its methods
// may be called concurrently.
type View struct {
	log *Log

	// Guarded by log.mu.
	paused bool
	err    error // what every call fails with, if not nil
	lost   error // what Append fails with once it has stored, if not nil
}

// Pause makes Follow yield nothing more until Resume, so that what reads it
// lags behind. An event whose turn came before is not held back.
func (v *View) Pause() { v.change(func() { v.paused = true }) }

// Resume lets Follow go on where it was.
func (v *View) Resume() { v.change(func() { v.paused = false }) }

// SetErr makes every call fail with err, those that are under way included,
// until it is called again with nil: this process is cut off from the engine.
func (v *View) SetErr(err error) { v.change(func() { v.err = err }) }

// LoseReplies makes Append store the event and then fail with err, until it is
// called again with nil: the engine's answer gets lost.
func (v *View) LoseReplies(err error) { v.change(func() { v.lost = err }) }

func (v *View) change(f func()) {
	v.log.mu.Lock()
	defer v.log.mu.Unlock()
	f()
	v.log.changeLocked()
}

// errLocked returns what a call fails with at this moment.
func (v *View) errLocked(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case v.log.err != nil:
		return v.log.err
	default:
		return v.err
	}
}

// Append stores ev: see [broker.Store].
func (v *View) Append(ctx context.Context, ev sse.Event, topics []string) (string, error) {
	v.log.mu.Lock()
	defer v.log.mu.Unlock()
	if err := v.errLocked(ctx); err != nil {
		return "", err
	}
	id, err := v.log.appendLocked(ev, topics)
	if v.lost != nil {
		return "", v.lost
	}
	return id, err
}

// Last returns the newest ID: see [broker.Store].
func (v *View) Last(ctx context.Context) (string, error) {
	v.log.mu.Lock()
	defer v.log.mu.Unlock()
	if err := v.errLocked(ctx); err != nil {
		return "", err
	}
	return v.log.id(v.log.newestLocked()), nil
}

// Compare orders two IDs: see [broker.Follower].
func (v *View) Compare(a, b string) int { return v.log.Compare(a, b) }

// Range yields the events that q asks for, reading one at a time: see
// [broker.Store].
func (v *View) Range(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
	return func(yield func(sse.Event, error) bool) {
		c, err := v.seek(ctx, q)
		for err == nil && c.next <= c.through {
			var m broker.Message
			var wait <-chan struct{}
			m, wait, err = v.read(ctx, c)
			switch {
			case err != nil:
			case wait != nil: // the end, before through: that has been lost
				if q.After == "" {
					return
				}
				err = broker.ErrGap
			case wanted(m.Topics, q.Topics) && !yield(m.Event, nil):
				return
			}
		}
		if err != nil {
			yield(sse.Event{}, err)
		}
	}
}

// Follow yields each event after the ID after: see [broker.Follower].
func (v *View) Follow(ctx context.Context, after string) iter.Seq2[broker.Message, error] {
	return func(yield func(broker.Message, error) bool) {
		c, err := v.seek(ctx, broker.Query{After: after})
		if err == nil {
			c.through, c.follows = math.MaxInt, true
		}
		for err == nil {
			var m broker.Message
			var wait <-chan struct{}
			m, wait, err = v.read(ctx, c)
			switch {
			case err != nil:
			case wait != nil:
				select {
				case <-wait:
				case <-ctx.Done():
				}
			case !yield(m, nil):
				return
			}
		}
		yield(broker.Message{}, err)
	}
}

// A cursor is where one call of Range or Follow stands.
type cursor struct {
	next, through int  // numbers
	strict        bool // an event from next on that was evicted unread is a gap; if not, the oldest held is next
	follows       bool // and so does nothing while the View is paused
}

func (v *View) seek(ctx context.Context, q broker.Query) (*cursor, error) {
	l := v.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := v.errLocked(ctx); err != nil {
		return nil, err
	}
	c := &cursor{next: l.first, through: l.newestLocked(), strict: q.After != ""}
	if q.After != "" {
		after := l.number(q.After)
		if after < l.first-1 || after > c.through {
			return nil, broker.ErrGap
		}
		c.next = after + 1
	}
	if q.Through != "" {
		c.through = l.number(q.Through)
	}
	if q.Newest > 0 {
		n := 0
		for i := min(c.through, l.newestLocked()); i >= c.next; i-- {
			if wanted(l.held[i-l.first].Topics, q.Topics) {
				n++
			}
			if n == q.Newest {
				c.next = i
				break
			}
		}
	}
	return c, nil
}

// read returns the event at c.next. Where there is none to be read, it returns
// a channel that is closed when that may have changed.
func (v *View) read(ctx context.Context, c *cursor) (broker.Message, <-chan struct{}, error) {
	l := v.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := v.errLocked(ctx); err != nil {
		return broker.Message{}, nil, err
	}
	if c.follows && v.paused {
		return broker.Message{}, l.changed, nil
	}
	if c.next < l.first {
		if c.strict {
			return broker.Message{}, nil, broker.ErrGap
		}
		c.next = l.first
	}
	if c.strict && c.next > l.newestLocked()+1 {
		return broker.Message{}, nil, broker.ErrGap // it was set back
	}
	if c.next > min(c.through, l.newestLocked()) {
		return broker.Message{}, l.changed, nil
	}
	m := l.held[c.next-l.first].Message
	c.next++
	c.strict = true
	return m, nil, nil
}

// wanted reports whether an event published on topics is: nil is all.
func wanted(topics, among []string) bool {
	return among == nil || slices.ContainsFunc(topics, func(t string) bool { return slices.Contains(among, t) })
}
