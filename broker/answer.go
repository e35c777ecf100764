package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/fanfare-go/fanfare/sse"
)

// Answers to requests that get no stream, or not yet.

// admit serves st, or says why it could not subscribe.
func (b *Broker) admit(st *stream, w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case err == errCrowd:
		b.later(w, r, http.StatusTooManyRequests, err)
	case err == ErrFull:
		b.unavailable(w, r, err)
	case err != nil:
		b.dismiss(w, r)
	default:
		b.stream(st)
	}
}

// deny refuses a request. The reason is for the log, never for the client.
func (b *Broker) deny(w http.ResponseWriter, r *http.Request, code int, err error) {
	if err != nil {
		b.opts.Logger.LogAttrs(r.Context(), slog.LevelWarn, "broker: request refused",
			slog.String("remote", r.RemoteAddr), slog.Int("status", code), slog.Any("error", err))
	}
	http.Error(w, http.StatusText(code), code)
}

// unavailable asks a client to come back later, not all at once.
func (b *Broker) unavailable(w http.ResponseWriter, r *http.Request, err error) {
	b.later(w, r, http.StatusServiceUnavailable, err)
}

func (b *Broker) later(w http.ResponseWriter, r *http.Request, code int, err error) {
	w.Header().Set("Retry-After", strconv.Itoa(1+rand.IntN(5)))
	b.deny(w, r, code, err)
}

// dismiss answers a request to a Broker that has ended, or that ended it before
// its stream began.
func (b *Broker) dismiss(w http.ResponseWriter, r *http.Request) {
	opts := b.writerOptions()
	opts.Retry = b.spreadRetry()
	// It has the answer also if what has ended is the context that the server gave it.
	stream, err := sse.NewWriter(w, r.WithContext(context.WithoutCancel(r.Context())), opts)
	switch {
	case err == nil:
		stream.Close()
	case hasNotBegun(err):
		b.denyStream(w, r, err)
	}
}

// hasNotBegun reports whether err is why [sse.NewWriter] has written nothing.
func hasNotBegun(err error) bool {
	return errors.Is(err, http.ErrNotSupported) || errors.Is(err, sse.ErrBody)
}

// denyStream refuses a request for such a reason.
func (b *Broker) denyStream(w http.ResponseWriter, r *http.Request, err error) {
	code := http.StatusInternalServerError
	if errors.Is(err, sse.ErrBody) {
		code = http.StatusBadRequest
	}
	b.deny(w, r, code, err)
}

// spreadRetry is a reconnection time for a client that is sent away: Retry, or
// a second, and up to a millisecond more for each subscriber there was. All
// that are sent away together would otherwise come back together.
func (b *Broker) spreadRetry() time.Duration {
	b.order.Lock()
	spread := min(max(time.Duration(b.crowd)*time.Millisecond, 100*time.Millisecond), 30*time.Second)
	b.order.Unlock()
	return max(b.opts.Retry, time.Second) + rand.N(spread)
}

func (b *Broker) writerOptions() *sse.WriterOptions {
	return &sse.WriterOptions{Retry: b.opts.Retry, WriteTimeout: b.opts.WriteTimeout}
}

// StatusError is an error of [Options.Topics] with the HTTP status that the
// client gets.
type StatusError struct {
	Code int   // 400 to 599; others stand for 500
	Err  error // why, for the log; never sent. May be nil
}

// Error returns the status and the reason.
func (e *StatusError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("broker: %d %s", e.Code, http.StatusText(e.Code))
	}
	return fmt.Sprintf("broker: %d %s: %v", e.Code, http.StatusText(e.Code), e.Err)
}

// Unwrap returns Err.
func (e *StatusError) Unwrap() error { return e.Err }

// statusOf is the status for an error of Options.Topics.
func statusOf(err error) int {
	status, ok := errors.AsType[*StatusError](err)
	switch {
	case !ok:
		return http.StatusForbidden
	case status.Code < 400 || status.Code > 599:
		return http.StatusInternalServerError
	default:
		return status.Code
	}
}
