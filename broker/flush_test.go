package broker_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/fanfare-go/fanfare/broker"
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
