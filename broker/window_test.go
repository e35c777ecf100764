package broker_test

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
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

// A metered is a Follower that counts what its engine is asked for.
type metered struct {
	*storetest.View
	ranges atomic.Int64
	after  atomic.Value // the cursor that it was asked for last
}

func meter(log *storetest.Log) *metered { return &metered{View: log.View()} }

func (m *metered) Range(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
	m.ranges.Add(1)
	m.after.Store(q.After)
	return m.View.Range(ctx, q)
}

func TestReconnectsWithinTheWindowAskTheEngineForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := meter(storetest.NewLog())
		b := newBroker(t, &broker.Options{Store: store})
		const events = 500
		origin, err := store.Last(t.Context())
		require.NoError(t, err)
		ids := append([]string{origin}, publish(t, b, 1, events)...)
		synctest.Wait()
		for i := range 1_000 {
			i %= len(ids)
			sub := resume(t, b, ids[i])
			require.Equal(t, numbers(i+1, events), take(t, sub, events-i))
			sub.Close()
		}
		assert.Zero(t, store.ranges.Load())
	})
}

func TestACursorFromBeforeTheWindowAsksTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		before := newBroker(t, &broker.Options{Store: log})
		ids := publish(t, before, 1, 10)
		store := meter(log)
		b := newBroker(t, &broker.Options{Store: store, Backlog: -1})
		synctest.Wait() // until it follows
		ids = append(ids, publish(t, b, 11, 20)...)
		synctest.Wait()

		assert.Equal(t, numbers(11, 20), take(t, resume(t, b, ids[9]), 10))
		assert.Zero(t, store.ranges.Load())
		assert.Equal(t, numbers(10, 20), take(t, resume(t, b, ids[8]), 11))
		assert.EqualValues(t, 1, store.ranges.Load())
		assert.Equal(t, append([]string{"gap:"}, numbers(1, 20)...), take(t, resume(t, b, "of another store"), 21))
		assert.EqualValues(t, 3, store.ranges.Load(), "for the cursor, and for all that is held")
		assert.Equal(t, numbers(1, 20), take(t, subscribe(t, b), 20))
		assert.EqualValues(t, 4, store.ranges.Load())
	})
}

func TestTheWindowKnowsTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := meter(storetest.NewLog())
		b := newBroker(t, &broker.Options{Store: store})
		start := publish(t, b, 0, 0, "other")[0]
		for i := 1; i <= 30; i++ {
			topics := []string{"all"}
			if i%2 == 0 {
				topics = append(topics, "even")
			}
			if i%3 == 0 {
				topics = []string{"three", "even"}
			}
			publish(t, b, i, i, topics...)
		}
		publish(t, b, 31, 31, "other")
		synctest.Wait()
		for _, test := range []struct {
			topics []string
			has    func(i int) bool
		}{
			{[]string{"all"}, func(i int) bool { return i%3 != 0 }},
			{[]string{"even"}, func(i int) bool { return i%2 == 0 || i%3 == 0 }},
			{[]string{"even", "three"}, func(i int) bool { return i%2 == 0 || i%3 == 0 }},
			{[]string{"three", "nobody's"}, func(i int) bool { return i%3 == 0 }},
			{[]string{"nobody's"}, func(i int) bool { return false }},
		} {
			var want []string
			for i := 1; i <= 30; i++ {
				if test.has(i) {
					want = append(want, strconv.Itoa(i))
				}
			}
			got, err := pending(t, resume(t, b, start, test.topics...))
			require.NoError(t, err)
			assert.Equal(t, want, got, test.topics)
		}
		assert.Zero(t, store.ranges.Load())
	})
}

func TestABacklogComesFromTheWindowIfThereIsEnoughInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		publish(t, newBroker(t, &broker.Options{Store: log}), 1, 5, "a")
		store := meter(log)
		b := newBroker(t, &broker.Options{Store: store, Backlog: 4})
		synctest.Wait() // until it follows
		publish(t, b, 6, 8, "a")
		publish(t, b, 0, 0, "b")
		synctest.Wait()
		assert.Equal(t, numbers(5, 8), take(t, subscribe(t, b, "a"), 4))
		assert.EqualValues(t, 1, store.ranges.Load(), "it has three of four")
		publish(t, b, 9, 9, "a")
		synctest.Wait()
		sub := subscribe(t, b, "a")
		assert.Equal(t, numbers(6, 9), take(t, sub, 4))
		publish(t, b, 10, 10, "a")
		assert.Equal(t, numbers(10, 10), take(t, sub, 1))
		assert.EqualValues(t, 1, store.ranges.Load())
	})
}

func TestAGapEmptiesTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		store := meter(log)
		b := newBroker(t, &broker.Options{Store: store})
		ids := publish(t, b, 1, 3)
		synctest.Wait()
		store.SetErr(errors.New("away"))
		for i := 4; i <= 9; i++ {
			id, err := log.Append(t.Context(), sse.Event{Data: strconv.Itoa(i)}, []string{""})
			require.NoError(t, err)
			ids = append(ids, id)
		}
		log.Trim(6)
		store.SetErr(nil)
		time.Sleep(time.Minute)
		assert.Equal(t, append([]string{"gap:"}, numbers(7, 9)...), take(t, resume(t, b, ids[1]), 4))
		asked := store.ranges.Load()
		assert.Positive(t, asked)
		assert.Equal(t, numbers(8, 9), take(t, resume(t, b, ids[6]), 2))
		assert.Equal(t, asked, store.ranges.Load(), "a window begins behind the gap")
	})
}

func TestAReplayThatTheWindowLeavesBehindGoesOnInTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := meter(storetest.NewLog())
		b := newBroker(t, &broker.Options{Store: store})
		ids := publish(t, b, 0, 1_000)
		synctest.Wait()
		var got []string
		for ev, err := range resume(t, b, ids[0]).Events(t.Context()) {
			require.NoError(t, err)
			switch got = append(got, show(ev)); len(got) {
			case 10:
				assert.Zero(t, store.ranges.Load())
				time.Sleep(time.Hour) // the events in the window expire
			case 1_000:
				assert.Equal(t, numbers(1, 1_000), got)
				assert.EqualValues(t, 1, store.ranges.Load())
				assert.Contains(t, ids[10:], store.after.Load(), "what was read is not read again")
				return
			}
		}
	})
}

func TestABacklogThatTheWindowLeavesBehindGoesOnInTheEngine(t *testing.T) {
	for _, left := range []int{1, 10} {
		synctest.Test(t, func(t *testing.T) {
			store := meter(storetest.NewLog())
			b := newBroker(t, &broker.Options{Store: store, Backlog: 500})
			publish(t, b, 1, 1_000)
			synctest.Wait()
			var got []string
			for ev, err := range subscribe(t, b).Events(t.Context()) {
				require.NoError(t, err)
				switch got = append(got, show(ev)); len(got) {
				case left:
					assert.Zero(t, store.ranges.Load())
					time.Sleep(time.Hour) // the events in the window expire
				case 500:
					assert.Equal(t, numbers(501, 1_000), got)
					assert.EqualValues(t, 1, store.ranges.Load())
					return
				}
			}
		})
	}
}

func TestOrderAndOnceHoldInTheWindowWhileEventsCome(t *testing.T) {
	log := storetest.NewLog()
	store := meter(log)
	b := newBroker(t, &broker.Options{Store: store})
	const clients, events, hops = 20, 3_000, 100
	sub := subscribe(t, b)
	start := publish(t, b, 0, 0)[0]
	take(t, sub, 1) // so the window has begun
	sub.Close()
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			pace := rand.New(rand.NewPCG(uint64(client), 0))
			var got []string
			for cursor := start; len(got) < events; {
				sub, err := b.Resume(cursor)
				if !assert.NoError(t, err) {
					return
				}
				few := 1 + pace.IntN(2*events/hops)
				for ev, err := range sub.Events(t.Context()) {
					if !assert.NoError(t, err) {
						return
					}
					got, cursor = append(got, show(ev)), ev.ID
					if few--; few == 0 || len(got) == events {
						break
					}
				}
				sub.Close()
			}
			assert.Equal(t, numbers(1, events), got)
		})
	}
	publish(t, b, 1, events)
	wg.Wait()
	assert.Zero(t, store.ranges.Load())
}

func TestTheWindowIsBounded(t *testing.T) {
	for _, test := range []struct{ size, round, rounds, most int }{
		{64, 8192, 8, 12 << 20},
		{1 << 20, 1, 64, 24 << 20},
	} {
		t.Run(strconv.Itoa(test.size), func(t *testing.T) {
			log := storetest.NewLog()
			log.Limit(test.round)
			b := newBroker(t, &broker.Options{Store: log})
			sub := subscribe(t, b)
			before := heap()
			for range test.rounds {
				for range test.round {
					_, err := b.Publish(t.Context(), sse.Event{Data: strings.Repeat("x", test.size)})
					require.NoError(t, err)
				}
				require.NotContains(t, take(t, sub, test.round), "gap:")
			}
			assert.Less(t, heap()-before, test.most)
		})
	}
}

// heap returns how many bytes are held.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func TestWhatIsInTheWindowIsServedWhileTheEngineIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := meter(storetest.NewLog())
		b := newBroker(t, &broker.Options{Store: store})
		ids := publish(t, b, 1, 9)
		synctest.Wait()
		store.SetErr(errors.New("away"))
		s := connect(t, b, ids[4])
		assert.Equal(t, strings.Join([]string{block(ids[5], "6"), block(ids[6], "7"), block(ids[7], "8"), block(ids[8], "9")}, ""), s.news())
	})
}
