package broker_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
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

func TestShutdownServesEverybodyThroughTheNewestEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueSize: 4})
		started, release := make(chan struct{}), make(chan struct{})
		type result struct {
			got []string
			end error
		}
		results := make(chan result, 2)
		follow := func(sub *broker.Subscription, wait bool) {
			var r result
			for ev, err := range sub.Events(t.Context()) {
				if err != nil {
					r.end = err
					break
				}
				if r.got = append(r.got, ev.Data); len(r.got) == 1 && wait {
					close(started)
					<-release // now it is slow
				}
			}
			results <- r
		}
		slow, quick := subscribe(t, b), subscribe(t, b)
		go follow(slow, true)
		go follow(quick, false)
		s := connect(t, b, "")
		s.news()
		publish(t, b, 1, 1)
		<-started
		publish(t, b, 2, 100)

		done := make(chan error, 1)
		go func() { done <- b.Shutdown(context.Background()) }()
		synctest.Wait()
		_, err := b.Publish(t.Context(), sse.Event{Data: "101"})
		assert.Equal(t, broker.ErrClosed, err)
		_, err = b.Subscribe()
		assert.Equal(t, broker.ErrClosed, err)
		assert.Empty(t, done, "one subscriber still has to catch up")
		close(release)

		want := result{numbers(1, 100), broker.ErrClosed}
		assert.Equal(t, want, <-results)
		assert.Equal(t, want, <-results)
		require.NoError(t, <-done)
		require.NoError(t, s.Wait())
		for i := range 100 {
			require.Contains(t, s.Body(), "data: "+strconv.Itoa(i+1)+"\n")
		}
		assert.Regexp(t, `\n\nretry: \d{4}\n\n$`, s.Body())
		assert.Equal(t, 0, b.Stats().Subscribers)
		require.NoError(t, b.Shutdown(context.Background()))
	})
}

func TestShutdownWaitsForTheEventThatIsBeingPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGate(broker.NewMemoryStore(nil))
		b := newBroker(t, &broker.Options{Store: store})
		s := connect(t, b, "")
		store.shut()
		go publish(t, b, 1, 1)
		synctest.Wait()
		time.AfterFunc(time.Second, store.open)
		require.NoError(t, b.Shutdown(t.Context()))
		require.NoError(t, s.Wait())
		assert.Contains(t, s.Body(), "data: 1\n")
	})
}

func TestShutdownThatIsOutOfTimeCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		sub := subscribe(t, b)
		ends := make(chan error, 1)
		release := make(chan struct{})
		go func() {
			for _, err := range sub.Events(t.Context()) {
				if err != nil {
					ends <- err
					return
				}
				<-release
			}
		}()
		publish(t, b, 1, 10)
		synctest.Wait()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("too long"))
		defer cancel()
		assert.EqualError(t, b.Shutdown(ctx), "too long")
		close(release)
		assert.Equal(t, broker.ErrClosed, <-ends)
		require.NoError(t, b.Shutdown(context.Background()))
	})
}

func TestShutdownWithNothingToDoSucceedsEvenWithoutTime(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 100 {
		b := broker.New(nil)
		subscribe(t, b)
		require.NoError(t, b.Shutdown(ctx))
	}
}

func TestASubscriptionNobodyReadsHoldsNoShutdownUpAndKeepsItsQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueSize: 2})
		sub := subscribe(t, b)
		publish(t, b, 1, 5)
		require.NoError(t, b.Shutdown(t.Context()))
		got, err := pending(t, sub)
		assert.Equal(t, numbers(1, 5), got)
		assert.Equal(t, broker.ErrClosed, err)
	})
}

func TestCloseEndsAllNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		idle, unread := subscribe(t, b), subscribe(t, b)
		publish(t, b, 1, 5)
		assert.Equal(t, numbers(1, 5), take(t, idle, 5))
		ends := make(chan error, 1)
		go func() {
			_, err := pendingNow(idle)
			ends <- err
		}()
		s := connect(t, b, "")
		synctest.Wait()
		require.NoError(t, b.Close())
		assert.Equal(t, broker.ErrClosed, <-ends)
		got, err := pending(t, unread)
		assert.Empty(t, got)
		assert.Equal(t, broker.ErrClosed, err)
		require.NoError(t, s.Wait())
		_, err = b.Publish(t.Context(), sse.Event{})
		assert.Equal(t, broker.ErrClosed, err)
		_, err = b.Resume("1")
		assert.Equal(t, broker.ErrClosed, err)
		require.NoError(t, b.Close())
		require.NoError(t, b.Shutdown(t.Context()))
		assert.Equal(t, 0, b.Stats().Subscribers)
	})
}

// pendingNow ranges until the end.
func pendingNow(sub *broker.Subscription) (got []string, end error) {
	for ev, err := range sub.Events(context.Background()) {
		if err != nil {
			return got, err
		}
		got = append(got, show(ev))
	}
	return got, nil
}

func TestCloseFreesAWriteThatIsBlocked(t *testing.T) {
	for _, protocol := range ssetest.Protocols {
		t.Run(protocol.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, &broker.Options{WriteTimeout: time.Hour})
				srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Protocol: protocol})
				r, err := srv.Client().Get(srv.URL)
				require.NoError(t, err)
				defer r.Body.Close()
				for range 100 {
					_, err := b.Publish(t.Context(), sse.Event{Data: strings.Repeat("x", 1<<18)})
					require.NoError(t, err)
				}
				synctest.Wait()
				start := time.Now()
				require.NoError(t, b.Close())
				require.NoError(t, srv.Shutdown(t.Context()))
				assert.Less(t, time.Since(start), time.Minute)
			})
		})
	}
}

func TestClosingASubscriptionEndsItsLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		sub := subscribe(t, b)
		publish(t, b, 1, 3)
		var got []string
		var end error
		for ev, err := range sub.Events(t.Context()) {
			if end = err; err == nil {
				got = append(got, ev.Data)
				sub.Close()
			}
		}
		assert.Equal(t, []string{"1"}, got)
		assert.Equal(t, broker.ErrClosed, end)
		sub.Close()
		assert.Equal(t, 0, b.Stats().Subscribers)
	})
}

func TestClosingASubscriptionEndsAReplayThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &failing{Store: broker.NewMemoryStore(nil)}
		store.set(errors.New("away"))
		b := newBroker(t, &broker.Options{Store: store})
		for _, end := range []func(*broker.Subscription){
			(*broker.Subscription).Close,
			func(*broker.Subscription) { b.Close() },
		} {
			sub := resume(t, b, "1")
			time.AfterFunc(time.Hour, func() { end(sub) })
			_, err := pendingNow(sub)
			assert.Equal(t, broker.ErrClosed, err)
		}
	})
}

func TestABrokerThatHasEndedSendsClientsAwayForASpreadTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var retries []string
		for range 20 {
			b := newBroker(t, &broker.Options{Retry: 2 * time.Second})
			for range 4000 {
				subscribe(t, b)
			}
			require.NoError(t, b.Shutdown(t.Context()))
			s := connect(t, b, "")
			require.NoError(t, s.Wait())
			assert.Equal(t, 200, s.Code())
			m := regexp.MustCompile(`^retry: (\d+)\n\n$`).FindStringSubmatch(s.Body())
			require.NotNil(t, m, s.Body())
			ms, err := strconv.Atoi(m[1])
			require.NoError(t, err)
			assert.GreaterOrEqual(t, ms, 2000)
			assert.LessOrEqual(t, ms, 6000)
			retries = append(retries, m[1])
		}
		slices.Sort(retries)
		assert.Greater(t, retries[len(retries)-1], "2100", "a millisecond for each")
		assert.Greater(t, len(slices.Compact(retries)), 10)
	})
}

func TestAServerShutsDownWithItsBroker(t *testing.T) {
	for _, protocol := range ssetest.Protocols {
		t.Run(protocol.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, nil)
				config := &http.Server{}
				config.RegisterOnShutdown(func() { _ = b.Shutdown(context.Background()) })
				srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Protocol: protocol, Config: config})
				r, err := srv.Client().Get(srv.URL)
				require.NoError(t, err)
				defer r.Body.Close()
				publish(t, b, 1, 10)
				require.NoError(t, srv.Shutdown(t.Context()))
				var got []string
				for ev, err := range sse.Events(r.Body) {
					require.NoError(t, err)
					got = append(got, ev.Data)
				}
				assert.Equal(t, numbers(1, 10), got)
			})
		})
	}
}

func TestAGapAtTheVeryEndIsToldByAShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueSize: 1, Slow: broker.DropNewest})
		until, served, down := make(chan struct{}), make(chan struct{}), make(chan error)
		rec := httptest.NewRecorder()
		go func() {
			defer close(served)
			b.ServeHTTP(&waiting{&telling{rec, func(time.Time) {}}, until}, get(t, "/"))
		}()
		synctest.Wait() // it is in its first write
		publish(t, b, 1, 6)
		synctest.Wait()
		go func() { down <- b.Shutdown(t.Context()) }()
		synctest.Wait()
		close(until)
		require.NoError(t, <-down)
		<-served
		assert.Regexp(t, `data: 1\n\nevent: gap\ndata: \n\nretry: \d+\n\n$`, rec.Body.String())
	})
}
