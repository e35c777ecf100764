package sse_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
)

// ending is a context that ends as it is looked at for the second time.
type ending struct {
	context.Context
	looks int
}

func (e *ending) Err() error {
	if e.looks++; e.looks == 1 {
		return nil
	}
	return context.Canceled
}

func TestAnEventThatComesAsTheContextEndsIsNotSent(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // what ends the wait is up to chance
		rec := httptest.NewRecorder()
		w, err := sse.NewWriter(rec, httptest.NewRequest("GET", "/", nil), nil)
		require.NoError(t, err)
		ch := make(chan sse.Event, 1)
		ch <- sse.Event{Data: "late"}
		assert.Error(t, w.SendAll(&ending{Context: ctx}, ch))
		require.Empty(t, rec.Body.String())
	}
}

func TestSendAllEndsWithTheRequestThoughItsContextGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		r := httptest.NewRequest("GET", "/", nil).WithContext(ctx)
		w, err := sse.NewWriter(httptest.NewRecorder(), r, &sse.WriterOptions{Heartbeat: time.Hour})
		require.NoError(t, err)
		gone, start := errors.New("gone"), time.Now()
		time.AfterFunc(time.Second, func() { cancel(gone) })
		assert.Equal(t, gone, w.SendAll(context.Background(), make(chan sse.Event)))
		assert.Equal(t, time.Second, time.Since(start))
	})
}

// timed is a ResponseWriter that fails to write after the deadline.
type timed struct {
	unheard
	deadline time.Time
}

func (w *timed) SetWriteDeadline(t time.Time) error {
	w.deadline = t
	return nil
}

func (w *timed) Write(p []byte) (int, error) {
	if !w.deadline.IsZero() && !time.Now().Before(w.deadline) {
		return 0, context.DeadlineExceeded
	}
	return len(p), nil
}

func TestAfterSendAllAWriteHasADeadlineOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rw := &timed{unheard: unheard{http.Header{}}}
		w, err := sse.NewWriter(rw, httptest.NewRequest("GET", "/", nil), &sse.WriterOptions{WriteTimeout: time.Second})
		require.NoError(t, err)
		assert.Zero(t, rw.deadline)
		ch := make(chan sse.Event, 1)
		ch <- sse.Event{Data: "1"}
		close(ch)
		require.NoError(t, w.SendAll(t.Context(), ch))
		assert.Equal(t, time.Now().Add(time.Second), rw.deadline, "for the end of the response")
		time.Sleep(time.Minute)
		require.NoError(t, w.Send(sse.Event{Data: "2"}))
		assert.Zero(t, rw.deadline)
	})
}
