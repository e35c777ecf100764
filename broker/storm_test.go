package broker_test

import (
	"context"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
)

var lastRetry = regexp.MustCompile(`retry: (\d+)\n\n$`)

// Ten thousand clients are sent away by a Shutdown, and come back to the next
// Broker as browsers do: after the retry time that they were told last. Without
// the spread, all would be back at the same moment, after Options.Retry.
func TestTenThousandClientsDoNotComeBackAllAtOnce(t *testing.T) {
	const clients, retry = 10_000, 2 * time.Second
	synctest.Test(t, func(t *testing.T) {
		old, next := newBroker(t, &broker.Options{Retry: retry}), newBroker(t, nil)
		var (
			gone, back sync.WaitGroup
			mu         sync.Mutex
			arrivals   []time.Duration
			end        time.Time
		)
		ctx, hangUp := context.WithCancel(t.Context())
		for range clients {
			gone.Add(1)
			back.Go(func() {
				w := httptest.NewRecorder()
				old.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/", nil))
				gone.Done()
				match := lastRetry.FindStringSubmatch(w.Body.String())
				if !assert.NotNil(t, match) {
					return
				}
				wait, _ := strconv.Atoi(match[1])
				time.Sleep(time.Duration(wait) * time.Millisecond)
				mu.Lock()
				arrivals = append(arrivals, time.Since(end))
				mu.Unlock()
				next.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/", nil))
			})
		}
		synctest.Wait()
		require.Equal(t, clients, old.Stats().Subscribers)
		end = time.Now()
		require.NoError(t, old.Shutdown(t.Context()))
		gone.Wait()
		time.Sleep(time.Minute)
		assert.Equal(t, clients, next.Stats().Subscribers)
		hangUp()
		back.Wait()

		slices.Sort(arrivals)
		peak := busiest(arrivals, 100*time.Millisecond)
		t.Logf("most that come back within 100 ms: %d; without the spread: %d; all are back after %v", peak, clients, arrivals[clients-1])
		assert.Less(t, peak, 200, "of 10,000 within 10 s, 100 come within a tenth of a second")
		assert.GreaterOrEqual(t, arrivals[0], retry)
		assert.LessOrEqual(t, arrivals[clients-1], retry+10*time.Second)
	})
}

// busiest returns how many of the times, which are sorted, lie within one window
// at most.
func busiest(times []time.Duration, window time.Duration) (most int) {
	from := 0
	for i, at := range times {
		for at-times[from] >= window {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}
