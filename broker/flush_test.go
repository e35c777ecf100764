package broker_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

func TestAFlushIntervalGathersEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Store: namedStore(nil), FlushInterval: 5 * time.Millisecond})
		var flushes atomic.Int64
		s := connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b.ServeHTTP(flushCounter{w, &flushes}, r)
		}), "")
		sub := subscribe(t, b)
		s.news()
		flushes.Store(0)
		for i := range 10 {
			publish(t, b, i+1, i+1)
			time.Sleep(time.Millisecond)
			if i == 3 {
				assert.Equal(t, "", s.news(), "before the interval is over")
			}
		}
		time.Sleep(5 * time.Millisecond)
		want := ""
		for _, n := range numbers(1, 10) {
			want += block(n, n)
		}
		assert.Equal(t, want, s.news())
		assert.Equal(t, int64(2), flushes.Load())
		assert.Equal(t, numbers(1, 10), take(t, sub, 10))
	})
}

func TestAFlushIntervalDoesNotKeepEventsFromAShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{FlushInterval: time.Hour})
		sub := subscribe(t, b)
		publish(t, b, 1, 3)
		assert.NoError(t, b.Shutdown(t.Context()))
		got, err := pending(t, sub)
		assert.Equal(t, numbers(1, 3), got)
		assert.Equal(t, broker.ErrClosed, err)
	})
}

func TestAFlushIntervalGathersUnderEveryPolicy(t *testing.T) {
	for policy := broker.CatchUp; policy <= broker.Conflate; policy++ {
		synctest.Test(t, func(t *testing.T) {
			b := newBroker(t, &broker.Options{Slow: policy, FlushInterval: time.Second, Heartbeat: -1, Store: broker.Discard, QueueSize: 12})
			p := newPeer(t, b, "")
			sub := subscribe(t, b)
			p.take()
			publish(t, b, 1, 10)
			synctest.Wait()
			assert.Empty(t, p.take(), "policy %d", policy)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			assert.Len(t, p.take(), 1, "policy %d", policy)
			assert.Equal(t, numbers(1, 10), take(t, sub, 10))
			p.Close()
		})
	}
}

// What was gathered together is still dropped, and conflated, event by event.
func TestWhatAFlushIntervalGathersIsDroppedOneByOne(t *testing.T) {
	for policy, want := range map[broker.SlowPolicy][]string{
		broker.DropOldest: {"gap:", "8", "9", "10"},
		broker.Conflate:   {"1", "3", "10"},
	} {
		synctest.Test(t, func(t *testing.T) {
			key := func(ev sse.Event, _ []string) string {
				if ev.Data == "1" || ev.Data == "3" {
					return ""
				}
				return "all others"
			}
			b := newBroker(t, &broker.Options{Slow: policy, Key: key, FlushInterval: time.Second, Store: broker.Discard, QueueSize: 3})
			sub := subscribe(t, b)
			publish(t, b, 1, 6)
			time.Sleep(2 * time.Second)
			publish(t, b, 7, 10)
			time.Sleep(2 * time.Second)
			got, err := pending(t, sub)
			assert.NoError(t, err)
			assert.Equal(t, want, got, "policy %d", policy)
		})
	}
}
