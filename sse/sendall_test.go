package sse_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
)

// queued returns a closed channel that holds events with the data.
func queued(data ...string) chan sse.Event {
	ch := make(chan sse.Event, len(data))
	for _, s := range data {
		ch <- sse.Event{Data: s}
	}
	close(ch)
	return ch
}

func TestSendAllFlushesWhatIsWaitingOnceAndEndsWithTheChannel(t *testing.T) {
	bubble(t, nil, func(t *testing.T, j *journal, w *sse.Writer) {
		require.NoError(t, w.SendAll(t.Context(), queued("a", "b", "c")))
		assert.Equal(t, "data: a\n\ndata: b\n\ndata: c\n\n", j.body.String())
		assert.Equal(t, []string{"deadline 10s", "write 27", "flush", "deadline none", "deadline 10s"}, j.done())
	})
}

func TestSendAllFlushesNowAndThenIfThereIsAlwaysMore(t *testing.T) {
	bubble(t, nil, func(t *testing.T, j *journal, w *sse.Writer) {
		big := strings.Repeat("x", 20_000-8)
		require.NoError(t, w.SendAll(t.Context(), queued(big, big, big)))
		assert.Equal(t, []string{
			"deadline 10s", "write 40000", "flush", "deadline none",
			"deadline 10s", "write 20000", "flush", "deadline none",
			"deadline 10s",
		}, j.done())
	})
}

func TestSendAllSendsWhatComesAtOnceAndAHeartbeatWhenNothingDoes(t *testing.T) {
	bubble(t, nil, func(t *testing.T, j *journal, w *sse.Writer) {
		start := time.Now()
		var log []string
		note := func() {
			synctest.Wait()
			for _, line := range j.done() {
				if strings.HasPrefix(line, "write") {
					log = append(log, fmt.Sprint(time.Since(start), " ", line))
				}
			}
		}
		ch := make(chan sse.Event)
		done := make(chan error)
		go func() { done <- w.SendAll(context.Background(), ch) }()
		for second := range 61 {
			switch second {
			case 10, 20, 34:
				ch <- sse.Event{Data: "a"}
			}
			note()
			time.Sleep(time.Second)
		}
		close(ch)
		require.NoError(t, <-done)
		assert.Equal(t, []string{"10s write 9", "20s write 9", "34s write 9", "49s write 3"}, log)
		assert.Equal(t, strings.Repeat("data: a\n\n", 3)+":\n\n", j.body.String())
	})
}

func TestANegativeHeartbeatIsNone(t *testing.T) {
	bubble(t, &sse.WriterOptions{Heartbeat: -1}, func(t *testing.T, j *journal, w *sse.Writer) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		assert.Equal(t, context.DeadlineExceeded, w.SendAll(ctx, nil))
		assert.Empty(t, j.body.String())
	})
}

func TestSendAllReturnsTheCauseOfTheContextThatEnded(t *testing.T) {
	gone, stopped := errors.New("gone"), errors.New("stopped")
	for _, want := range []error{gone, stopped} {
		synctest.Test(t, func(t *testing.T) {
			reqCtx, cancelReq := context.WithCancelCause(context.Background())
			ctx, cancel := context.WithCancelCause(context.Background())
			defer cancelReq(nil)
			defer cancel(nil)
			j := newJournal()
			w, err := sse.NewWriter(j, httptest.NewRequest("GET", "/", nil).WithContext(reqCtx), nil)
			require.NoError(t, err)
			j.done()
			time.AfterFunc(time.Second, func() {
				if want == gone {
					cancelReq(gone)
				} else {
					cancel(stopped)
				}
			})
			assert.Equal(t, want, w.SendAll(ctx, nil))
			assert.Equal(t, []string{"deadline 10s"}, j.done(), "for the end of the response")
		})
	}
}

func TestAContextThatHasEndedWinsOverAChannelThatIsReady(t *testing.T) {
	bubble(t, nil, func(t *testing.T, j *journal, w *sse.Writer) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		for range 50 { // a select would choose at random
			ch := queued("a")
			require.Equal(t, context.Canceled, w.SendAll(ctx, ch))
			require.Len(t, ch, 1)
		}
		assert.Empty(t, j.body.String())
	})
}

func TestSendAllSendsWhatIsBeforeAnEventThatCannotBeEncoded(t *testing.T) {
	bubble(t, nil, func(t *testing.T, j *journal, w *sse.Writer) {
		ch := make(chan sse.Event, 3)
		ch <- sse.Event{Data: "a"}
		ch <- sse.Event{ID: "\n"}
		ch <- sse.Event{Data: "b"}
		close(ch)
		assert.Equal(t, &sse.FieldError{Field: "id", Value: "\n"}, w.SendAll(t.Context(), ch))
		assert.Equal(t, "data: a\n\n", j.body.String())
		assert.Equal(t, []string{"deadline 10s", "write 9", "flush", "deadline none", "deadline 10s"}, j.done())

		require.NoError(t, w.SendAll(t.Context(), ch), "the stream can go on")
		assert.Equal(t, "data: a\n\ndata: b\n\n", j.body.String())
	})
}

func TestWhatIsSentAfterSendAllHasADeadlineOfItsOwn(t *testing.T) {
	bubble(t, nil, func(t *testing.T, j *journal, w *sse.Writer) {
		require.NoError(t, w.SendAll(t.Context(), queued()))
		time.Sleep(9 * time.Second)
		require.NoError(t, w.Send(sse.Event{Data: "bye"}))
		assert.Equal(t, []string{"deadline 10s", "deadline 10s", "write 11", "flush", "deadline none"}, j.done())
	})
}
