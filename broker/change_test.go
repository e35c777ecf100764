package broker_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/storetest"
	"github.com/fanfare-go/fanfare/sse"
)

func TestATopicThatIsAddedBeginsNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueSize: 2})
		sub := subscribe(t, b, "a")
		publish(t, b, 1, 2, "a")
		publish(t, b, 3, 4, "b")
		require.NoError(t, sub.Add("b", "a", "b"))
		assert.Equal(t, []int{1, 1}, []int{b.Count("a"), b.Count("b")})
		publish(t, b, 5, 9, "b") // which do not fit, so the Store is asked
		synctest.Wait()
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, slices.Concat(numbers(1, 2), numbers(5, 9)), got)
	})
}

func TestNoTopicsAreNotTheDefaultTopicToAddAndRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		sub, other := subscribe(t, b), subscribe(t, b, "a")
		sub.Remove()
		require.NoError(t, other.Add())
		publish(t, b, 1, 1)
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, numbers(1, 1), got)
		got, err = pending(t, other)
		require.NoError(t, err)
		assert.Empty(t, got)
	})
}

func TestATopicThatIsRemovedIsGoneFromTheQueueAndTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueSize: 4})
		sub := subscribe(t, b, "a", "b")
		for i := range 10 { // six of them are not in the queue
			publish(t, b, 10*i, 10*i, "a")
			publish(t, b, 10*i+1, 10*i+1, "b")
		}
		publish(t, b, 100, 100, "a", "b")
		var got []string
		for ev, err := range sub.Events(t.Context()) {
			require.NoError(t, err)
			got = append(got, ev.Data)
			switch ev.Data {
			case "1":
				sub.Remove("b")
			case "60": // in the middle of the replay
				sub.Remove("a", "unknown")
				require.NoError(t, sub.Add("b"))
				publish(t, b, 101, 101, "b")
			}
			if ev.Data == "101" {
				break
			}
		}
		assert.Equal(t, []string{"0", "1", "10", "20", "30", "40", "50", "60", "101"}, got)
		assert.Equal(t, []int{0, 1}, []int{b.Count("a"), b.Count("b")})
	})
}

func TestWithoutATopicASubscriptionStaysOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		sub, other := subscribe(t, b, "a"), subscribe(t, b)
		sub.Remove("a")
		publish(t, b, 1, 1, "a")
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Empty(t, got)
		require.NoError(t, sub.Add("a"))
		publish(t, b, 2, 2, "a")
		assert.Equal(t, []string{"2"}, take(t, sub, 1))
		sub.Remove("a")
		other.Remove("")
		ends := make(chan error, 1)
		go func() {
			for _, err := range sub.Events(t.Context()) {
				ends <- err
			}
		}()
		synctest.Wait()
		require.NoError(t, b.Shutdown(t.Context()))
		assert.Equal(t, broker.ErrClosed, <-ends)
		assert.Equal(t, broker.ErrClosed, sub.Add("b"))
		assert.Equal(t, broker.ErrClosed, other.Add("b"))
		other.Close()
		other.Remove("a")
	})
}

func TestAStoreWithoutIDsHasOneGapForOneHoleThoughTopicsChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueSize: 2, Store: broker.Discard})
		sub := subscribe(t, b, "a")
		publish(t, b, 1, 9, "a")
		require.NoError(t, sub.Add("b"))
		require.NoError(t, sub.Add("c"))
		synctest.Wait()
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"1", "2", "gap:"}, got)
		publish(t, b, 10, 10, "c")
		assert.Equal(t, []string{"10"}, take(t, sub, 1))
	})
}

// A reference is what a subscription whose topics change is to yield.
type reference struct {
	topics []string
	owed   []owed
}

type owed struct {
	data   string
	topics []string // on which it is wanted
}

func (r *reference) publish(data string, topics []string) {
	wanted := slices.DeleteFunc(slices.Clone(topics), func(t string) bool { return !slices.Contains(r.topics, t) })
	if len(wanted) > 0 {
		r.owed = append(r.owed, owed{data, wanted})
	}
}

func (r *reference) remove(topic string) {
	gone := func(t string) bool { return t == topic }
	r.topics = slices.DeleteFunc(r.topics, gone)
	for i := range r.owed {
		r.owed[i].topics = slices.DeleteFunc(r.owed[i].topics, gone)
	}
	r.owed = slices.DeleteFunc(r.owed, func(o owed) bool { return len(o.topics) == 0 })
}

func (r *reference) add(topic string) {
	if !slices.Contains(r.topics, topic) {
		r.topics = append(r.topics, topic)
	}
}

func TestWhateverChangesASubscriptionYieldsWhatTheReferenceDoes(t *testing.T) {
	caughtUp := uint64(0)
	for seed := range uint64(400) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			store := broker.Store(broker.NewMemoryStore(nil))
			if seed%4 == 0 {
				store = storetest.NewLog().View()
			}
			b := newBroker(t, &broker.Options{QueueSize: 1 + rng.IntN(5), Store: store})
			names := []string{"a", "b", "c", "d"}
			ref := reference{topics: []string{"a", "b"}}
			if rng.IntN(2) == 0 {
				publish(t, b, -9, -1, names...)
				synctest.Wait()
			}
			sub := subscribe(t, b, "a", "b")
			last := 0
			synctest.Wait() // until a Follower is followed
			step := func() {
				topic := names[rng.IntN(len(names))]
				switch rng.IntN(6) {
				case 0:
					ref.add(topic)
					require.NoError(t, sub.Add(topic))
				case 1:
					ref.remove(topic)
					sub.Remove(topic)
				default:
					for range 1 + rng.IntN(4) {
						topics := []string{names[rng.IntN(len(names))], names[rng.IntN(len(names))]}
						last++
						publish(t, b, last, last, topics...)
						if seed%4 == 0 {
							synctest.Wait() // newest is what has been read
						}
						ref.publish(strconv.Itoa(last), topics)
					}
				}
				if rng.IntN(3) == 0 {
					synctest.Wait()
				}
			}
			for range 60 {
				step()
				if len(ref.owed) == 0 || rng.IntN(3) == 0 {
					continue
				}
				for ev, err := range sub.Events(t.Context()) {
					require.NoError(t, err)
					require.Equal(t, ref.owed[0].data, ev.Data, "seed %d", seed)
					ref.owed = ref.owed[1:]
					if rng.IntN(3) == 0 {
						step()
					}
					if len(ref.owed) == 0 || rng.IntN(6) == 0 {
						break
					}
				}
			}
			got, err := pending(t, sub)
			require.NoError(t, err)
			var want []string
			for _, o := range ref.owed {
				want = append(want, o.data)
			}
			assert.Equal(t, want, got, "seed %d", seed)
			caughtUp += b.Stats().CaughtUp
			assert.Zero(t, b.Stats().Gaps)
		})
	}
	assert.Greater(t, caughtUp, uint64(400), "else it says little about the Store")
}

func TestTopicsChangeWhileEventsComeAndOthersStayComplete(t *testing.T) {
	b := newBroker(t, &broker.Options{QueueSize: 4, Store: broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: -1, MaxBytes: -1})})
	sub := subscribe(t, b, "always")
	const events = 3000
	var all sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	all.Go(func() {
		for i := 1; i <= events; i++ {
			topic := "always"
			if i%2 == 0 {
				topic = "sometimes"
			}
			publish(t, b, i, i, topic)
		}
	})
	for range 2 {
		all.Go(func() {
			for ctx.Err() == nil {
				assert.NoError(t, sub.Add("sometimes"))
				sub.Remove("sometimes")
			}
		})
	}
	last, always := 0, 0
	for ev, err := range sub.Events(ctx) {
		require.NoError(t, err)
		n, err := strconv.Atoi(ev.Data)
		require.NoError(t, err)
		require.Greater(t, n, last)
		last = n
		if n%2 == 1 {
			always++
			require.Equal(t, 2*always-1, n)
		}
		if n == events-1 {
			break
		}
	}
	stop()
	all.Wait()
	sub.Remove("sometimes")
	publish(t, b, events+1, events+1, "sometimes", "always")
	for ev, err := range sub.Events(t.Context()) {
		require.NoError(t, err)
		require.Equal(t, sse.Event{ID: ev.ID, Data: strconv.Itoa(events + 1)}, ev)
		break
	}
}
