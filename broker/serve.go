package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fanfare-go/fanfare/sse"
)

// ServeHTTP streams the events of the topics that [Options.Topics] names for
// the request. The cursor is the header Last-Event-ID or, without one, the
// query parameter lastEventId.
//
// It answers 405 to methods other than GET and HEAD, 406 if the header Accept
// excludes text/event-stream, 400 beyond [Options.MaxTopics] and to a request whose
// body does not end (see [sse.ErrBody]), 429 with Retry-After beyond
// [Options.MaxPerCaller], 503 with Retry-After beyond [Options.MaxSubscribers] and
// while the Store fails, 500 if the ResponseWriter cannot flush, and what Topics
// says. A Broker that shuts down or is closed answers 200, a reconnection time, and
// the end, for browsers never come back from another status.
//
// HEAD gets what a GET would that is let in: the limits on subscribers are not for it.
// Over HTTP/1.1 the response is not in chunks, and ends with its connection.
func (b *Broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.serveTopics(w, r, func(r *http.Request) ([]string, error) {
		topics, err := b.opts.Topics(r)
		if err != nil {
			return nil, err
		}
		topics = orDefault(topics)
		if limit := b.opts.MaxTopics; limit > 0 && len(topics) > limit {
			return nil, &StatusError{http.StatusBadRequest, fmt.Errorf("%d topics, allowed are %d", len(topics), limit)}
		}
		for i, topic := range topics {
			topics[i] = strings.Clone(topic) // a topic may outlive the request line that it was cut out of
		}
		return topics, nil
	})
}

// Handler returns a handler that streams the given topics, without any the
// topic "", to whoever asks. It is ServeHTTP but for [Options.Topics], which it
// ignores. The slice is not kept.
func (b *Broker) Handler(topics ...string) http.Handler {
	topics = orDefault(topics)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.serveTopics(w, r, func(*http.Request) ([]string, error) { return topics, nil })
	})
}

// serveTopics serves the topics that topicsOf returns, which are distinct.
func (b *Broker) serveTopics(w http.ResponseWriter, r *http.Request, topicsOf func(*http.Request) ([]string, error)) {
	if h := w.Header(); b.opts.Compress && !slices.Contains(h.Values("Vary"), "Accept-Encoding") {
		h.Add("Vary", "Accept-Encoding")
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		b.deny(w, r, http.StatusMethodNotAllowed, nil)
		return
	}
	if !accepts(r.Header.Values("Accept")) {
		b.deny(w, r, http.StatusNotAcceptable, nil)
		return
	}
	ends := b.ends.Load()
	topics, err := topicsOf(r)
	if err != nil {
		b.deny(w, r, statusOf(err), err)
		return
	}
	if r.Method == http.MethodHead {
		offered := b.opts.Compress && offerGzip(w.Header(), r)
		if _, err := sse.NewWriter(w, r, b.writerOptions()); hasNotBegun(err) {
			if offered {
				w.Header().Del("Content-Encoding")
			}
			b.denyStream(w, r, err)
		}
		return
	}

	st := b.newStream(w, r, topics)
	_, err = b.subscribe(sse.LastEventID(r), &st.sub, ends)
	if err == errEnded {
		b.serveAgain(w, r, topicsOf, topics)
		return
	}
	b.admit(st, w, r, err)
}

// serveAgain is serveTopics for who may have been shut out by an End since its
// topics were asked for. They are asked for once more, this time of a subscriber,
// whom an End finds: or nobody would get in as long as End is called each time that
// Topics is.
func (b *Broker) serveAgain(w http.ResponseWriter, r *http.Request, topicsOf func(*http.Request) ([]string, error), topics []string) {
	st := b.newStream(w, r, topics)
	_, err := b.subscribe(sse.LastEventID(r), &st.sub, unasked)
	if err == nil {
		leave := sync.OnceFunc(func() {
			st.sub.close(endAsked)
			st.guard.finish(-1) // Close may be about to cut it
			st.sub.unserve()
		})
		stays := false
		defer func() {
			if !stays { // or Topics panics
				leave()
			}
		}()
		again, err := topicsOf(r)
		switch {
		case err != nil:
			b.deny(w, r, statusOf(err), err)
			return
		case !slices.Equal(again, topics):
			leave()
			b.serveTopics(w, r, topicsOf)
			return
		}
		stays = true
	}
	b.admit(st, w, r, err)
}

// stream serves a subscription until it ends, or is detached.
//
// The handler's goroutine only waits, and others do the work. It waits with half
// the stack that a write takes, which is a fifth of what an idle subscriber
// costs.
func (b *Broker) stream(st *stream) {
	gone := st.r.Context().Done() // st.r belongs to others in a moment
	st.sub.spawn(st.guarded(func() error {
		st.logBegin()
		return nil
	}))
	select {
	case <-st.done:
	case <-gone:
		st.sub.close(endClient)
		<-st.done
	}
	if st.panicked != nil {
		panic(st.panicked)
	}
}

// spawn has resume run in a goroutine of the subscriber's own: one that has done
// so for another subscriber a moment ago, or a new one. Those that end leave
// their stacks to the next, which in turn do not shrink: when many connect at
// once, that is two kilobytes for each.
func (s *Subscription) spawn(err error) {
	select {
	case s.b.spare <- task{s, err}:
	default:
		go s.b.perform(task{s, err})
	}
}

// A task is a call of resume.
type task struct {
	sub *Subscription
	err error
}

// perform does t, and what comes within a moment after it. It ends with the
// Broker at the latest.
func (b *Broker) perform(t task) {
	const patience = 100 * time.Millisecond
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		t.sub.resume(t.err)
		t = task{}
		timer.Reset(patience)
		select {
		case t = <-b.spare:
		case <-timer.C:
			return
		case <-b.quiet:
			return
		case <-b.ctx.Done():
			return
		}
	}
}

// resume serves a subscriber over HTTP until it is parked, or ends: whenever
// there is something to do that may take time. That is what comes first, to
// catch up, to write what the other end is slow to take, to end. What a worker
// met on its turn is err. After some turns that were short, workers serve the
// subscriber again.
func (s *Subscription) resume(err error) {
	began := time.Now()
	if err = s.stream.serve(err); err != errParked {
		s.b.conclude(s.stream, err)
	} else {
		s.repay(time.Since(began))
	}
}

// turn writes what has come for r, and leaves all that is not just that to a
// goroutine of the subscriber's own. w calls it.
func (s *Subscription) turn(r *registration, w *worker) {
	if err := s.stream.turn(r, w); err != errParked {
		s.spawn(err)
	}
}

// guarded calls f. A panic of a callback, or of a ResponseWriter, ends the
// stream, and goes on in the handler's goroutine, where net/http expects it; a
// detached stream has none, so there it is logged. One that calls
// [runtime.Goexit] ends the goroutine of somebody else: another one ends the
// stream.
func (st *stream) guarded(f func() error) (err error) {
	returned := false
	defer func() {
		p := recover()
		if returned {
			return
		}
		exits := p == nil
		if exits {
			p = http.ErrAbortHandler
		}
		err = fmt.Errorf("broker: callback panicked: %v", p)
		if st.sub.line == nil {
			st.panicked = p
		} else {
			st.sub.b.opts.Logger.LogAttrs(st.ctx, slog.LevelError, "broker: callback panicked",
				slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
		}
		if exits {
			st.sub.spawn(err)
		}
	}()
	err = f()
	returned = true
	return err
}

// conclude ends a stream.
func (b *Broker) conclude(st *stream, err error) {
	if !st.concluded { // or a callback of sayWhy has called runtime.Goexit
		st.concluded = true
		_ = st.guarded(func() error { b.sayWhy(st, err); return nil })
	}
	st.sub.Close()
	st.close()
}

// sayWhy writes what is left to be said to a stream that ends with err.
func (b *Broker) sayWhy(st *stream, err error) {
	st.logEnd(err)
	switch {
	case st.panicked != nil:
	case st.w != nil && b.ctx.Err() != nil:
		// Closed: writing would only meet the deadline that freed others.
	case st.w != nil:
		if err == ErrClosed && b.isRefusing() {
			st.farewell()
		}
		_ = st.last() // it is over; a write that failed before fails again
	case errors.As(err, new(*storeError)):
		b.unavailable(&st.guard, st.r, err)
	case hasNotBegun(err):
		b.denyStream(&st.guard, st.r, err)
	case err == ErrClosed, err == ErrSlow:
		b.dismiss(st.guard.ResponseWriter, st.r)
	}
}
