package broker_test

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// requireFlat fails the test if n rounds, one in ten milliseconds, leave more
// goroutines than there were after the first hundred, or more than a byte each.
// To be called in a bubble.
func requireFlat(t *testing.T, n int, round func(i int)) {
	var goroutines, heap int
	for i := range 100 + n {
		if i == 100 {
			goroutines, heap = left()
		}
		round(i)
		time.Sleep(10 * time.Millisecond)
	}
	goroutinesThen, heapThen := left()
	if goroutines != goroutinesThen {
		stacks := make([]byte, 1<<20)
		t.Fatalf("%d goroutines, then %d:\n%s", goroutines, goroutinesThen, stacks[:runtime.Stack(stacks, true)])
	}
	require.Less(t, heapThen-heap, 128<<10+n)
}

// left returns what there is once all timeouts are over.
func left() (goroutines, heap int) {
	time.Sleep(time.Minute)
	synctest.Wait()
	heap = collected()
	goroutines = runtime.NumGoroutine()
	for range 100 { // the runtime counts some of its own for a moment
		runtime.Gosched()
		goroutines = min(goroutines, runtime.NumGoroutine())
	}
	return goroutines, heap
}

func TestSubscriptionsAndTopicsThatAreUsedOnceLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, opts := range map[string]*broker.Options{
			"CatchUp":    {QueueSize: 2},
			"Disconnect": {QueueSize: 2, Slow: broker.Disconnect},
			"DropOldest": {QueueSize: 2, Slow: broker.DropOldest},
			"DropNewest": {QueueSize: 2, Slow: broker.DropNewest},
		} {
			opts.Store = broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: 16})
			b := newBroker(t, opts)
			requireFlat(t, 25_000, func(i int) {
				topic := fmt.Sprint("once-", i)
				sub, err := b.Subscribe(topic, "all")
				require.NoError(t, err)
				events := 1
				if i%10 == 0 {
					events = 4 // more than a queue has room for
				}
				for range events {
					_, err = b.Publish(t.Context(), sse.Event{Data: "x"}, topic, "all")
					require.NoError(t, err)
				}
				if i%3 == 0 {
					take(t, sub, 1)
				}
				sub.Close()
				if i%7 == 0 {
					lost, err := b.Resume(topic, topic)
					require.NoError(t, err)
					take(t, lost, 1) // the Gap
					lost.Close()
				}
			})
			assert.Equal(t, 0, b.Stats().Subscribers, name)
		}
	})
}

func TestConnectionsThatComeAndGoLeaveNothing(t *testing.T) {
	n := 1_000
	if *soak > 0 {
		n = 100_000
	}
	for _, protocol := range ssetest.Protocols {
		for _, detach := range []bool{false, true} {
			if detach && protocol != ssetest.HTTP1 {
				continue
			}
			n := n
			if protocol == ssetest.HTTP1TLS {
				n /= 4 // most of it is cryptography
			}
			t.Run(fmt.Sprint(protocol, " ", detach), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBroker(t, &broker.Options{
						Topics: broker.AnyQueryTopic("t"),
						Store:  broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: 16}),
						Detach: detach,
					})
					srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Protocol: protocol})
					for range 2 * runtime.GOMAXPROCS(0) { // so that each shard has had a subscriber, and has its worker
						resp, err := srv.Client().Do(get(t, srv.URL+"?t=all"))
						require.NoError(t, err)
						defer resp.Body.Close()
					}
					publish(t, b, 1, 1, "all")
					requireFlat(t, n, func(i int) {
						topic := fmt.Sprint("once-", i)
						resp, err := srv.Client().Do(get(t, srv.URL+"?t="+topic))
						require.NoError(t, err)
						publish(t, b, i, i, topic)
						ev, err := sse.NewDecoder(resp.Body).Decode()
						require.NoError(t, err)
						require.Equal(t, fmt.Sprint(i), ev.Data)
						require.NoError(t, resp.Body.Close())
					})
					assert.Equal(t, 2*runtime.GOMAXPROCS(0), b.Stats().Subscribers)
				})
			})
		}
	}
}
