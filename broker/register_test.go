package broker_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// acting is a Handler that does something for each record.
type acting struct {
	slog.Handler
	do func()
}

func (a acting) Enabled(context.Context, slog.Level) bool { return true }

func (a acting) Handle(context.Context, slog.Record) error {
	a.do()
	return nil
}

func TestASubscriptionThatIsClosedAsItFallsBehindIsNotRegisteredAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sub *broker.Subscription
		b := newBroker(t, &broker.Options{QueueSize: 1, Logger: slog.New(acting{slog.DiscardHandler, func() { sub.Close() }})})
		sub = subscribe(t, b)
		publish(t, b, 1, 3)
		synctest.Wait()
		got, err := pending(t, sub)
		assert.Equal(t, broker.ErrClosed, err)
		assert.Equal(t, []string{"1"}, got)
		assert.Zero(t, b.Count(""))
	})
}

func TestWhoStaysGetsAllHoweverOthersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 2 * runtime.GOMAXPROCS(0) // of every shard two
		for stays := range n {
			b := newBroker(t, nil)
			var subs []*broker.Subscription
			for i := range n {
				subs = append(subs, subscribe(t, b, [][]string{{"", "other"}, {"other", ""}, {""}}[i%3]...))
			}
			for i, sub := range subs {
				if i != stays {
					sub.Close()
					publish(t, b, i, i)
					assert.Equal(t, numbers(i, i), take(t, subs[stays], 1))
				}
			}
			assert.Equal(t, 1, b.Count(""))
		}
	})
}

func TestMoreSubscriptionsThanAnInboxHoldsEndWithTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broker.New(nil)
		var subs []*broker.Subscription
		for range 300 * runtime.GOMAXPROCS(0) {
			subs = append(subs, subscribe(t, b))
		}
		require.NoError(t, b.Shutdown(t.Context()))
		for _, sub := range subs {
			sub.Close()
		}
		require.NoError(t, b.Close())
	})
}

func TestASubscriptionWithoutTopicsMayEndBeforeTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broker.New(nil)
		sub := subscribe(t, b)
		sub.Remove("")
		synctest.Wait()
		sub.Close()
		synctest.Wait()
		require.NoError(t, b.Close())
	})
}

func TestWhoFallsBehindKeepsNoEventFromTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueSize: 2, FlushInterval: time.Hour})
		// In the order of their registration, which every shard has its part of.
		var slow, fast []*broker.Subscription
		for range runtime.GOMAXPROCS(0) {
			slow = append(slow, subscribe(t, b))
		}
		got := make([][]string, runtime.GOMAXPROCS(0))
		for i := range got {
			sub := subscribe(t, b)
			fast = append(fast, sub)
			go func() {
				for ev := range sub.Events(t.Context()) {
					if ev.Data != "" {
						got[i] = append(got[i], ev.Data)
					}
				}
			}()
		}
		for i := 1; i <= 9; i++ {
			publish(t, b, i, i)
			synctest.Wait()
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		for i := range fast {
			assert.Equal(t, numbers(1, 9), got[i])
		}
		for _, sub := range slow {
			all, err := pending(t, sub)
			require.NoError(t, err)
			assert.Equal(t, numbers(1, 9), all)
		}
	})
}

func TestAStreamOfEventsWithoutIDsHasHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Store: broker.Discard})
		s := connect(t, b, "")
		s.news()
		time.Sleep(15 * time.Second)
		assert.Equal(t, ":\n\n", s.news())
		publish(t, b, 1, 1)
		assert.Equal(t, block("", "1"), s.news())
		time.Sleep(15 * time.Second)
		assert.Equal(t, ":\n\n", s.news())
	})
}

func TestAHeartbeatDoesNotWaitForWhatIsGatheredForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{FlushInterval: time.Hour, NoPriming: true})
		for range runtime.GOMAXPROCS(0) {
			subscribe(t, b, "other") // of each shard
		}
		s := connect(t, b, "")
		s.news()
		time.Sleep(14 * time.Second)
		publish(t, b, 1, 1, "other")
		time.Sleep(time.Second)
		assert.Equal(t, ":\n\n", s.news())
	})
}

// slowly is a gate whose Last takes a second at first.
type slowly struct{ *gate }

func (s slowly) Last(ctx context.Context) (string, error) {
	time.Sleep(time.Second)
	return s.Store.Last(ctx)
}

func TestASubscriberWaitsForTheNewestIDOnlyAndNotForAnAppend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := slowly{newGate(namedStore(nil))}
		store.shut()
		b := newBroker(t, &broker.Options{Store: store})
		go b.Publish(t.Context(), sse.Event{Data: "1"})
		synctest.Wait()
		s := connect(t, b, "")
		assert.Equal(t, "", s.news())
		time.Sleep(time.Second)
		assert.Regexp(t, `^id: .*\n\n$`, s.news())
		store.open()
		assert.Equal(t, block("1", "1"), s.news())
	})
}

func TestALoopEndsWithItsContextThoughTheNewestIDIsNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Store: hanging{broker.NewMemoryStore(nil)}})
		first := subscribe(t, b)
		go func() {
			for range first.Events(t.Context()) { // waits for the Store, and the next for this one
			}
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, err := range subscribe(t, b).Events(ctx) {
			assert.Equal(t, context.DeadlineExceeded, err)
		}
	})
}

func TestPublishTellsWhyTheNewestIDIsNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := errors.New("away")
		store := &failing{Store: broker.NewMemoryStore(nil)}
		store.set(away)
		b := newBroker(t, &broker.Options{Store: store})
		_, err := b.Publish(t.Context(), sse.Event{Data: "1"})
		assert.ErrorIs(t, err, away)
		assert.Equal(t, broker.Stats{}, b.Stats())
		store.set(nil)
		publish(t, b, 1, 1)
	})
}

// odd is a Store that gives an ID which would corrupt the stream.
type odd struct{ broker.Store }

func (odd) Append(context.Context, sse.Event, []string) (string, error) { return "1\n", nil }

func TestAnIDOfTheStoreThatWouldCorruptTheStreamIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Store: odd{broker.NewMemoryStore(nil)}})
		sub := subscribe(t, b)
		_, err := b.Publish(t.Context(), sse.Event{Data: "1"})
		var field *sse.FieldError
		require.ErrorAs(t, err, &field)
		assert.Equal(t, "1\n", field.Value)
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Empty(t, got)
	})
}

func TestShutdownSendsPublishersAwayWhoWaitForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGate(broker.NewMemoryStore(nil))
		b := newBroker(t, &broker.Options{Store: store})
		store.shut()
		first, second := make(chan error, 1), make(chan error, 1)
		say := func(err chan error) {
			_, e := b.Publish(context.Background(), sse.Event{Data: "1"})
			err <- e
		}
		go say(first)
		synctest.Wait()
		go say(second)
		synctest.Wait()
		down := make(chan error, 1)
		go func() { down <- b.Shutdown(context.Background()) }()
		assert.Equal(t, broker.ErrClosed, <-second)
		assert.Empty(t, first)
		store.open()
		assert.NoError(t, <-first)
		assert.NoError(t, <-down)
	})
}
