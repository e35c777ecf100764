package broker_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/storetest"
	"github.com/fanfare-go/fanfare/sse"
)

func TestOneEventThatDropNewestDiscardsIsAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueSize: 2, Slow: broker.DropNewest})
		sub := subscribe(t, b)
		publish(t, b, 1, 3)
		assert.Equal(t, uint64(1), subscribers(b)[0].Dropped)
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"1", "2", "gap:"}, got)
	})
}

func TestWhatIsGatheredIsBoundedAsTheQueueIs(t *testing.T) {
	size := len(block(strings.Repeat("1", 99), "99"))
	for name, opts := range map[string]*broker.Options{"bytes": {QueueBytes: 3 * size}, "events": {QueueSize: 4}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opts.FlushInterval = time.Hour
				b := newBroker(t, opts)
				sub := subscribe(t, b)
				for i := range 50 {
					_, err := b.Publish(t.Context(), sse.Event{ID: strings.Repeat("1", 97) + strconv.Itoa(i+10), Data: strconv.Itoa(i + 10)})
					require.NoError(t, err)
				}
				assert.Equal(t, 4, subscribers(b)[0].Queued)
				assert.Equal(t, 4*size, subscribers(b)[0].QueuedBytes)
				got, err := pending(t, sub)
				require.NoError(t, err)
				assert.Equal(t, numbers(10, 59), got)
			})
		})
	}
}

func TestAFlushIntervalEndsEarlyOnceThereIsMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{FlushInterval: time.Hour, QueueSize: 1_000})
		subs := []*broker.Subscription{subscribe(t, b), subscribe(t, b), subscribe(t, b), subscribe(t, b)}
		publish(t, b, 1, 255)
		for _, sub := range subs {
			got, err := pending(t, sub)
			require.NoError(t, err)
			assert.Empty(t, got)
		}
		publish(t, b, 256, 256)
		for _, sub := range subs {
			got, err := pending(t, sub)
			require.NoError(t, err)
			assert.Equal(t, numbers(1, 256), got)
		}
	})
}

func TestALagBeginsWithTheFirstEventInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		sub := subscribe(t, b)
		for range 2 {
			publish(t, b, 1, 1)
			time.Sleep(time.Minute)
			publish(t, b, 2, 2)
			time.Sleep(time.Second)
			pending(t, sub)
			publish(t, b, 1, 1)
			time.Sleep(time.Minute)
			publish(t, b, 2, 2)
			time.Sleep(time.Second)
			assert.Equal(t, 61*time.Second, subscribers(b)[0].Lag)
			pending(t, sub)
		}
	})
}

func TestALagOfWhatIsGatheredBeginsWhenItIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Two are too large for a batch, so the second has the first queued early.
		large := sse.Event{Data: strings.Repeat("x", 40<<10)}
		b := newBroker(t, &broker.Options{FlushInterval: time.Minute})
		sub := subscribe(t, b)
		for range 3 {
			pending(t, sub)
			time.Sleep(10 * time.Minute)
			for range 2 {
				_, err := b.Publish(t.Context(), large)
				require.NoError(t, err)
			}
			time.Sleep(5 * time.Second)
			assert.Equal(t, 5*time.Second, subscribers(b)[0].Lag)
			time.Sleep(time.Minute)
		}
	})
}

func TestALagOfWhatIsQueuedByAChangeBeginsThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{FlushInterval: time.Second})
		sub := subscribe(t, b, "a")
		for i := range 3 {
			pending(t, sub)
			time.Sleep(time.Hour)
			publish(t, b, 2, 2, "a")
			time.Sleep(time.Second / 2)
			require.NoError(t, sub.Add(fmt.Sprint("b", i)))
			time.Sleep(10 * time.Millisecond)
			assert.Equal(t, 10*time.Millisecond, subscribers(b)[0].Lag)
			time.Sleep(time.Second)
		}
	})
}

func TestAnEventLargerThanTheQueueIsDeliveredBehindAGapToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		view := log.View()
		b := newBroker(t, &broker.Options{Store: view, QueueBytes: 10, Slow: broker.DropNewest})
		sub := subscribe(t, b)
		synctest.Wait() // until it follows
		publish(t, b, 1, 1)
		assert.Equal(t, []string{"1"}, take(t, sub, 1))
		trimmed(t, log, view, "another")
		time.Sleep(10 * time.Second)
		large := strings.Repeat("x", 1000)
		_, err := b.Publish(t.Context(), sse.Event{Data: large})
		require.NoError(t, err)
		synctest.Wait()
		assert.Equal(t, []string{"gap:", large}, take(t, sub, 2))
		assert.Zero(t, b.Stats().Dropped)
	})
}

func TestAnEventLargerThanTheQueueIsDeliveredBehindWhatALoopHasTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueBytes: 200, Slow: broker.DropNewest, FlushInterval: time.Second})
		sub := subscribe(t, b)
		publish(t, b, 1, 3)
		time.Sleep(time.Second)
		assert.Equal(t, []string{"1"}, take(t, sub, 1))
		large := strings.Repeat("x", 1000)
		_, err := b.Publish(t.Context(), sse.Event{Data: large})
		require.NoError(t, err)
		time.Sleep(time.Second)
		assert.Equal(t, []string{"2", "3", large}, take(t, sub, 3))
		assert.Zero(t, b.Stats().Dropped)
	})
}

func TestAGapLeavesRoomForAnEventInTheSmallestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, policy := range []broker.SlowPolicy{broker.CatchUp, broker.DropOldest, broker.DropNewest, broker.Conflate} {
			log := storetest.NewLog()
			view := log.View()
			b := newBroker(t, &broker.Options{Store: view, QueueSize: 1, Slow: policy})
			subs := []*broker.Subscription{subscribe(t, b), subscribe(t, b), subscribe(t, b), subscribe(t, b, "", "two")}
			synctest.Wait() // until it follows
			publish(t, b, 1, 1)
			for _, sub := range subs {
				assert.Equal(t, []string{"1"}, take(t, sub, 1))
			}
			trimmed(t, log, view, "another")
			time.Sleep(10 * time.Second)
			publish(t, b, 10, 10)
			synctest.Wait()
			for _, sub := range subs {
				got, err := pending(t, sub)
				require.NoError(t, err)
				assert.Equal(t, []string{"gap:", "10"}, got, "policy %d", policy)
			}
			assert.Equal(t, 4, b.Stats().Subscribers)
		}
	})
}

func TestAGapOfTheFollowerStandsBehindWhatWasGatheredBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		view := log.View()
		b := newBroker(t, &broker.Options{Store: view, FlushInterval: time.Hour})
		sub := subscribe(t, b, "", "another")
		synctest.Wait() // until it follows
		publish(t, b, 1, 2)
		synctest.Wait()
		trimmed(t, log, view, "another")
		time.Sleep(2 * time.Hour)
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"1", "2", "gap:", "7", "8", "9"}, got)
	})
}

func TestAHeartbeatComesBehindWhatWasGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Store: namedStore(nil), FlushInterval: time.Hour})
		s := connect(t, b, "")
		s.news()
		time.Sleep(14 * time.Second)
		publish(t, b, 1, 2)
		assert.Equal(t, "", s.news())
		time.Sleep(time.Second)
		assert.Equal(t, block("1", "1")+block("2", "2"), s.news())
	})
}

func TestUnderConflateBytesCountBeyondTheFirstEventThatIsLeft(t *testing.T) {
	for name, test := range map[string]struct {
		gap      bool
		last     string // the size of the last event, in units
		caughtUp int
	}{
		"room":            {false, "x", 0},
		"no room":         {false, "xx", 1},
		"room behind gap": {true, "x", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := storetest.NewLog()
				view := log.View()
				const unit = 1000
				b := newBroker(t, &broker.Options{Store: view, QueueBytes: 3*unit + 500, Slow: broker.Conflate, Key: byType})
				sub := subscribe(t, b)
				synctest.Wait() // until it follows
				say(t, b, "z0")
				assert.Equal(t, []string{"z:0"}, take(t, sub, 1))
				want := []string{"b:x", "c:xx", "a:" + test.last}
				if test.gap {
					trimmed(t, log, view, "another")
					time.Sleep(10 * time.Second)
					want = append([]string{"gap:"}, want...)
				}
				for _, s := range []string{"axxxxxxxxx", "bx", "cxx", "a" + test.last} {
					say(t, b, s[:1]+strings.Repeat(s[1:], unit))
				}
				got, err := pending(t, sub)
				require.NoError(t, err)
				for i, s := range got {
					got[i] = strings.ReplaceAll(s, strings.Repeat("x", unit), "x")
				}
				assert.Equal(t, want, got)
				assert.EqualValues(t, test.caughtUp, b.Stats().CaughtUp)
			})
		})
	}
}

func TestConflateKeepsTheOrderWhileTheQueueIsTakenFrom(t *testing.T) {
	b := newBroker(t, &broker.Options{
		QueueSize: 3, Slow: broker.Conflate, Key: byType,
		Store: broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: -1}),
	})
	sub := subscribe(t, b)
	const last = 20_000
	c := conflation{owed: map[string]bool{}}
	for i := range last {
		c.published = append(c.published, sse.Event{Type: "ab"[i%2 : i%2+1], Data: strconv.Itoa(i)})
	}
	c.published = append(c.published, sse.Event{Data: "end"})
	go func() {
		for _, ev := range c.published {
			_, _ = b.Publish(t.Context(), ev)
		}
	}()
	for ev, err := range sub.Events(t.Context()) {
		require.NoError(t, err)
		ev.ID = ""
		if c.take(t, ev); ev.Data == "end" {
			break
		}
	}
	assert.Empty(t, c.owed)
}
