package ssetest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// ticker sends the numbers after Last-Event-ID, one a minute, until the client
// goes.
func ticker(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", sse.MediaType)
	n := 0
	fmt.Sscan(r.Header.Get("Last-Event-ID"), &n)
	for {
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-time.After(time.Minute):
		case <-r.Context().Done():
			return
		}
		n++
		fmt.Fprintf(w, "id: %d\ndata: tick\n\n", n)
	}
}

func TestARecorderYieldsEventsAsTheyAreFlushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := ssetest.Record(t, http.HandlerFunc(ticker), ssetest.NewRequest("/?a=b", "41"))
		assert.Equal(t, 200, rec.Code())
		assert.Equal(t, http.Header{"Content-Type": {sse.MediaType}}, rec.Header())
		start := time.Now()
		ev, err := rec.Next()
		require.NoError(t, err)
		assert.Equal(t, sse.Event{ID: "42", Data: "tick"}, ev)
		assert.Equal(t, time.Minute, time.Since(start))

		time.Sleep(90 * time.Second)
		assert.Equal(t, "id: 42\ndata: tick\n\nid: 43\ndata: tick\n\n", rec.Body())
		rec.Close()
		rec.Close()
		var rest []sse.Event
		for ev, err := range rec.Events() {
			require.NoError(t, err)
			rest = append(rest, ev)
		}
		assert.Equal(t, []sse.Event{{ID: "43", Data: "tick"}}, rest)
		assert.Equal(t, "43", rec.LastEventID())
		assert.NoError(t, rec.Wait())
	})
}

func TestWhatIsNotFlushedIsNotSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := ssetest.Record(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Sent", "yes")
			w.WriteHeader(http.StatusAccepted)
			w.Header().Set("X-Late", "no")
			big := bytes.Repeat([]byte("x"), 1<<20)
			fmt.Fprintf(w, "data: %s\n\n", big)
			time.Sleep(time.Minute)
			w.(http.Flusher).Flush()
			io.WriteString(w, "data: sent by the return\n\n")
			time.Sleep(time.Minute)
		}), nil)
		start := time.Now()
		assert.Equal(t, http.StatusAccepted, rec.Code())
		assert.Equal(t, time.Minute, time.Since(start))
		assert.Equal(t, "yes", rec.Header().Get("X-Sent"))
		assert.Empty(t, rec.Header().Values("X-Late"))
		_, err := rec.Next()
		require.NoError(t, err)
		assert.Equal(t, time.Minute, time.Since(start))
		ev, err := rec.Next()
		require.NoError(t, err)
		assert.Equal(t, sse.Event{Data: "sent by the return"}, ev)
		assert.Equal(t, 2*time.Minute, time.Since(start))
		_, err = rec.Next()
		assert.Equal(t, io.EOF, err)
	})
}

func TestAFlushReportsThatTheClientIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		checked := false
		rec := ssetest.Record(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := http.NewResponseController(w)
			require.NoError(t, c.Flush())
			<-r.Context().Done()
			_, err := io.WriteString(w, "data: x\n\n")
			assert.NoError(t, err, "a Write only fills the buffer")
			assert.Error(t, c.Flush())
			_, err = io.WriteString(w, "data: x\n\n")
			assert.Error(t, err)
			checked = true
		}), nil)
		rec.Code()
		rec.Close()
		assert.True(t, checked, "Close waits for the handler")
		assert.Empty(t, rec.Body())
		assert.NoError(t, rec.Wait())
	})
}

func TestWriteDeadlinesAreReportedByTheFlushAndBreakTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := ssetest.Record(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := http.NewResponseController(w)
			assert.NoError(t, c.EnableFullDuplex())
			assert.NoError(t, c.SetReadDeadline(time.Now()))
			assert.NoError(t, c.SetWriteDeadline(time.Now().Add(time.Second)))
			io.WriteString(w, "data: 1\n\n")
			assert.NoError(t, c.Flush())
			assert.NoError(t, c.SetWriteDeadline(time.Time{}))
			time.Sleep(time.Minute)
			assert.NoError(t, c.Flush())
			assert.NoError(t, c.SetWriteDeadline(time.Now().Add(time.Second)))
			time.Sleep(time.Second)
			_, err := io.WriteString(w, "data: 2\n\n")
			assert.NoError(t, err)
			_, err = w.Write(make([]byte, 5000))
			assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "a big one does not fit in the buffer")
			assert.ErrorIs(t, c.Flush(), os.ErrDeadlineExceeded)
		}), nil)
		_, err := rec.Next()
		require.NoError(t, err)
		_, err = rec.Next()
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, err, rec.Wait())
	})
}

func TestTheRequestsOwnContextEndsTheHandlerToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		rec := ssetest.Record(t, http.HandlerFunc(ticker), ssetest.NewRequest("/", "").WithContext(ctx))
		n := 0
		for range rec.Events() {
			n++
		}
		assert.InDelta(t, 60, n, 1)
	})
}

func TestTheHandlerSeesTheRequestOfAServer(t *testing.T) {
	req, err := http.NewRequest(http.MethodHead, "https://example.com/a?b=c", nil)
	require.NoError(t, err)
	rec := ssetest.Record(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, []string{"HEAD", "/a?b=c", "example.com", "192.0.2.1:1234"},
			[]string{r.Method, r.RequestURI, r.Host, r.RemoteAddr})
		n, err := r.Body.Read(make([]byte, 1))
		assert.Equal(t, 0, n)
		assert.Equal(t, io.EOF, err)
		w.WriteHeader(http.StatusEarlyHints)
		io.WriteString(w, "no body of HEAD")
	}), req)
	require.NoError(t, rec.Wait())
	assert.Equal(t, 200, rec.Code())
	assert.Equal(t, "text/plain; charset=utf-8", rec.Header().Get("Content-Type"))
	assert.Empty(t, rec.Body())
	assert.Equal(t, http.Header{"Accept": {sse.MediaType}}, ssetest.NewRequest("/", "").Header)
}

func TestARecorderTellsAbortsAndPanics(t *testing.T) {
	abort := ssetest.Record(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "data: whole\n\n")
		w.(http.Flusher).Flush()
		io.WriteString(w, "data: lost\n\n")
		panic(http.ErrAbortHandler)
	}), nil)
	_, err := abort.Next()
	require.NoError(t, err)
	_, err = abort.Next()
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)

	panics := ssetest.Record(nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		panic(errors.New("oops"))
	}), nil)
	_, err = panics.Next()
	assert.ErrorContains(t, err, "the handler panicked: oops")
	assert.ErrorContains(t, err, "TestARecorderTellsAbortsAndPanics", "the stack")
}

func TestUsingTheResponseWriterAfterTheReturnPanics(t *testing.T) {
	var late http.ResponseWriter
	rec := ssetest.Record(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		late = w
		_, err := w.Write(nil)
		assert.NoError(t, err)
		w.WriteHeader(http.StatusTeapot) // superfluous, as with net/http
		assert.Panics(t, func() { w.WriteHeader(0) })
	}), nil)
	require.NoError(t, rec.Wait())
	assert.Equal(t, 200, rec.Code())
	for _, use := range []func(){
		func() { late.Write(nil) },
		func() { late.WriteHeader(200) },
		func() { late.(http.Flusher).Flush() },
		func() { http.NewResponseController(late).SetWriteDeadline(time.Now()) },
		func() { http.NewResponseController(late).SetReadDeadline(time.Now()) },
	} {
		assert.Panics(t, use)
	}
}

func TestAResponseWithoutBodyRefusesOne(t *testing.T) {
	rec := ssetest.Record(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNoContent)
		_, err := io.WriteString(w, "x")
		assert.Equal(t, http.ErrBodyNotAllowed, err)
	}), nil)
	require.NoError(t, rec.Wait())
	assert.Equal(t, http.StatusNoContent, rec.Code())
}
