package broker_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

func TestMain(m *testing.M) { ssetest.Main(m) }

// newBroker returns a Broker that is closed when the test ends.
func newBroker(t testing.TB, opts *broker.Options) *broker.Broker {
	b := broker.New(opts)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// publish publishes events with the numbers from first to last as data, and
// returns their IDs.
func publish(t testing.TB, b *broker.Broker, first, last int, topics ...string) (ids []string) {
	t.Helper()
	for i := first; i <= last; i++ {
		id, err := b.Publish(t.Context(), sse.Event{Data: strconv.Itoa(i)}, topics...)
		require.NoError(t, err)
		ids = append(ids, id)
	}
	return ids
}

// subscribe subscribes; the subscription ends with the test.
func subscribe(t testing.TB, b *broker.Broker, topics ...string) *broker.Subscription {
	t.Helper()
	sub, err := b.Subscribe(topics...)
	require.NoError(t, err)
	t.Cleanup(sub.Close)
	return sub
}

// resume resumes; the subscription ends with the test.
func resume(t testing.TB, b *broker.Broker, id string, topics ...string) *broker.Subscription {
	t.Helper()
	sub, err := b.Resume(id, topics...)
	require.NoError(t, err)
	t.Cleanup(sub.Close)
	return sub
}

// take returns what n events of sub say, each in the form of show. To be called
// in a bubble: an event that does not come is a deadlock there.
func take(t testing.TB, sub *broker.Subscription, n int) (got []string) {
	t.Helper()
	if n == 0 {
		return nil
	}
	for ev, err := range sub.Events(t.Context()) {
		require.NoError(t, err)
		if got = append(got, show(ev)); len(got) == n {
			break
		}
	}
	return got
}

// show is the type of an event, if it has one, and its data.
func show(ev sse.Event) string {
	if ev.Type != "" {
		return ev.Type + ":" + ev.Data
	}
	return ev.Data
}

// pending returns what is there for sub now, and the error if it has ended. To
// be called in a bubble.
func pending(t testing.TB, sub *broker.Subscription) (got []string, end error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ev, err := range sub.Events(ctx) {
			if err == nil {
				got = append(got, show(ev))
			} else if ctx.Err() == nil {
				end = err
			}
		}
	}()
	synctest.Wait()
	cancel()
	<-done
	return got, end
}

// numbers returns the numbers from first to last as strings.
func numbers(first, last int) (s []string) {
	for i := first; i <= last; i++ {
		s = append(s, strconv.Itoa(i))
	}
	return s
}

// block is the encoding of an event.
func block(id, data string) string {
	if id == "" {
		return fmt.Sprintf("data: %s\n\n", data)
	}
	return fmt.Sprintf("id: %s\ndata: %s\n\n", id, data)
}
