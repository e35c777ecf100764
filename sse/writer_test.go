package sse_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
)

// A journal is an http.ResponseWriter that writes down what is asked of it.
type journal struct {
	header http.Header
	body   strings.Builder
	err    error // of every Write and Flush

	mu  sync.Mutex // guards log
	log []string
}

func newJournal() *journal { return &journal{header: http.Header{}} }

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.log = append(j.log, fmt.Sprintf(format, args...))
}

// done returns what was asked since the last time.
func (j *journal) done() (log []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	log, j.log = j.log, nil
	return log
}

func (j *journal) Header() http.Header  { return j.header }
func (j *journal) WriteHeader(code int) { j.add("header %d", code) }
func (j *journal) Write(p []byte) (int, error) {
	j.add("write %d", len(p))
	j.body.Write(p)
	return len(p), j.err
}
func (j *journal) FlushError() error { j.add("flush"); return j.err }
func (j *journal) SetReadDeadline(t time.Time) error {
	j.add("read deadline %s", deadline(t))
	return nil
}
func (j *journal) SetWriteDeadline(t time.Time) error {
	j.add("deadline %s", deadline(t))
	return nil
}

func deadline(t time.Time) string {
	if t.IsZero() {
		return "none"
	}
	return time.Until(t).String() // exact, in a bubble
}

// A wrapper is a middleware's ResponseWriter.
type wrapper struct{ http.ResponseWriter }

func (w wrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// bubble runs f on fake time, with a Writer on a journal that has begun.
func bubble(t *testing.T, opts *sse.WriterOptions, f func(t *testing.T, j *journal, w *sse.Writer)) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		w, err := sse.NewWriter(j, httptest.NewRequest("GET", "/", nil), opts)
		require.NoError(t, err)
		j.done()
		f(t, j, w)
	})
}

func TestNewWriterSendsTheHeaderAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		j.header.Set("Content-Length", "5")
		j.header.Set("Content-Type", "text/plain")
		j.header.Set("X-Other", "kept")
		_, err := sse.NewWriter(wrapper{wrapper{j}}, httptest.NewRequest("GET", "/", nil), nil)
		require.NoError(t, err)
		assert.Equal(t, http.Header{
			"Content-Type":      {"text/event-stream"},
			"Cache-Control":     {"no-cache, no-transform"},
			"X-Accel-Buffering": {"no"},
			"X-Other":           {"kept"},
		}, j.header)
		assert.Equal(t, []string{"read deadline none", "header 200", "deadline 10s", "flush", "deadline none"}, j.done())
	})
}

// undying is a ResponseWriter whose deadlines cannot be cleared.
type undying struct {
	*journal
	err error
}

func (u undying) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		return u.err
	}
	return nil
}

func TestADeadlineThatStaysIsAnError(t *testing.T) {
	broken := errors.New("broken")
	for _, timeout := range []time.Duration{0, -1} {
		j := newJournal()
		_, err := sse.NewWriter(undying{j, broken}, httptest.NewRequest("GET", "/", nil), &sse.WriterOptions{WriteTimeout: timeout})
		assert.Equal(t, broken, err)
		if timeout < 0 {
			assert.NotContains(t, j.done(), "header 200", "it is known before the stream begins")
		}
	}
}

func TestNewWriterKeepsTheCallersCachingAndBuffering(t *testing.T) {
	j := newJournal()
	j.header.Set("Cache-Control", "private")
	j.header["X-Accel-Buffering"] = nil // not to be sent
	_, err := sse.NewWriter(j, httptest.NewRequest("GET", "/", nil), nil)
	require.NoError(t, err)
	assert.Equal(t, http.Header{
		"Content-Type":      {"text/event-stream"},
		"Cache-Control":     {"private"},
		"X-Accel-Buffering": nil,
	}, j.header)
}

func TestRetryIsSentFirstAndWithTheHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		opts := &sse.WriterOptions{Retry: 1500 * time.Millisecond, WriteTimeout: time.Second}
		_, err := sse.NewWriter(j, httptest.NewRequest("GET", "/", nil), opts)
		require.NoError(t, err)
		assert.Equal(t, "retry: 1500\n\n", j.body.String())
		assert.Equal(t, []string{"read deadline none", "header 200", "deadline 1s", "write 13", "flush", "deadline none"}, j.done())
	})
}

func TestAWriterThatCannotFlushIsLeftAlone(t *testing.T) {
	j := newJournal()
	j.header.Set("Content-Length", "5")
	w, err := sse.NewWriter(wrapper{struct{ http.ResponseWriter }{j}}, httptest.NewRequest("GET", "/", nil), nil)
	assert.Nil(t, w)
	assert.ErrorIs(t, err, http.ErrNotSupported)
	assert.ErrorContains(t, err, "sse: ")
	assert.Empty(t, j.done())
	assert.Equal(t, http.Header{"Content-Length": {"5"}}, j.header)
}

func TestAWriterWithoutDeadlinesIsNoError(t *testing.T) {
	rec := httptest.NewRecorder()
	w, err := sse.NewWriter(rec, httptest.NewRequest("GET", "/", nil), nil)
	require.NoError(t, err)
	assert.True(t, rec.Flushed)
	require.NoError(t, w.Send(sse.Event{ID: "1", Data: "a"}))
	require.NoError(t, w.Comment("b"))
	ch := make(chan sse.Event, 1)
	ch <- sse.Event{Data: "c"}
	close(ch)
	require.NoError(t, w.SendAll(t.Context(), ch))
	assert.Equal(t, "id: 1\ndata: a\n\n: b\n\ndata: c\n\n", rec.Body.String())
}

func TestEveryWriteHasADeadlineThatIsGoneAfterTheFlush(t *testing.T) {
	bubble(t, nil, func(t *testing.T, j *journal, w *sse.Writer) {
		require.NoError(t, w.Send(sse.Event{Data: "a"}))
		assert.Equal(t, []string{"deadline 10s", "write 9", "flush", "deadline none"}, j.done())

		require.NoError(t, w.Comment(""))
		assert.Equal(t, []string{"deadline 10s", "write 3", "flush", "deadline none"}, j.done())

		require.NoError(t, w.Flush())
		assert.Equal(t, []string{"deadline 10s", "flush", "deadline none"}, j.done())
	})
}

func TestTheDeadlineIsRenewedForEvery64KiB(t *testing.T) {
	bubble(t, &sse.WriterOptions{WriteTimeout: time.Minute}, func(t *testing.T, j *journal, w *sse.Writer) {
		require.NoError(t, w.Send(sse.Event{Data: strings.Repeat("x", 150_000-8)}))
		assert.Equal(t, []string{
			"deadline 1m0s", "write 65536", "deadline 1m0s", "write 65536", "deadline 1m0s", "write 18928",
			"flush", "deadline none",
		}, j.done())

		for range 5 {
			n, err := w.Write(make([]byte, 20_000))
			require.NoError(t, err)
			require.Equal(t, 20_000, n)
		}
		require.NoError(t, w.Flush())
		assert.Equal(t, []string{
			"deadline 1m0s", "write 20000", "write 20000", "write 20000", "deadline 1m0s", "write 20000", "write 20000",
			"flush", "deadline none",
		}, j.done())
	})
}

func TestANegativeWriteTimeoutRemovesTheServersDeadlineAndSetsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		w, err := sse.NewWriter(j, httptest.NewRequest("GET", "/", nil), &sse.WriterOptions{WriteTimeout: -1, Heartbeat: time.Second})
		require.NoError(t, err)
		require.NoError(t, w.Send(sse.Event{Data: strings.Repeat("x", 70_000)}))
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, w.SendAll(ctx, nil), context.DeadlineExceeded)
		assert.Equal(t, []string{
			"read deadline none", "deadline none", "header 200", "flush",
			"write 65536", "write 4472", "flush", "write 3", "flush",
		}, j.done())
	})
}

func TestAFailureEndsTheStreamAndLeavesTheDeadline(t *testing.T) {
	type step struct {
		name string
		call func(w *sse.Writer) error
		log  []string
	}
	for _, s := range []step{
		{"send", func(w *sse.Writer) error { return w.Send(sse.Event{}) }, []string{"deadline 10s", "write 8"}},
		{"flush", (*sse.Writer).Flush, []string{"deadline 10s", "flush"}},
		{"heartbeat", func(w *sse.Writer) error { return w.SendAll(context.Background(), nil) }, []string{"deadline 10s", "write 3"}},
	} {
		t.Run(s.name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, j *journal, w *sse.Writer) {
				j.err = os.ErrDeadlineExceeded
				assert.Equal(t, os.ErrDeadlineExceeded, s.call(w))
				assert.Equal(t, s.log, j.done())
				j.err = nil
				assert.Equal(t, os.ErrDeadlineExceeded, w.Send(sse.Event{ID: "\n"}))
				assert.Equal(t, os.ErrDeadlineExceeded, w.Comment(""))
				assert.Equal(t, os.ErrDeadlineExceeded, w.Flush())
				assert.Equal(t, os.ErrDeadlineExceeded, w.SendAll(t.Context(), nil))
				n, err := w.Write([]byte("data\n\n"))
				assert.Equal(t, os.ErrDeadlineExceeded, err)
				assert.Zero(t, n)
				assert.Empty(t, j.done())
			})
		})
	}
}

func TestWriteSaysHowMuchWasWritten(t *testing.T) {
	bubble(t, nil, func(t *testing.T, j *journal, w *sse.Writer) {
		n, err := w.Write(nil)
		require.NoError(t, err)
		require.Zero(t, n)
		require.Empty(t, j.done())
		j.err = io.ErrClosedPipe
		n, err = w.Write(make([]byte, 100_000))
		assert.Equal(t, io.ErrClosedPipe, err)
		assert.Equal(t, 65536, n)
	})
}

// short is a ResponseWriter that takes a byte at a time, and says so without an
// error.
type short struct{ *journal }

func (s short) Write(p []byte) (int, error) { return s.journal.Write(p[:1]) }

func TestAWriteThatIsShortIsAnError(t *testing.T) {
	j := newJournal()
	w, err := sse.NewWriter(short{j}, httptest.NewRequest("GET", "/", nil), nil)
	require.NoError(t, err)
	n, err := w.Write([]byte("data\n\n"))
	assert.Equal(t, io.ErrShortWrite, err)
	assert.Equal(t, 1, n)
	assert.Equal(t, "d", j.body.String())
}

func TestWhatCannotBeEncodedIsNotSentAndEndsNothing(t *testing.T) {
	bubble(t, nil, func(t *testing.T, j *journal, w *sse.Writer) {
		assert.Equal(t, &sse.FieldError{Field: "event", Value: "a\r"}, w.Send(sse.Event{Type: "a\r"}))
		assert.Empty(t, j.done())
		require.NoError(t, w.Send(sse.Event{Type: "a"}))
		assert.Equal(t, "event: a\ndata: \n\n", j.body.String())
	})
}

func TestEverythingReturnsTheCauseOnceTheRequestsContextHasEnded(t *testing.T) {
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(context.Background())
	j := newJournal()
	w, err := sse.NewWriter(j, httptest.NewRequest("GET", "/", nil).WithContext(ctx), nil)
	require.NoError(t, err)
	cancel(gone)
	j.done()
	assert.Equal(t, gone, w.Send(sse.Event{}))
	assert.Equal(t, gone, w.Comment(""))
	assert.Equal(t, gone, w.Flush())
	_, err = w.Write([]byte("data\n\n"))
	assert.Equal(t, gone, err)
	assert.Empty(t, j.done())

	j = newJournal()
	_, err = sse.NewWriter(j, httptest.NewRequest("GET", "/", nil).WithContext(ctx), nil)
	assert.Equal(t, gone, err)
	assert.Contains(t, j.done(), "header 200", "whoever is still there gets a stream")
	assert.Equal(t, sse.MediaType, j.header.Get("Content-Type"))
}

func TestALargeWriteEndsWithTheRequestsContext(t *testing.T) {
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	rw := &cancelling{journal: newJournal(), cancel: func() { cancel(gone) }}
	w, err := sse.NewWriter(rw, httptest.NewRequest("GET", "/", nil).WithContext(ctx), nil)
	require.NoError(t, err)
	n, err := w.Write(make([]byte, 1<<20))
	assert.Equal(t, gone, err)
	assert.Equal(t, 64<<10, n)
}

// cancelling is a ResponseWriter whose client goes with the first Write.
type cancelling struct {
	*journal
	cancel func()
}

func (c *cancelling) Write(p []byte) (int, error) {
	c.cancel()
	return c.journal.Write(p)
}

func TestAfterCloseThereIsADeadlineAndNothingElse(t *testing.T) {
	bubble(t, &sse.WriterOptions{WriteTimeout: time.Second}, func(t *testing.T, j *journal, w *sse.Writer) {
		require.NoError(t, w.Send(sse.Event{}))
		j.done()
		w.Close()
		assert.Equal(t, []string{"deadline 1s"}, j.done())
		time.Sleep(time.Second)
		w.Close()
		assert.Error(t, w.Send(sse.Event{}))
		assert.Error(t, w.Comment(""))
		assert.Error(t, w.Flush())
		assert.Error(t, w.SendAll(t.Context(), nil))
		assert.Empty(t, j.done())
	})
	bubble(t, nil, func(t *testing.T, j *journal, w *sse.Writer) {
		j.err = io.ErrClosedPipe
		require.Equal(t, io.ErrClosedPipe, w.Flush())
		j.done()
		w.Close()
		assert.Empty(t, j.done(), "what failed keeps its deadline")
		assert.Equal(t, io.ErrClosedPipe, w.Flush())
	})
}

func TestTheLastEventIDIsTheHeaderOrElseTheQueryParameter(t *testing.T) {
	for _, c := range []struct {
		target string
		header []string
		want   string
	}{
		{"/", nil, ""},
		{"/", []string{"7"}, "7"},
		{"/?lastEventId=8", nil, "8"},
		{"/?lastEventId=8", []string{""}, "8"},
		{"/?lastEventId=8", []string{"7"}, "7"},
		{"/?a=b&lastEventId=a%20%E2%82%AC+b&lastEventId=9", nil, "a € b"},
		{"/?LastEventID=8&lasteventid=8", nil, ""},
		{"/?", nil, ""},
	} {
		r := httptest.NewRequest("GET", c.target, nil)
		if c.header != nil {
			r.Header["Last-Event-Id"] = c.header
		}
		assert.Equal(t, c.want, sse.LastEventID(r), "%v", c)
		w, err := sse.NewWriter(httptest.NewRecorder(), r, nil)
		require.NoError(t, err)
		assert.Equal(t, c.want, w.LastEventID())
	}
}
