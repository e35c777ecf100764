package broker_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/storetest"
	"github.com/fanfare-go/fanfare/sse"
)

// wrapping is a Follower that says more about every error.
type wrapping struct{ broker.Follower }

func (w wrapping) Append(ctx context.Context, ev sse.Event, topics []string) (string, error) {
	id, err := w.Follower.Append(ctx, ev, topics)
	return id, wrap(err)
}

func (w wrapping) Range(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
	return wrapLast(w.Follower.Range(ctx, q))
}

func (w wrapping) Follow(ctx context.Context, after string) iter.Seq2[broker.Message, error] {
	return wrapLast(w.Follower.Follow(ctx, after))
}

func wrapLast[T any](seq iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for v, err := range seq {
			if !yield(v, wrap(err)) {
				return
			}
		}
	}
}

func wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("engine: %w", err)
}

func TestErrorsOfTheStoreMayBeWrapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		view := log.View()
		b := newBroker(t, &broker.Options{Store: wrapping{view}})
		sub := subscribe(t, b)
		publish(t, b, 1, 2)
		assert.Equal(t, numbers(1, 2), take(t, sub, 2))
		id, err := b.Publish(t.Context(), sse.Event{ID: "mine", Data: "3"})
		require.NoError(t, err)
		again, err := b.Publish(t.Context(), sse.Event{ID: "mine", Data: "3"})
		assert.Equal(t, broker.ErrDuplicate, err)
		assert.Equal(t, id, again)
		assert.Equal(t, numbers(3, 3), take(t, sub, 1))
		assert.Equal(t, append([]string{"gap:"}, numbers(1, 3)...), take(t, resume(t, b, "unknown"), 4))

		view.SetErr(errors.New("away"))
		synctest.Wait()
		for _, data := range numbers(4, 9) { // by another process
			_, err := log.Append(t.Context(), sse.Event{Data: data}, []string{""})
			require.NoError(t, err)
		}
		log.Trim(8)
		view.SetErr(nil)
		assert.Equal(t, []string{"gap:", "9"}, take(t, sub, 2))
	})
}

// unready is a Follower whose Last fails at first.
type unready struct {
	broker.Follower
	failures atomic.Int64
}

func (u *unready) Last(ctx context.Context) (string, error) {
	if u.failures.Add(-1) >= 0 {
		return "", errors.New("not ready")
	}
	return u.Follower.Last(ctx)
}

func TestABrokerOnAFollowerThatIsNotReadyDeliversOnlyWhatComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		publish(t, newBroker(t, &broker.Options{Store: log}), 1, 3)
		store := &unready{Follower: log.View()}
		store.failures.Store(2)
		b := newBroker(t, &broker.Options{Store: store})
		sub := subscribe(t, b)
		time.Sleep(time.Second)
		publish(t, b, 4, 4)
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"4"}, got)
	})
}

// away has view fail for a while, in which others append the events from first
// to last to log and all but the newest of them are evicted.
func away(t *testing.T, log *storetest.Log, view *storetest.View, first, last int) {
	t.Helper()
	synctest.Wait() // until it follows
	view.SetErr(errors.New("away"))
	synctest.Wait()
	for _, data := range numbers(first, last) {
		_, err := log.Append(t.Context(), sse.Event{Data: data}, []string{""})
		require.NoError(t, err)
	}
	log.Limit(1)
	view.SetErr(nil)
	time.Sleep(10 * time.Second)
}

func TestABrokerWithoutAnEventSoFarIsToldOfAGapToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		publish(t, newBroker(t, &broker.Options{Store: log}), 1, 3)
		view := log.View()
		b := newBroker(t, &broker.Options{Store: view})
		sub := subscribe(t, b)
		away(t, log, view, 4, 9)
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"gap:", "9"}, got)
	})
}

func TestWhatWasEvictedAfterItsDeliveryIsNoGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		view := log.View()
		b := newBroker(t, &broker.Options{Store: view})
		sub := subscribe(t, b)
		publish(t, b, 1, 9)
		assert.Equal(t, numbers(1, 9), take(t, sub, 9))
		away(t, log, view, 10, 10)
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"10"}, got)
	})
}

// losing is a Follower whose Follow has lost all it was ever asked for.
type losing struct {
	broker.Follower
	asked []time.Time
}

func (l *losing) Follow(ctx context.Context, after string) iter.Seq2[broker.Message, error] {
	return func(yield func(broker.Message, error) bool) {
		if l.asked = append(l.asked, time.Now()); len(l.asked) > 1_000 {
			<-ctx.Done() // or time would stand still
			return
		}
		yield(broker.Message{}, broker.ErrGap)
	}
}

func TestAFollowerThatHasGapsOnlyIsAskedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &losing{Follower: storetest.NewLog()}
		b := broker.New(&broker.Options{Store: store})
		time.Sleep(time.Minute)
		require.NoError(t, b.Shutdown(t.Context()))
		assert.Less(t, len(store.asked), 30)
	})
}

// breaking is a Follower whose Follow fails after every event.
type breaking struct {
	broker.Follower
	asked []time.Time
}

func (f *breaking) Follow(ctx context.Context, after string) iter.Seq2[broker.Message, error] {
	f.asked = append(f.asked, time.Now())
	return func(yield func(broker.Message, error) bool) {
		for m, err := range f.Follower.Follow(ctx, after) {
			if yield(m, err) && err == nil {
				yield(broker.Message{}, errors.New("broken"))
			}
			return
		}
	}
}

func TestAFollowerThatYieldsInBetweenIsAskedAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &breaking{Follower: storetest.NewLog()}
		b := broker.New(&broker.Options{Store: store})
		sub := subscribe(t, b)
		start := time.Now()
		publish(t, b, 1, 20)
		assert.Equal(t, numbers(1, 20), take(t, sub, 20))
		assert.LessOrEqual(t, time.Since(start), 20*150*time.Millisecond)
		assert.GreaterOrEqual(t, time.Since(start), 19*100*time.Millisecond)
		require.NoError(t, b.Shutdown(t.Context()))
	})
}

func TestTheLogTellsOfAFollowerThatFailsAndOfNoEnd(t *testing.T) {
	for name, end := range map[string]func(*broker.Broker) error{
		"shutdown": func(b *broker.Broker) error { return b.Shutdown(context.Background()) },
		"close":    (*broker.Broker).Close,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l records
				log := storetest.NewLog()
				view := log.View()
				b := broker.New(&broker.Options{Store: view, Logger: l.logger(slog.LevelInfo)})
				publish(t, b, 1, 1)
				synctest.Wait()
				assert.Empty(t, l.String())
				id, err := log.Append(t.Context(), sse.Event{Type: "two\nlines"}, nil) // by another program
				require.NoError(t, err)
				synctest.Wait()
				assert.Regexp(t, `^level=ERROR msg="broker: event left out" id=`+id+` error="sse: event .*"\n$`, l.String())
				// It is not read, and logged, a second time.
				known := len(l.String())
				view.SetErr(errors.New("gone fishing"))
				synctest.Wait()
				view.SetErr(nil)
				time.Sleep(time.Second)
				failed := "level=WARN msg=\"broker: following failed\" error=\"gone fishing\"\n"
				assert.Equal(t, failed, l.String()[known:])
				publish(t, b, 2, 2)
				synctest.Wait()
				require.NoError(t, end(b))
				synctest.Wait()
				assert.Equal(t, failed, l.String()[known:])
			})
		})
	}
}
