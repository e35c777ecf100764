package broker_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/storetest"
	"github.com/fanfare-go/fanfare/sse"
)

// ranging is a Store with a Range of its own, which is told how often it was
// called before.
type ranging struct {
	broker.Store
	asked []time.Time
	do    func(n int, ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error]
}

func (s *ranging) Range(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
	s.asked = append(s.asked, time.Now())
	return s.do(len(s.asked)-1, ctx, q)
}

func gapAtOnce(yield func(sse.Event, error) bool) { yield(sse.Event{}, broker.ErrGap) }

func TestAReplayThatFailsIsTriedLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, err := range map[string]error{"failure": errors.New("gone fishing"), "nothing but gaps": broker.ErrGap} {
			var l records
			store := &ranging{Store: broker.NewMemoryStore(nil)}
			store.do = func(n int, ctx context.Context, _ broker.Query) iter.Seq2[sse.Event, error] {
				return func(yield func(sse.Event, error) bool) {
					if n > 1_000 {
						<-ctx.Done() // or time would stand still
					}
					yield(sse.Event{}, err)
				}
			}
			b := newBroker(t, &broker.Options{Store: store, Logger: l.logger(slog.LevelInfo)})
			id := publish(t, b, 1, 2)[0]
			sub := resume(t, b, id)
			go func() {
				for range sub.Events(t.Context()) {
				}
			}()
			time.Sleep(10 * time.Minute)
			sub.Close()
			synctest.Wait()
			failed := fmt.Sprintf("level=WARN msg=\"broker: replay failed\" error=%q\n", err.Error())
			require.Greater(t, len(l.String()), len(failed), name)
			assert.Equal(t, failed, l.String()[:len(failed)])
			require.Greater(t, len(store.asked), 60)
			for i := 20; i < 60; i++ {
				pause := store.asked[i].Sub(store.asked[i-1])
				assert.LessOrEqual(t, pause, 7500*time.Millisecond)
				if err != broker.ErrGap { // which is asked twice each time: for the cursor at first
					assert.GreaterOrEqual(t, pause, 5*time.Second)
				}
			}
			assert.Less(t, len(store.asked), 400)
		}
	})
}

func TestAReplayThatGetsOnIsTriedAtOnceAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const events = 500
		inner := namedStore(nil)
		store := &ranging{Store: inner}
		store.do = func(_ int, ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
			return func(yield func(sse.Event, error) bool) {
				left := 10
				for ev, err := range inner.Range(ctx, q) {
					if left--; left < 0 {
						ev, err = sse.Event{}, errors.New("gone fishing")
					}
					if !yield(ev, err) || err != nil {
						return
					}
				}
			}
		}
		b := newBroker(t, &broker.Options{Store: store})
		sub := resume(t, b, publish(t, b, 0, events)[0])
		start := time.Now()
		assert.Equal(t, numbers(1, events), take(t, sub, events))
		assert.Less(t, time.Since(start), 15*time.Second)
	})
}

func TestWhatWasReadBeforeTheStoreFailedIsSentAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &failing{Store: namedStore(nil), elements: 1}
		b := newBroker(t, &broker.Options{Store: store, Heartbeat: time.Second})
		publish(t, b, 1, 3)
		store.set(errors.New("away"))
		s := connect(t, b, "1")
		assert.Equal(t, block("2", "2"), s.news())
		time.Sleep(time.Minute) // until there are seconds between attempts
		for range 20 {
			before := s.news()
			time.Sleep(time.Second)
			assert.Contains(t, before+s.news(), ":\n\n")
		}
	})
}

func TestALoopThatWaitsForAStoreEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &failing{Store: namedStore(nil)}
		b := newBroker(t, &broker.Options{Store: store})
		publish(t, b, 1, 3)
		store.set(errors.New("away"))
		for _, wait := range []time.Duration{10 * time.Second, 30 * time.Second, time.Minute} {
			sub := resume(t, b, "1")
			time.AfterFunc(wait, sub.Close)
			start := time.Now()
			for _, err := range sub.Events(t.Context()) {
				assert.Equal(t, broker.ErrClosed, err)
			}
			assert.Equal(t, wait, time.Since(start))
		}
	})
}

func TestASubscriptionThatIsClosedReplaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Backlog: -1})
		id := publish(t, b, 1, 3)[0]
		for _, sub := range []*broker.Subscription{subscribe(t, b), resume(t, b, id), resume(t, b, "no cursor\x01")} {
			sub.Close()
			got, err := pending(t, sub)
			assert.Equal(t, broker.ErrClosed, err)
			assert.Empty(t, got)
		}
	})
}

func TestHistoryThatIsEvictedWhileItIsReadIsAGapEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &ranging{Store: namedStore(nil)}
		store.do = func(n int, ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
			if n == 0 {
				return gapAtOnce
			}
			return func(yield func(sse.Event, error) bool) {
				for ev, err := range store.Store.Range(ctx, broker.Query{After: numbers(2*n-1, 2*n-1)[0], Through: q.Through, Topics: q.Topics}) {
					if !yield(ev, err) {
						return
					}
					if n < 3 {
						yield(sse.Event{}, broker.ErrGap)
						return
					}
				}
			}
		}
		b := newBroker(t, &broker.Options{Store: store})
		publish(t, b, 1, 7)
		got, err := pending(t, resume(t, b, "1"))
		require.NoError(t, err)
		assert.Equal(t, []string{"gap:", "2", "gap:", "4", "gap:", "6", "7"}, got)
	})
}

func TestAStoreThatOnlyStopsAtTheEndOfItsContextIsAskedForTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &ranging{Store: namedStore(nil)}
		store.do = func(n int, ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
			return func(yield func(sse.Event, error) bool) {
				for ev, err := range store.Store.Range(context.Background(), q) {
					if !yield(ev, err) {
						return
					}
					if n == 0 {
						<-ctx.Done()
						return
					}
				}
			}
		}
		b := newBroker(t, &broker.Options{Store: store})
		publish(t, b, 1, 5)
		sub := resume(t, b, "1")
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"2"}, got)
		got, err = pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, numbers(3, 5), got)
	})
}

// overcautious is a Follower whose Range does not know any cursor.
type overcautious struct{ broker.Follower }

func (o overcautious) Range(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
	if q.After != "" {
		return gapAtOnce
	}
	return o.Follower.Range(ctx, q)
}

func TestBehindAGapThatWasNoneAReplayRepeatsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Store: overcautious{storetest.NewLog()}, QueueSize: 2})
		sub := subscribe(t, b)
		publish(t, b, 1, 3)
		assert.Equal(t, numbers(1, 3), take(t, sub, 3))
		publish(t, b, 4, 9)
		time.Sleep(time.Hour) // it is not in memory any more
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"4", "5", "gap:", "6", "7", "8", "9"}, got)
	})
}

func TestABacklogThatEndsWithTheNewestEventHasItsIDOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Store: namedStore(nil), Backlog: -1})
		publish(t, b, 1, 2)
		assert.Equal(t, block("1", "1")+block("2", "2"), connect(t, b, "").news())
		assert.Equal(t, "event: gap\ndata: \n\n"+block("1", "1")+block("2", "2"), connect(t, b, "unknown").news())
	})
}

func TestTheLogTellsOfAnEventThatIsLeftOutOfAReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l records
		store := broker.NewMemoryStore(nil)
		id, err := store.Append(t.Context(), sse.Event{Type: "two\nlines"}, []string{""}) // by the application
		require.NoError(t, err)
		b := newBroker(t, &broker.Options{Store: store, Backlog: -1, Logger: l.logger(slog.LevelInfo)})
		s := connect(t, b, "")
		s.news()
		assert.Regexp(t, `^level=ERROR msg="broker: event left out" id=`+id+` error="sse: event .*"\n$`, l.String())
		last := publish(t, b, 1, 1)[0]
		assert.Equal(t, block(last, "1"), s.news())
	})
}
