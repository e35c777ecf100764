package broker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// A wanting is a subscription with what it should get.
type wanting struct {
	*broker.Subscription
	topics map[string]bool
	events []wanted
}

// A wanted event is one that a subscriber has not taken yet.
type wanted struct {
	data   string
	topics map[string]bool // those it is wanted for
}

// want says that s should get data, if topics are among its own.
func (s *wanting) want(data string, topics []string) {
	of := make(map[string]bool)
	for _, topic := range topics {
		if s.topics[topic] {
			of[topic] = true
		}
	}
	if len(of) > 0 {
		s.events = append(s.events, wanted{data, of})
	}
}

// remove removes topics, and what is wanted for nothing else.
func (s *wanting) remove(topics []string) {
	s.Remove(topics...)
	for _, topic := range topics {
		delete(s.topics, topic)
		for _, ev := range s.events {
			delete(ev.topics, topic)
		}
	}
	s.events = slices.DeleteFunc(s.events, func(ev wanted) bool { return len(ev.topics) == 0 })
}

// What is gathered for many at once is not for those who come in between, or
// change their topics, and those who leave take it away from nobody.
func TestWhoComesAndGoesBetweenFlushesGetsWhatIsForThem(t *testing.T) {
	all := []string{"a", "b", "a:b", ""}
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			some := func() []string {
				rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
				return slices.Clone(all[:1+rng.IntN(len(all))])
			}
			b := newShard(t, &broker.Options{Store: broker.Discard, FlushInterval: time.Second, QueueSize: 1000, QueueBytes: 16 << 20})
			var open []*wanting
			for n := range 80 {
				if len(open) == 0 {
					open = append(open, &wanting{subscribe(t, b, "a"), map[string]bool{"a": true}, nil})
				}
				one := rng.IntN(len(open))
				switch rng.IntN(10) {
				case 0, 1:
					topics := some()
					s := &wanting{subscribe(t, b, topics...), make(map[string]bool), nil}
					for _, topic := range topics {
						s.topics[topic] = true
					}
					open = append(open, s)
				case 2:
					topics := some()
					require.NoError(t, open[one].Add(topics...))
					for _, topic := range topics {
						open[one].topics[topic] = true
					}
				case 3:
					open[one].remove(some())
				case 4:
					open[one].Close()
					open = slices.Delete(open, one, one+1)
				case 5:
					time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
				default:
					// Of the large ones three fill a batch.
					data, topics := fmt.Sprint(n)+strings.Repeat(" ", rng.IntN(2)*20<<10), some()
					_, err := b.Publish(t.Context(), sse.Event{Data: data}, topics...)
					require.NoError(t, err)
					for _, s := range open {
						s.want(data, topics)
					}
				}
			}
			if rng.IntN(2) == 0 {
				time.Sleep(time.Minute) // else some of it is still gathered
			}
			for _, s := range open {
				var want []string
				for _, ev := range s.events {
					want = append(want, ev.data)
				}
				require.Equal(t, want, take(t, s.Subscription, len(want)), "seed %d", seed)
				rest, err := pending(t, s.Subscription)
				require.NoError(t, err)
				require.Empty(t, rest)
			}
		})
	}
}

func TestWhatIsGatheredIsQueuedForThoseForWhomItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShard(t, &broker.Options{Store: broker.Discard, FlushInterval: time.Hour, Topics: broker.AnyQueryTopic("t")})
		early := subscribe(t, b, "a", "b")
		publish(t, b, 1, 2, "a")
		late := subscribe(t, b, "b", "a") // the same topics
		other := subscribe(t, b, "b")
		publish(t, b, 3, 3, "b")
		size := len(block("", "1"))
		type queued struct{ events, bytes int }
		got := make(map[queued]int)
		for _, s := range subscribers(b) {
			got[queued{s.Queued, s.QueuedBytes}]++
		}
		assert.Equal(t, map[queued]int{{3, 3 * size}: 1, {1, size}: 2}, got)
		require.NoError(t, late.Add("c")) // has what was gathered handed out, once
		synctest.Wait()
		publish(t, b, 4, 4, "c")
		time.Sleep(time.Hour)
		assert.Equal(t, numbers(1, 3), take(t, early, 3))
		assert.Equal(t, numbers(3, 4), take(t, late, 2))
		assert.Equal(t, numbers(3, 3), take(t, other, 1))
	})
}

func TestWhatIsGatheredIsHandedOutOnceToWhoIsWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShard(t, &broker.Options{Store: broker.Discard, FlushInterval: time.Second})
		sub := subscribe(t, b)
		publish(t, b, 1, 1)
		_, err := pending(t, sub) // the end of its context has the loop look around
		require.NoError(t, err)
		publish(t, b, 2, 2)
		time.Sleep(2 * time.Second)
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, numbers(1, 2), got)
	})
}

func TestThoseWhoComeTogetherShareWhatComesForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShard(t, &broker.Options{Store: broker.Discard, FlushInterval: time.Second})
		subscribe(t, b)
		const n, size = 500, 16 << 10
		publish(t, b, 1, 1)
		for range n {
			subscribe(t, b)
		}
		synctest.Wait()
		before := collected()
		for range 2 {
			_, err := b.Publish(t.Context(), sse.Event{Data: strings.Repeat("x", size)})
			require.NoError(t, err)
		}
		time.Sleep(2 * time.Second)
		assert.Less(t, collected()-before, n*size/2)
	})
}

// Topics that nobody is subscribed to any more cost nothing.
func TestAGroupEndsWithTheLastOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShard(t, nil)
		come := func(from, n int) {
			for i := range n {
				topic := fmt.Sprint(from + i)
				sub, err := b.Subscribe("all", topic, strings.Repeat(topic, 20))
				require.NoError(t, err)
				sub.Close()
			}
			synctest.Wait()
		}
		come(0, 1000)
		before := heap()
		come(1000, 10_000)
		assert.Less(t, heap()-before, 256<<10)
		sub := subscribe(t, b, "all")
		publish(t, b, 1, 1, "all")
		assert.Equal(t, numbers(1, 1), take(t, sub, 1))
	})
}

// Who is woken while something is gathered gets the rest of it in a batch of its
// own, of which there may be room for less than all.
func TestABatchOfOnesOwnHoldsNothingThatDidNotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, size = 50, 48 << 10
		b := newShard(t, &broker.Options{Store: broker.Discard, FlushInterval: time.Second, QueueSize: 3, Slow: broker.DropNewest})
		over, end := context.WithCancel(t.Context())
		end()
		subs := make([]*broker.Subscription, 0, n)
		before := collected()
		for i := range n {
			topic := fmt.Sprint(i)
			sub := subscribe(t, b, topic)
			publish(t, b, 1, 1, topic)
			time.Sleep(2 * time.Second)
			publish(t, b, 2, 2, topic)
			for _, err := range sub.Events(over) {
				require.Equal(t, context.Canceled, err)
			}
			synctest.Wait()
			publish(t, b, 3, 3, topic)
			_, err := b.Publish(t.Context(), sse.Event{Data: strings.Repeat("x", size)}, topic)
			require.NoError(t, err)
			time.Sleep(2 * time.Second)
			subs = append(subs, sub)
		}
		assert.Less(t, collected()-before, n*size/2)
		for _, sub := range subs {
			assert.Equal(t, append(numbers(1, 3), "gap:"), take(t, sub, 4))
		}
	})
}
