package sse

import (
	"cmp"
	"context"
	"errors"
	"time"
)

// flushStride is how many bytes SendAll gathers before it flushes.
const flushStride = 32 << 10

var errClosed = errors.New("sse: the Writer is closed")

// SendAll sends the events that arrive on ch until ch is closed, ctx or the
// request's context ends, or the stream fails. Events that are waiting in ch
// are written together and flushed once. Whenever nothing was sent for
// WriterOptions.Heartbeat, SendAll sends an empty comment.
//
// The error is nil if ch was closed, the cause of the context that ended, the
// error of the write that failed, or the [*FieldError] of an event that cannot
// be encoded; the events before that one are sent. Events that are left in ch,
// or that arrive as a context ends, are not sent.
//
// SendAll is meant to be the last thing that a handler does: it leaves a write
// deadline, as [Writer.Close] does. The next Flush removes that deadline.
func (w *Writer) SendAll(ctx context.Context, ch <-chan Event) error {
	defer w.armEnd()

	var idle <-chan time.Time
	var timer *time.Timer
	if w.heartbeat > 0 {
		timer = time.NewTimer(w.heartbeat)
		defer timer.Stop()
		idle = timer.C
	}
	// The timer is touched only when it fires, not with every event: what was
	// sent meanwhile only moves sent, and the timer is set again for the rest.
	sent := time.Now()
	for {
		// A select with several cases ready picks one at random: ctx wins here.
		if err := w.endedBy(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-w.ctx.Done():
		case <-idle:
			if time.Since(sent) >= w.heartbeat {
				if err := w.Comment(""); err != nil {
					return err
				}
				sent = time.Now()
			}
			timer.Reset(w.heartbeat - time.Since(sent))
		case ev, open := <-ch:
			if err := w.endedBy(ctx); err != nil {
				return err
			}
			if open {
				var err error
				if open, err = w.sendWaiting(ev, ch); err != nil {
					return err
				}
				sent = time.Now()
			}
			if !open {
				return nil
			}
		}
	}
}

// sendWaiting sends ev and what else is waiting in ch, with one flush. open is
// false if ch is closed.
func (w *Writer) sendWaiting(ev Event, ch <-chan Event) (open bool, err error) {
	b := w.buf[:0]
	open = true
	for more := true; more; {
		if b, err = ev.AppendTo(b); err != nil || len(b) >= flushStride {
			break
		}
		select {
		case ev, open = <-ch:
			more = open
		default:
			more = false
		}
	}
	if len(b) == 0 {
		return open, err
	}
	return open, cmp.Or(w.send(b), err)
}

// endedBy returns the error of a stream that has ended, by ctx if not by
// itself.
func (w *Writer) endedBy(ctx context.Context) error {
	if err := w.ended(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Close ends the use of w. It sends nothing, but leaves a write deadline of
// WriterOptions.WriteTimeout from now on, for net/http still has to write the end
// of the response when the handler returns, and would wait without limit for a
// client that does not read; so would [http.Server.Shutdown]. From then on every
// method returns an error. Closing again, or after a failure, does nothing.
func (w *Writer) Close() {
	w.armEnd()
	w.err = cmp.Or(w.err, errClosed)
}

// armEnd sets the write deadline for the end of the response. After a failure
// the old one stays: there is nothing to wait for any more.
func (w *Writer) armEnd() {
	if w.err != nil || w.timeout < 0 {
		return
	}
	_ = w.setDeadline(time.Now().Add(w.timeout)) // the stream has ended anyway
	w.armed = false                              // a Flush after this arms its own
}
