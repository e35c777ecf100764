package broker_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

func TestASlowSubscriberCatchesUpWithoutALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueSize: 4})
		sub := subscribe(t, b)
		publish(t, b, 1, 100)
		synctest.Wait()
		assert.Equal(t, numbers(1, 50), take(t, sub, 50))
		publish(t, b, 101, 200)
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, numbers(51, 200), got)
		stats := b.Stats()
		assert.Equal(t, uint64(200), stats.Delivered)
		assert.Positive(t, stats.CaughtUp)
		stats.CaughtUp, stats.Delivered = 0, 0
		assert.Equal(t, broker.Stats{Subscribers: 1, Published: 200}, stats)
	})
}

func TestWhatTheStoreNoLongerHoldsIsAGapForASlowSubscriber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{
			QueueSize: 4,
			Store:     broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: 10}),
		})
		sub := subscribe(t, b)
		publish(t, b, 1, 100)
		synctest.Wait()
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, slices.Concat(numbers(1, 4), []string{"gap:"}, numbers(91, 100)), got)
		publish(t, b, 101, 102)
		assert.Equal(t, numbers(101, 102), take(t, sub, 2))
		assert.Equal(t, uint64(1), b.Stats().Gaps)
	})
}

func TestWithoutAStoreASlowSubscriberHasAGapWhereItLostEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueSize: 4, Store: broker.Discard})
		sub := subscribe(t, b)
		publish(t, b, 1, 10)
		synctest.Wait()
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"1", "2", "3", "4", "gap:"}, got)
		publish(t, b, 11, 12)
		assert.Equal(t, numbers(11, 12), take(t, sub, 2))
	})
}

func TestDisconnectEndsASlowSubscriptionAfterWhatIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueSize: 4, Slow: broker.Disconnect})
		sub := subscribe(t, b)
		publish(t, b, 1, 10)
		synctest.Wait()
		got, err := pending(t, sub)
		assert.Equal(t, broker.ErrSlow, err)
		assert.Equal(t, numbers(1, 4), got)
		assert.Equal(t, broker.Stats{Published: 10, Delivered: 4, Disconnected: 1}, b.Stats())

		_, err = pending(t, sub)
		assert.Equal(t, broker.ErrClosed, err)
	})
}

func TestDropOldestKeepsTheNewestBehindAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueSize: 4, Slow: broker.DropOldest})
		sub := subscribe(t, b)
		publish(t, b, 1, 2)
		assert.Equal(t, []string{"1"}, take(t, sub, 1))
		publish(t, b, 3, 10)
		synctest.Wait()
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"gap:", "7", "8", "9", "10"}, got)
		assert.Equal(t, broker.Stats{Subscribers: 1, Published: 10, Delivered: 5, Dropped: 5, Gaps: 1}, b.Stats())
	})
}

func TestDropNewestTellsTheGapEvenIfNothingFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueSize: 4, Slow: broker.DropNewest})
		sub := subscribe(t, b)
		publish(t, b, 1, 10)
		synctest.Wait()
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"1", "2", "3", "4", "gap:"}, got)
		publish(t, b, 11, 20)
		synctest.Wait()
		got, err = pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"11", "12", "13", "14", "gap:"}, got)
		assert.Equal(t, broker.Stats{Subscribers: 1, Published: 20, Delivered: 8, Dropped: 12, Gaps: 2}, b.Stats())
	})
}

func TestAGapThatWasToldIsNotToldAgainAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueSize: 4, Slow: broker.DropNewest})
		sub := subscribe(t, b)
		publish(t, b, 1, 10)
		synctest.Wait()
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"1", "2", "3", "4", "gap:"}, got)
		publish(t, b, 11, 11)
		require.NoError(t, b.Shutdown(t.Context()))
		got, err = pending(t, sub)
		assert.Equal(t, broker.ErrClosed, err)
		assert.Equal(t, []string{"11"}, got)
	})
}

func TestEveryHoleOfADropPolicyHasItsGapAndEveryGapItsHole(t *testing.T) {
	for name, policy := range map[string]broker.SlowPolicy{"DropOldest": broker.DropOldest, "DropNewest": broker.DropNewest} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t, &broker.Options{QueueSize: 8, Slow: policy})
			sub := subscribe(t, b)
			const last = 20_000
			go func() {
				for i := 1; i <= last; i++ {
					_, _ = b.Publish(t.Context(), sse.Event{Data: strconv.Itoa(i)})
				}
				// The queue is as full as it gets: wait for room, so that the
				// end arrives.
				for b.Stats().Delivered+b.Stats().Dropped < last {
				}
				_, _ = b.Publish(t.Context(), sse.Event{Data: "end"})
			}()
			next, gap := 1, false
			for ev, err := range sub.Events(t.Context()) {
				require.NoError(t, err)
				if ev.Type == "gap" {
					require.False(t, gap, "two gaps in a row")
					gap = true
					continue
				}
				if ev.Data == "end" {
					break
				}
				n, err := strconv.Atoi(ev.Data)
				require.NoError(t, err)
				if gap {
					require.Greater(t, n, next, "a gap without a hole")
				} else {
					require.Equal(t, next, n, "a hole without a gap")
				}
				next, gap = n+1, false
			}
			if !gap {
				require.Equal(t, last+1, next)
			}
		})
	}
}

func TestQueueBytesCountBeyondTheFirstEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		size := len("id: 1\ndata: \n\n") + 1000
		for limit, want := range map[int]int{2*size - 1: 2, 2 * size: 3} {
			b := newBroker(t, &broker.Options{QueueBytes: limit, Slow: broker.Disconnect})
			sub := subscribe(t, b)
			for i := range 4 {
				_, err := b.Publish(t.Context(), sse.Event{ID: strconv.Itoa(i), Data: strings.Repeat("x", 1000)})
				require.NoError(t, err)
			}
			synctest.Wait()
			got, err := pending(t, sub)
			assert.Equal(t, broker.ErrSlow, err)
			assert.Len(t, got, want)
		}
	})
}

func TestAQueueThatIsNeverEmptyHasRoomForWhatWasTaken(t *testing.T) {
	size := len("id: 1\ndata: \n\n") + 1000
	for name, opts := range map[string]*broker.Options{"bytes": {QueueBytes: 3 * size}, "events": {QueueSize: 3}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, policy := range []broker.SlowPolicy{broker.CatchUp, broker.Disconnect, broker.DropOldest, broker.DropNewest} {
					opts.Slow, opts.Store = policy, broker.Discard
					b := newBroker(t, opts)
					sub := subscribe(t, b)
					for i := range 20 {
						_, err := b.Publish(t.Context(), sse.Event{Data: strings.Repeat("x", 1000)})
						require.NoError(t, err)
						synctest.Wait()
						if i >= 2 {
							take(t, sub, 1)
						}
					}
					assert.Equal(t, broker.Stats{Subscribers: 1, Published: 20, Delivered: 18}, b.Stats())
				}
			})
		})
	}
}

func TestAnEventLargerThanTheQueueIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, policy := range []broker.SlowPolicy{broker.CatchUp, broker.Disconnect, broker.DropOldest, broker.DropNewest} {
			b := newBroker(t, &broker.Options{QueueBytes: 10, Slow: policy})
			sub := subscribe(t, b)
			large := strings.Repeat("x", 1000)
			for range 3 {
				_, err := b.Publish(t.Context(), sse.Event{Data: large})
				require.NoError(t, err)
				assert.Equal(t, []string{large}, take(t, sub, 1))
			}
		}
	})
}

func TestALoopThatBreaksAtTheGapGoesOnWithTheEventBehindIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, opts := range []*broker.Options{
			{QueueSize: 2, Slow: broker.DropOldest},
			{QueueSize: 2, Store: broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: 2})},
		} {
			b := newBroker(t, opts)
			sub := subscribe(t, b)
			publish(t, b, 1, 9)
			synctest.Wait()
			var got []string
			for len(got) == 0 || got[len(got)-1] != "9" {
				got = append(got, take(t, sub, 1)...)
			}
			assert.Equal(t, []string{"gap:", "8", "9"}, got[len(got)-3:])
		}
	})
}

func TestALoopThatIsCancelledLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueSize: 3})
		sub := subscribe(t, b)
		var all []string
		for i := range 30 {
			publish(t, b, 2*i, 2*i+1)
			got, err := pending(t, sub)
			require.NoError(t, err)
			all = append(all, got...)
		}
		assert.Equal(t, numbers(0, 59), all)
	})
}
