package broker_test

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

func TestTopicsThatChangeAllDayLongLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		sub := subscribe(t, b)
		change := func(n int) {
			for range n {
				require.NoError(t, sub.Add("now and then"))
				sub.Remove("now and then")
			}
			synctest.Wait()
		}
		change(100)
		before := heap()
		change(5_000)
		assert.Less(t, heap()-before, 256<<10)
		publish(t, b, 1, 1)
		assert.Equal(t, []string{"1"}, take(t, sub, 1))
	})
}

func TestTopicsThatChangeBehindAFullQueueLeaveNothing(t *testing.T) {
	for name, opts := range map[string]broker.Options{"": {}, "without IDs": {Store: broker.Discard}} {
		synctest.Test(t, func(t *testing.T) {
			opts.QueueSize = 1
			b := newBroker(t, &opts)
			sub := subscribe(t, b)
			publish(t, b, 1, 3)
			synctest.Wait()
			change := func(n int, elsewhere bool) {
				for range n {
					require.NoError(t, sub.Add("now and then"))
					if elsewhere {
						publish(t, b, 0, 0, "another")
					}
					sub.Remove("now and then")
				}
				synctest.Wait()
			}
			for _, elsewhere := range []bool{false, true} {
				change(100, elsewhere)
				if elsewhere {
					change(5_000, elsewhere) // until the Store is full
				}
				before := heap()
				change(5_000, elsewhere)
				assert.Less(t, heap()-before, 256<<10, name)
			}
			assert.Equal(t, []string{"1"}, take(t, sub, 1), name)
		})
	}
}

func TestTopicsMayBeAddedFasterThanTheShardHearsOfThem(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // the shard has its turn when this goroutine waits
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		sub := subscribe(t, b)
		synctest.Wait()
		for i, topic := range numbers(1, 20) {
			publish(t, b, 0, 0, topic) // from before
			require.NoError(t, sub.Add(topic))
			publish(t, b, i+1, i+1, topic)
		}
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, numbers(1, 20), got)
	})
}

func TestTopicsThatWereTakenAsTheyWereStayAsTheyWere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		sub := subscribe(t, b, "a", "b", "c")
		before := subscribers(b)
		sub.Remove("a")
		require.NoError(t, sub.Add("d"))
		assert.Equal(t, []string{"b", "c", "d"}, subscribers(b)[0].Topics)
		assert.Equal(t, []string{"a", "b", "c"}, before[0].Topics)
	})
}

func TestWhoRemovesATopicAndLeavesTakesNobodyElseAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, topic := range []string{"a", "b", "c"} {
			b := newShard(t, nil)
			others := []*broker.Subscription{subscribe(t, b, "c"), subscribe(t, b, "b", "c"), subscribe(t, b, "b", "c")}
			sub := subscribe(t, b, "a", "b", "c")
			synctest.Wait()
			sub.Remove(topic)
			publish(t, b, 1, 1, "c")
			sub.Close()
			publish(t, b, 2, 2, "c")
			for _, other := range others {
				assert.Equal(t, numbers(1, 2), take(t, other, 2))
			}
		}
	})
}

func TestOfWhatIsGatheredTheFirstEventIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const unit = 1000
		b := newBroker(t, &broker.Options{QueueBytes: 3*unit + 500, FlushInterval: time.Second, Slow: broker.DropNewest})
		sub := subscribe(t, b)
		for _, units := range []int{2, 1, 0, 2} {
			if units == 0 {
				time.Sleep(2 * time.Second)
				continue
			}
			_, err := b.Publish(t.Context(), sse.Event{Data: strings.Repeat("x", units*unit)})
			require.NoError(t, err)
		}
		time.Sleep(2 * time.Second)
		assert.Equal(t, 3, subscribers(b)[0].Queued)
		assert.Zero(t, b.Stats().Dropped)
		take(t, sub, 3)
	})
}

func TestALoggerIsToldTheTopicsWhileTheyChange(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	for range 1_000 { // for the race detector, which then sees it every time
		b := newBroker(t, &broker.Options{QueueSize: 1, Logger: log})
		sub := subscribe(t, b, "a")
		publish(t, b, 1, 5, "a")
		var adding sync.WaitGroup
		adding.Go(func() {
			for _, topic := range numbers(1, 20) {
				assert.NoError(t, sub.Add(topic))
			}
		})
		assert.Equal(t, numbers(1, 5), take(t, sub, 5))
		adding.Wait()
		b.Close()
	}
}

func TestManyTopicsAreRemovedInLinearTime(t *testing.T) {
	b := newShard(t, nil)
	topics := numbers(1, 80_000)
	sub, other := subscribe(t, b, topics...), subscribe(t, b, "other")
	start := time.Now()
	sub.Remove(topics[7])
	sub.Remove(topics[10_000:]...)
	require.NoError(t, sub.Add(topics...))
	publish(t, b, 1, 1, "other")
	assert.Equal(t, []string{"1"}, take(t, other, 1))
	assert.Less(t, time.Since(start), time.Second, "nor does the shard take longer")
	assert.Equal(t, []int{1, 1, 1}, []int{b.Count(topics[0]), b.Count(topics[7]), b.Count(topics[20_000])})
}

func TestTopicsAreAddedOneByOneInLinearTime(t *testing.T) {
	for _, publishes := range []bool{false, true} {
		b := newBroker(t, &broker.Options{Slow: broker.DropOldest})
		sub := subscribe(t, b, "from the start")
		start := time.Now()
		for _, topic := range numbers(1, 2_000) {
			if publishes {
				publish(t, b, 0, 0, "from the start") // so that each begins an epoch
			}
			require.NoError(t, sub.Add(topic))
		}
		assert.Less(t, time.Since(start), 2*time.Second, "publishes %t", publishes)
	}
}

func TestAnEventCostsTheSameForManyTopicsOnceSomeWereAdded(t *testing.T) {
	const events = 5_000
	b := newBroker(t, &broker.Options{QueueSize: events})
	topics := numbers(1, 100_000)
	sub := subscribe(t, b, topics...)
	require.NoError(t, sub.Add("another"))
	publish(t, b, 1, events, "99999") // in the order of strings the last
	start := time.Now()
	assert.Equal(t, numbers(1, events), take(t, sub, events))
	assert.Less(t, time.Since(start), time.Second)
}

func TestATopicThatIsAddedAgainBringsNothingFromBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		sub := subscribe(t, b, "a", "b")
		publish(t, b, 1, 1, "a")
		publish(t, b, 2, 2, "b")
		sub.Remove("a")
		require.NoError(t, sub.Add("a", "c"))
		publish(t, b, 3, 3, "a")
		publish(t, b, 4, 4, "c")
		assert.Equal(t, []string{"2", "3", "4"}, take(t, sub, 3))
	})
}

// An appending Store takes the slice of a query for its own.
type appending struct {
	broker.Store
	ranged chan struct{} // received from before it appends
}

func (s *appending) Range(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
	s.ranged <- struct{}{}
	s.ranged <- struct{}{}
	_ = append(q.Topics, "*")
	return s.Store.Range(ctx, q)
}

func TestTopicsThatAStoreAppendsToAreItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &appending{broker.NewMemoryStore(nil), make(chan struct{})}
		b := newBroker(t, &broker.Options{Store: store})
		id := publish(t, b, 1, 2, "a")[0]
		sub := resume(t, b, id, "a", "b", "c", "b") // one is left of two, so there is room for another
		var wg sync.WaitGroup
		wg.Go(func() { assert.Equal(t, []string{"2", "3"}, take(t, sub, 2)) })
		<-store.ranged
		require.NoError(t, sub.Add("d"))
		<-store.ranged
		synctest.Wait()
		assert.Equal(t, []string{"a", "b", "c", "d"}, b.Subscribers()[0].Topics)
		publish(t, b, 3, 3, "d")
		wg.Wait()
	})
}
