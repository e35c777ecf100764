package broker_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/storetest"
	"github.com/fanfare-go/fanfare/sse"
)

// say has b publish events, each with a type of one letter before its data, one
// after the other has been delivered. To be called in a bubble.
func say(t *testing.T, b *broker.Broker, all ...string) {
	t.Helper()
	for _, s := range all {
		_, err := b.Publish(t.Context(), sse.Event{Type: s[:1], Data: s[1:]})
		require.NoError(t, err)
		synctest.Wait()
	}
}

func TestConflateKeepsTheNewestOfEachKeyOfAFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		opts := broker.Options{QueueSize: 4, Slow: broker.Conflate, Key: byType}
		opts.Store = log.View()
		here := newBroker(t, &opts)
		opts.Store = log.View()
		there := newBroker(t, &opts)
		synctest.Wait() // until both follow
		sub := subscribe(t, here)
		say(t, here, "a1", "b1", "a2")
		say(t, there, "b2", "c1", "a3") // c1 finds the queue full, and leaves a2, b2
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"a:2", "b:2", "c:1", "a:3"}, got)
		say(t, there, "a4", "a5", "a6", "a7", "a8")
		got, err = pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"a:8"}, got, "no more than is needed, and no gap")
		assert.Equal(t, broker.Stats{Subscribers: 1, Published: 3, Delivered: 5, Conflated: 6}, here.Stats())
	})
}

func TestAKeyIsAskedForOnceForEachEventWhereItIsDelivered(t *testing.T) {
	for name, store := range stores() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var asked []string
				s := store()
				b := newBroker(t, &broker.Options{Store: s, Slow: broker.Conflate, Key: func(ev sse.Event, topics []string) string {
					mu.Lock()
					defer mu.Unlock()
					asked = append(asked, fmt.Sprint(ev.Data, topics))
					return ""
				}})
				synctest.Wait() // until it follows
				publish(t, b, 1, 1)
				publish(t, b, 2, 2, "b", "a", "b")
				want := []string{"1[]", "2[a b]"}
				if _, ok := s.(broker.Follower); ok {
					_, err := s.Append(t.Context(), sse.Event{Data: "3"}, []string{"d", "c", "d"}) // by another program
					require.NoError(t, err)
					want = append(want, "3[c d]")
				}
				synctest.Wait()
				mu.Lock()
				defer mu.Unlock()
				assert.Equal(t, want, asked)
			})
		})
	}
}

func TestNoKeyIsAskedForUnderAnotherPolicy(t *testing.T) {
	for _, store := range stores() {
		synctest.Test(t, func(t *testing.T) {
			b := newBroker(t, &broker.Options{Store: store(), Key: func(sse.Event, []string) string {
				t.Error("asked")
				return ""
			}})
			sub := subscribe(t, b)
			publish(t, b, 1, 1)
			assert.Equal(t, []string{"1"}, take(t, sub, 1))
		})
	}
}

func TestUnderConflateAGapOfTheFollowerStandsInItsPlace(t *testing.T) {
	for name, test := range map[string]struct{ queued, after, want []string }{
		"alone":        {nil, []string{"a7"}, []string{"gap:", "a:7"}},
		"behind one":   {[]string{"a1"}, []string{"b7"}, []string{"a:1", "gap:", "b:7"}},
		"made room":    {[]string{"a1", "a2", "b1", "b2"}, []string{"c7"}, []string{"a:2", "b:2", "gap:", "c:7"}},
		"all replaced": {[]string{"a1", "a2", "a3"}, []string{"a7", "a8"}, []string{"gap:", "a:8"}},
		"still needed": {[]string{"a1", "b1"}, []string{"a7", "a8", "a9"}, []string{"b:1", "gap:", "a:9"}},
		"no room":      {[]string{"a1", "b1", "c1", "d1"}, []string{"a7", "b7"}, []string{"a:1", "b:1", "c:1", "d:1", "gap:", "a:7", "b:7"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := storetest.NewLog()
				view := log.View()
				b := newBroker(t, &broker.Options{Store: view, QueueSize: 4, Slow: broker.Conflate, Key: byType})
				synctest.Wait() // until it follows
				var subs []*broker.Subscription
				for range 4 * runtime.GOMAXPROCS(0) {
					subs = append(subs, subscribe(t, b))
				}
				say(t, b, test.queued...)
				view.SetErr(errors.New("away"))
				for _, typ := range []string{"x", "y", "z"} { // by others, and gone at once
					_, err := log.Append(t.Context(), sse.Event{Type: typ}, []string{""})
					require.NoError(t, err)
				}
				log.Trim(100)
				view.SetErr(nil)
				time.Sleep(10 * time.Second)
				say(t, b, test.after...)

				for _, sub := range subs {
					got, err := pending(t, sub)
					require.NoError(t, err)
					assert.Equal(t, test.want, got)
				}
			})
		})
	}
}

func TestUnderConflateOneGapOfTheFollowerIsToldOnce(t *testing.T) {
	for name, test := range map[string]struct {
		opts broker.Options
		run  func(sub *broker.Subscription, add, lose func(string))
		want []string
	}{
		"with an earlier gap in the queue": {
			broker.Options{QueueSize: 3},
			func(_ *broker.Subscription, add, lose func(string)) { lose("a1"); add("b1"); lose("c1") },
			[]string{"gap:", "a:1", "b:1", "gap:", "c:1"},
		},
		"with the mark of a loop that has ended": {
			broker.Options{QueueSize: 1},
			func(sub *broker.Subscription, add, lose func(string)) {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				go add("a1")
				for range sub.Events(ctx) {
					cancel()
					time.Sleep(time.Second)
					break
				}
				lose("b1")
			},
			[]string{"gap:", "b:1"},
		},
		"with room for the gap, and not for what follows": {
			broker.Options{QueueSize: 10, QueueBytes: 40},
			func(_ *broker.Subscription, add, lose func(string)) {
				add("a1")
				add("b1")
				lose("c" + strings.Repeat("1", 25))
			},
			[]string{"a:1", "b:1", "gap:", "c:" + strings.Repeat("1", 25)},
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			log := storetest.NewLog()
			view := log.View()
			add := func(s string) {
				_, err := log.Append(context.Background(), sse.Event{Type: s[:1], Data: s[1:]}, []string{""})
				assert.NoError(t, err)
				synctest.Wait()
			}
			lose := func(next string) {
				view.Pause()
				add("x")
				add("x")
				log.Trim(1 << 20)
				add(next)
				view.Resume()
				synctest.Wait()
			}
			opts := test.opts
			opts.Store, opts.Slow, opts.Key = view, broker.Conflate, byType
			b := newBroker(t, &opts)
			add("s")
			sub := subscribe(t, b)
			test.run(sub, add, lose)
			got, err := pending(t, sub)
			require.NoError(t, err)
			assert.Equal(t, test.want, got, name)
		})
	}
}
