package broker_test

import (
	"cmp"
	"math/rand/v2"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// byType is a Key: events with a type replace others with the same.
func byType(ev sse.Event, _ []string) string { return ev.Type }

func TestConflateKeepsTheNewestOfEachKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueSize: 4, Slow: broker.Conflate, Key: byType})
		sub := subscribe(t, b)
		say := func(all ...string) {
			for _, s := range all {
				_, err := b.Publish(t.Context(), sse.Event{Type: s[:1], Data: s[1:]})
				require.NoError(t, err)
				synctest.Wait()
			}
		}
		say("a1", "b1", "a2", "b2", "c1", "a3") // c1 finds the queue full, and leaves a2, b2
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"a:2", "b:2", "c:1", "a:3"}, got)
		say("a4", "a5", "a6", "a7", "a8")
		got, err = pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"a:8"}, got, "no more than is needed, and no gap")
		assert.Equal(t, broker.Stats{Subscribers: 1, Published: 11, Delivered: 5, Conflated: 6}, b.Stats())
	})
}

func TestConflateCatchesUpWhereNothingCanBeReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, key := range map[string]func(sse.Event, []string) string{
			"no key":         nil,
			"different keys": func(ev sse.Event, _ []string) string { return ev.Data },
		} {
			b := newBroker(t, &broker.Options{QueueSize: 4, Slow: broker.Conflate, Key: key})
			sub := subscribe(t, b)
			publish(t, b, 1, 100)
			synctest.Wait()
			got, err := pending(t, sub)
			require.NoError(t, err)
			assert.Equal(t, numbers(1, 100), got, name)
		}
	})
}

// A conflation is what a subscriber under Conflate may go without.
type conflation struct {
	published []sse.Event
	next      int // the first event that it has not accounted for
	owed      map[string]bool
}

// take accounts for an event: what lies before it must have a key, and owes a
// later event with that.
func (c *conflation) take(t *testing.T, ev sse.Event) {
	t.Helper()
	for c.next < len(c.published) && c.published[c.next].Data != ev.Data {
		skipped := c.published[c.next]
		require.NotEmpty(t, skipped.Type, "an event without a key is never left out: %v before %v", skipped, ev)
		c.owed[skipped.Type] = true
		c.next++
	}
	require.Less(t, c.next, len(c.published), "%v came twice or out of order", ev)
	require.Equal(t, c.published[c.next].Type, ev.Type)
	delete(c.owed, ev.Type)
	c.next++
}

func TestConflateNeverLeavesOutTheNewestOfAKeyNorWhatHasNone(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			b := newBroker(t, &broker.Options{
				Store:     stores()[[]string{"memory", "follower"}[seed%2]](),
				QueueSize: 1 + rng.IntN(6), QueueBytes: 100 + rng.IntN(400), Slow: broker.Conflate, Key: byType,
			})
			sub := subscribe(t, b)
			c := conflation{owed: map[string]bool{}}
			keys := 1 + rng.IntN(5)
			for range 30 {
				for range rng.IntN(12) {
					ev := sse.Event{Data: strconv.Itoa(len(c.published)), Retry: time.Duration(rng.IntN(2)) * time.Hour}
					if rng.IntN(8) > 0 {
						ev.Type = strings.Repeat("k", 1+rng.IntN(keys))
					}
					c.published = append(c.published, ev)
					_, err := b.Publish(t.Context(), ev)
					require.NoError(t, err)
					if rng.IntN(2) == 0 {
						synctest.Wait()
					}
				}
				if c.next < len(c.published) && rng.IntN(3) > 0 { // or else it is slow
					for ev, err := range sub.Events(t.Context()) {
						require.NoError(t, err)
						c.take(t, ev)
						if c.next == len(c.published) || rng.IntN(4) == 0 {
							break
						}
					}
				}
			}
			_, err := b.Publish(t.Context(), sse.Event{Data: "end"})
			require.NoError(t, err)
			c.published = append(c.published, sse.Event{Data: "end"})
			for ev, err := range sub.Events(t.Context()) {
				require.NoError(t, err)
				c.take(t, ev)
				if ev.Data == "end" {
					break
				}
			}
			assert.Empty(t, c.owed)
			assert.Zero(t, b.Stats().Gaps)
		})
	}
}

func TestConflateHoldsForSlowClientsToo(t *testing.T) {
	for _, detach := range []bool{false, true} {
		b := newBroker(t, &broker.Options{QueueSize: 4, QueueBytes: 8 << 20, Slow: broker.Conflate, Key: byType, Detach: detach})
		srv := httptest.NewServer(b)
		d, resp := open(t, srv.URL, "")
		d.SetMaxEventSize(-1)
		c := conflation{owed: map[string]bool{}}
		say := func(ev sse.Event) {
			c.published = append(c.published, ev)
			_, err := b.Publish(t.Context(), ev)
			require.NoError(t, err)
		}
		wide := strings.Repeat("x", 1<<20)
		for i := range 25 { // more than sockets hold
			say(sse.Event{Type: "ab"[i%2 : i%2+1], Data: strconv.Itoa(i) + wide})
			time.Sleep(time.Millisecond)
		}
		say(sse.Event{Data: "end"})
		for {
			ev, err := d.Decode()
			require.NoError(t, err)
			ev.ID = ""
			c.take(t, ev)
			if ev.Data == "end" {
				break
			}
		}
		assert.Empty(t, c.owed)
		assert.Positive(t, b.Stats().Conflated, "detach=%t", detach)
		resp.Body.Close()
		require.NoError(t, b.Close())
		srv.Close()
	}
}

func TestTopicsChangeInTheirPlaceThoughEventsBeforeItWereReplaced(t *testing.T) {
	for name, test := range map[string]struct {
		before, after [][3]string // type, data, topic
		want          []string
	}{
		"nothing is lost":     {[][3]string{{"x", "1", "a"}, {"y", "2", "a"}}, [][3]string{{"x", "3", "b"}}, []string{"y:2", "x:3"}},
		"nothing is repeated": {[][3]string{{"x", "1", "a"}, {"x", "2", "a"}}, [][3]string{{"x", "3", "a"}, {"u", "4", "a"}, {"v", "5", "a"}}, []string{"x:3", "u:4", "v:5"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, &broker.Options{QueueSize: 2, Slow: broker.Conflate, Key: byType})
				sub := subscribe(t, b, "a")
				publish := func(events [][3]string) {
					for _, e := range events {
						_, err := b.Publish(t.Context(), sse.Event{Type: e[0], Data: e[1]}, e[2])
						require.NoError(t, err)
						synctest.Wait()
					}
				}
				publish(test.before)
				require.NoError(t, sub.Add("b"))
				synctest.Wait()
				publish(test.after)
				got, err := pending(t, sub)
				require.NoError(t, err)
				assert.Equal(t, test.want, got)
			})
		})
	}
}

func TestABurstOfOneKeyIsNotTooMuchForWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueSize: 4, Slow: broker.Conflate, Store: broker.Discard, Key: byType})
		sub := subscribe(t, b)
		p := newPeer(t, b, "")
		last, done := "", make(chan struct{})
		go func() {
			defer close(done)
			for ev := range sub.Events(t.Context()) {
				last = cmp.Or(ev.Data, last)
			}
		}()
		for range 50 {
			synctest.Wait()
			for i := range 20 {
				_, err := b.Publish(t.Context(), sse.Event{Type: "k", Data: strconv.Itoa(i)})
				require.NoError(t, err)
			}
		}
		synctest.Wait()
		assert.Equal(t, []uint64{0, 0}, []uint64{b.Stats().Gaps, b.Stats().CaughtUp})
		p.Close()
		sub.Close()
		<-done
		assert.Equal(t, "19", last)
	})
}
