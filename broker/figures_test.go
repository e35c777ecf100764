package broker_test

import (
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
)

// dawdle ranges over all events of sub, with a pause after each, and counts those
// with an ID.
func dawdle(sub *broker.Subscription, pause time.Duration, n *int) {
	for ev, err := range sub.Events(context.Background()) {
		if err == nil && ev.ID != "" {
			*n++
		}
		time.Sleep(pause)
	}
}

func TestDeliveredIsUpToDateForWhoIsNeverIdle(t *testing.T) {
	for _, policy := range []broker.SlowPolicy{broker.CatchUp, broker.DropOldest, broker.DropNewest} {
		synctest.Test(t, func(t *testing.T) {
			b := newBroker(t, &broker.Options{Slow: policy})
			sub := subscribe(t, b)
			got := 0
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() { dawdle(sub, 10*time.Millisecond, &got) })
			for i := range 12_000 {
				publish(t, b, i, i)
				time.Sleep(5 * time.Millisecond)
			}
			synctest.Wait()
			assert.InDelta(t, got, int(b.Stats().Delivered), 64, policy)
			assert.InDelta(t, got, int(b.Subscribers()[0].Delivered), 64, policy)
			require.NoError(t, b.Close())
		})
	}
}

func TestLagCountsOnWhenFurtherEventsCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{FlushInterval: time.Millisecond})
		sub, got := subscribe(t, b), 0
		publish(t, b, 1, 10) // one batch, of which the loop takes one event
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() { dawdle(sub, time.Hour, &got) })
		time.Sleep(10 * time.Minute)
		publish(t, b, 11, 11)
		time.Sleep(time.Second)
		assert.GreaterOrEqual(t, b.Subscribers()[0].Lag, 10*time.Minute)
		require.NoError(t, b.Close())
	})
}

func TestAQueueThatIsSaidToBeHugeIsNot(t *testing.T) {
	const huge = math.MaxInt
	b := newBroker(t, &broker.Options{QueueSize: huge, Slow: broker.DropNewest})
	subscribe(t, b)
	srv := httptest.NewServer(b)
	defer srv.Close()
	resp, err := http.Get(srv.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	publish(t, b, 1, 1000)
	assert.Zero(t, b.Stats().Dropped)
}
