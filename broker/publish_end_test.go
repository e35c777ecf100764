package broker_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// Whether there is room for the event is as ready as the end is: often enough
// the wrong one would be picked.
const often = 100

func TestNothingIsPublishedUnderAContextThatHasEnded(t *testing.T) {
	b := newBroker(t, &broker.Options{Store: broker.Discard}) // which would take it
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	for range often {
		_, err := b.Publish(ctx, sse.Event{Data: "1"})
		require.Equal(t, cause, err)
	}
	assert.Zero(t, b.Stats().Published)
	publish(t, b, 1, 1)
}

func TestNothingIsPublishedAfterTheEnd(t *testing.T) {
	b := broker.New(&broker.Options{Store: broker.Discard})
	require.NoError(t, b.Shutdown(t.Context()))
	for range often {
		_, err := b.Publish(t.Context(), sse.Event{Data: "1"})
		require.Equal(t, broker.ErrClosed, err)
	}
	assert.Zero(t, b.Stats().Published)
	require.NoError(t, b.Shutdown(t.Context()))
	require.NoError(t, b.Close())
}

func TestPublishLeavesNothingBehind(t *testing.T) {
	b := newBroker(t, &broker.Options{Store: broker.Discard})
	publish(t, b, 1, 1_000)
	before := heap()
	publish(t, b, 1, 20_000)
	assert.Less(t, heap()-before, 1<<20)
	runtime.KeepAlive(b)
}

func TestSlicesOfTopicsAreTheCallersOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		one, two := []string{"a"}, []string{"c", "b", "c"}
		first, second := subscribe(t, b, one...), subscribe(t, b, two...)
		assert.Equal(t, []string{"c", "b", "c"}, two)
		one[0], two[0], two[1] = "x", "x", "x"
		assert.Equal(t, []int{1, 1, 1, 0}, []int{b.Count("a"), b.Count("b"), b.Count("c"), b.Count("x")})
		for i, topic := range []string{"a", "x", "b", "c"} {
			topics := []string{topic}
			publish(t, b, i, i, topics...)
			topics[0] = "a"
		}
		topics := []string{"c", "b"}
		publish(t, b, 4, 4, topics...)
		assert.Equal(t, []string{"c", "b"}, topics)
		topics[0], topics[1] = "a", "a"
		got, err := pending(t, first)
		require.NoError(t, err)
		assert.Equal(t, []string{"0"}, got)
		got, err = pending(t, second)
		require.NoError(t, err)
		assert.Equal(t, numbers(2, 4), got)

		twice := subscribe(t, b, "g", "g")
		assert.Equal(t, 1, b.Count("g"))
		publish(t, b, 5, 5, "g", "g")
		assert.Equal(t, numbers(5, 5), take(t, twice, 1))
		twice.Close()

		third := subscribe(t, b)
		added, removed := []string{"d", "e"}, []string{"e", ""}
		require.NoError(t, third.Add(added...))
		require.NoError(t, third.Add("d", "f", "f"))
		third.Remove(removed...)
		added[0], added[1] = "x", "x"
		assert.Equal(t, []string{"e", ""}, removed)
		assert.Equal(t, []int{1, 0, 1, 0}, []int{b.Count("d"), b.Count("e"), b.Count("f"), b.Count("x")})
		var topicsOf [][]string
		for _, s := range subscribers(b) {
			topicsOf = append(topicsOf, s.Topics)
		}
		assert.Equal(t, [][]string{{"a"}, {"b", "c"}, {"d", "f"}}, topicsOf)
	})
}

func TestAnIDMayBeAsLongAsAHeaderTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		id := strings.Repeat("x", 4096)
		got, err := b.Publish(t.Context(), sse.Event{ID: id, Data: "1"})
		require.NoError(t, err)
		assert.Equal(t, id, got)
		publish(t, b, 2, 2)
		assert.Equal(t, []string{"2"}, take(t, resume(t, b, id), 1))
		_, err = b.Publish(t.Context(), sse.Event{ID: id + "x", Data: "3"})
		var field *sse.FieldError
		assert.ErrorAs(t, err, &field)
	})
}

func TestLimitsThatAreNegativeAreNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{
			Store:          namedStore(nil),
			Topics:         broker.AnyQueryTopic("t"),
			MaxSubscribers: -1, MaxPerCaller: -1, MaxTopics: -1, MaxAge: -1, Heartbeat: -1, WriteTimeout: -1, FlushInterval: -1,
			QueueSize: -1, QueueBytes: -1, Slow: broker.DropNewest, // as if they were 0
		})
		sub := subscribe(t, b)
		publish(t, b, 1, 65)
		assert.Equal(t, 64, subscribers(b)[0].Queued)
		pending(t, sub)
		for range 4 {
			_, err := b.Publish(t.Context(), sse.Event{Data: strings.Repeat("x", 1<<19-20)})
			require.NoError(t, err)
		}
		assert.Equal(t, 3, subscribers(b)[0].Queued, "1 MiB, and the first")
		target := "/?t=" + strings.Join(numbers(1, 200), "&t=")
		for range 3 {
			s := ssetest.Record(t, b, ssetest.NewRequest(target, ""))
			synctest.Wait()
			body := s.Body()
			assert.Regexp(t, "^id: .*\n\n$", body)
			time.Sleep(24 * time.Hour)
			assert.Equal(t, body, s.Body(), "no heartbeat and no end")
		}
	})
}

// A slowStart is a Store whose Last waits for the end of its context.
type slowStart struct{ broker.Store }

func (slowStart) Last(ctx context.Context) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

func TestAPublishThatAsksForTheNewestIDEndsWithTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Store: slowStart{broker.NewMemoryStore(nil)}})
		published := make(chan error)
		go func() {
			_, err := b.Publish(t.Context(), sse.Event{})
			published <- err
		}()
		synctest.Wait()
		require.NoError(t, b.Close())
		assert.Equal(t, broker.ErrClosed, <-published)
	})
}
