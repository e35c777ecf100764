package client

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/fanfare-go/fanfare/sse"
)

const (
	maxErrorBody     = 4 << 10
	errorBodyTimeout = 3 * time.Second

	// closeTimeout is how long the end of an attempt waits until its body is
	// closed. Over HTTP/2, where Close writes to a server that may not be
	// reading, that can take for ever.
	closeTimeout = 100 * time.Millisecond
)

var (
	// errOver is the end that is no error: a 204, or a consumer that has left.
	errOver = errors.New("client: over")

	// errReconnect is the cause with which Reconnect cancels a turn.
	errReconnect = errors.New("client: reconnect")
)

// A run is one iteration over Events. It belongs to the goroutine that ranges.
type run struct {
	client      *Client
	ctx         context.Context // of the iteration
	yield       func(sse.Event, error) bool
	backoff     backoff
	failed      int    // attempts in a row
	leaves      bool   // the last attempt ended with ErrIdle, or its turn by Reconnect
	http2       bool   // the last response came over HTTP/2
	lastEventID string // what client.lastEventID is
}

// An attempt is what has become of one request.
type attempt struct {
	err    error
	final  bool // err ends the iteration whatever Retryable says
	opened bool // there was a stream
	proven bool // the stream had an event, or lived longer than MaxBackoff
}

// turn makes one attempt and waits for the next. It returns nil once that is due,
// or r.ctx has ended in the wait.
//
// Reconnect cancels the context of the turn, and so the attempt as well as the
// wait, whichever it finds. A Reconnect that still finds this turn when it is
// already over cancels nothing, and needs not: the next attempt starts after
// that call. None is lost, and none is kept for a connection it was not meant for.
func (r *run) turn() error {
	c, ctx := r.client, r.ctx
	turn, drop := context.WithCancelCause(ctx)
	defer drop(nil)
	c.mu.Lock()
	c.drop = drop
	c.mu.Unlock()

	a := r.attempt(turn)
	r.leaves = a.err == ErrIdle || turn.Err() != nil
	switch {
	case a.err == errOver:
		return errOver
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	if a.proven {
		r.failed = 0
		r.backoff.reset()
	}
	if turn.Err() != nil {
		return nil // Reconnect: whatever the attempt ended with came from that
	}
	if !a.proven {
		r.failed++
	}
	switch most := c.opts.MaxAttempts; {
	case a.final:
		return a.err
	case !c.opts.Retryable(a.err):
		return finalError(a.err, a.opened, 0)
	case most > 0 && r.failed >= most:
		return finalError(a.err, a.opened, r.failed)
	}

	retry, sent := c.decoder.LastRetry()
	delay := r.backoff.next(retry, sent, retryAfter(a.err))
	c.log(ctx, slog.LevelInfo, "client: reconnecting", slog.Any("err", a.err), slog.Duration("delay", delay))
	if c.opts.OnRetry != nil {
		c.opts.OnRetry(a.err, delay)
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-turn.Done():
		r.leaves = true
	}
	return nil
}

// attempt sends one request and, if a stream comes back, yields its events.
func (r *run) attempt(turn context.Context) attempt {
	c := r.client
	ctx, cancel := context.WithCancelCause(turn)
	defer cancel(nil)
	req, err := c.request(ctx, r.lastEventID)
	if err != nil {
		return attempt{err: err, final: true}
	}
	// Over HTTP/2 the connection stays open for others when a stream is cancelled, also
	// if it is dead. This attempt may get it again, but it is the last to: otherwise
	// only closing all that is idle would help, which can break requests that have
	// nothing to do with it.
	req.Close = req.Close || r.leaves && r.http2
	w := newWatch(c.opts.IdleTimeout, func() { cancel(ErrIdle) })
	defer w.disarm()

	w.arm()
	resp, err := c.http.Do(req)
	w.disarm()
	if err != nil {
		return attempt{err: idleOr(ctx, err)}
	}
	r.http2 = resp.ProtoMajor == 2
	defer closeWith(ctx, resp.Body)()
	defer cancel(nil)

	// Spec: "if res's status is not 200, or if res's `Content-Type` is not
	// `text/event-stream`, then fail the connection."
	switch {
	case resp.StatusCode == http.StatusNoContent:
		return attempt{err: errOver}
	case resp.StatusCode != http.StatusOK || !isStream(resp.Header.Get("Content-Type")):
		return attempt{err: refusal(resp, &w, func() { cancel(nil) })}
	}
	opened := time.Now()
	if c.opts.OnConnect != nil {
		shown := *resp
		shown.Body = http.NoBody // the bytes are the Decoder's
		c.opts.OnConnect(&shown)
	}
	c.decoder.Reset(&source{run: r, body: watched{resp.Body, &w}}, r.lastEventID)
	events, err := r.read(ctx)
	return attempt{
		err:    err,
		opened: true,
		proven: events || time.Since(opened) > r.backoff.max,
	}
}

// closeWith closes body as soon as ctx has ended: the end of a request's context
// does not end every Read of the body, not after a 101 and not with every
// RoundTripper. The function that it returns waits for that, but not for long.
func closeWith(ctx context.Context, body io.Closer) (wait func()) {
	closed := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(closed)
		body.Close()
	})
	return func() {
		timer := time.NewTimer(closeTimeout)
		defer timer.Stop()
		select {
		case <-closed:
		case <-timer.C:
		}
	}
}

// read yields the events of a stream until that ends. It reports whether there
// were any, and how it ended: with errOver if the consumer has left, with ErrIdle
// or the error of a context if that was done before an event could be handed over,
// or else with the Decoder's error.
func (r *run) read(ctx context.Context) (events bool, err error) {
	d := r.client.decoder
	for ev, err := range d.Events() {
		if err != nil {
			r.setLastEventID(d.LastEventID())
			return events, idleOr(ctx, err)
		}
		// From the end of the iteration on, and once Reconnect has returned,
		// nothing is handed over that had been parsed or buffered before. Its
		// ID is not taken either. Reconnect has cancelled ctx by then; what
		// ends r.ctx may do that a moment later.
		if ctx.Err() != nil || r.ctx.Err() != nil {
			return events, idleOr(ctx, cmp.Or(ctx.Err(), r.ctx.Err()))
		}
		r.setLastEventID(ev.ID)
		events = true
		if !r.yield(ev, nil) {
			return events, errOver
		}
	}
	r.setLastEventID(d.LastEventID())
	return events, idleOr(ctx, io.EOF)
}

// comment hands a comment to the consumer. A block before it may have set an ID
// without an event.
func (r *run) comment(text string) {
	r.setLastEventID(r.client.decoder.LastEventID())
	r.client.opts.OnComment(text)
}

// setLastEventID sets the Client's LastEventID.
func (r *run) setLastEventID(id string) {
	if sameID(id, r.lastEventID) {
		return
	}
	r.lastEventID = id
	r.client.lastEventID.set(id)
}

// sameID reports whether a and b are the same. If not, they are two numbers,
// mostly, and the last digit shows it in less time than a comparison of all.
func sameID(a, b string) bool {
	n := len(a)
	return n == len(b) && (n == 0 || a[n-1] == b[n-1] && a == b)
}

// idleOr returns ErrIdle if that is why ctx was cancelled, and err if not.
// net/http reports the cause in some places, and context.Canceled in others.
func idleOr(ctx context.Context, err error) error {
	if context.Cause(ctx) == ErrIdle {
		return ErrIdle
	}
	return err
}

// isStream reports whether a Content-Type is that of a stream, with any
// parameters or none: the encoding is UTF-8 whatever they say.
func isStream(contentType string) bool {
	mediaType, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(mediaType), sse.MediaType)
}

// refusal returns the error for a response that is no stream. It calls cancel
// if the body takes too long.
func refusal(resp *http.Response, w *watch, cancel func()) *ResponseError {
	defer time.AfterFunc(errorBodyTimeout, cancel).Stop()
	body, _ := io.ReadAll(io.LimitReader(watched{resp.Body, w}, maxErrorBody)) // what came before an error is kept
	return &ResponseError{StatusCode: resp.StatusCode, Header: resp.Header, Body: body}
}
