package broker_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

func TestAnIdleSubscriberHasNoGoroutineAndNoQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const peers, size = 16, 1 << 16 // a queue is a megabyte
		b := newShard(t, &broker.Options{QueueSize: size, WriteTimeout: time.Hour, Heartbeat: -1})
		newPeer(t, b, "").Close()
		publish(t, b, 1, 1)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		goroutines, heap := runtime.NumGoroutine(), collected() // some of other tests may be about to end

		all := newPeers(t, b, peers)
		publish(t, b, 2, 2)
		synctest.Wait()
		assert.Less(t, collected()-heap, 1<<20, "who keeps up never has one")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.LessOrEqual(t, runtime.NumGoroutine(), goroutines+peers+1, "those that a server would have for them, and a worker")

		for _, p := range all {
			free := p.stick()
			publish(t, b, 3, 3)
			synctest.Wait()
			publish(t, b, 4, 4) // which is queued
			synctest.Wait()
			free()
		}
		time.Sleep(2 * time.Second)
		publish(t, b, 5, 5) // which is carried
		synctest.Wait()
		assert.Less(t, collected()-heap, 1<<20, "who was idle in between has none")
		require.LessOrEqual(t, runtime.NumGoroutine(), goroutines+peers+1)
	})
}

func TestAHeartbeatComesExactlyWhenNothingHasForTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval = 10 * time.Second
		b := newShard(t, &broker.Options{Store: broker.Discard, Heartbeat: interval})
		p := newPeer(t, b, "")
		last := time.Now()
		for n, pause := range []time.Duration{
			interval - 1, 1, 2 * time.Millisecond, interval / 2, interval / 2, interval + 1,
			interval - time.Millisecond, 3*interval + time.Second, interval - 1, interval - 1,
		} {
			for end := time.Now().Add(pause); end.Sub(last) >= interval; {
				time.Sleep(time.Until(last.Add(interval)))
				synctest.Wait()
				last = last.Add(interval)
				require.Equal(t, write{":\n\n", last, true}, p.last(), "after %v", pause)
				if end.Sub(last) < interval {
					time.Sleep(time.Until(end))
				}
			}
			if d := last.Add(interval); time.Now().Before(d) && pause < interval {
				time.Sleep(pause)
			}
			publish(t, b, n, n)
			synctest.Wait()
			last = time.Now()
			require.Equal(t, last, p.last().at)
			require.NotEqual(t, ":\n\n", p.last().text)
		}
	})
}

func TestGoroutinesThatBeginStreamsAreUsedAgainAndEndSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShard(t, &broker.Options{Heartbeat: -1})
		newPeers(t, b, 20) // one after the other
		assert.Equal(t, 1, running("broker.(*Broker).perform"))
		time.Sleep(100*time.Millisecond - 1)
		synctest.Wait()
		assert.Equal(t, 1, running("broker.(*Broker).perform"))
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assert.Zero(t, running("broker.(*Broker).perform"))

		newPeer(t, b, "")
		assert.Equal(t, 1, running("broker.(*Broker).perform"))
		require.NoError(t, b.Shutdown(t.Context()))
		synctest.Wait()
		assert.Zero(t, running("broker.(*Broker).perform"), "the Broker has ended")
	})
}

// A tracker is a subscriber that comes back time and again, until it has had the
// event with the number until. Numbers rise by one, but behind a Gap.
type tracker struct {
	until  int
	gaps   bool // there may be some
	cuts   bool // it goes away at any event
	at     int
	cursor string
	behind bool // a Gap
}

// take returns whether it goes away, now that it has got ev.
func (r *tracker) take(ev sse.Event) (away bool, err error) {
	if ev.Type == "gap" {
		if r.behind || !r.gaps {
			return true, fmt.Errorf("a Gap after %d, behind another: %t", r.at, r.behind)
		}
		r.behind = true
		return false, nil
	}
	n, err := strconv.Atoi(ev.Data)
	if err != nil || n != r.at+1 && !(r.behind && n > r.at) {
		return true, fmt.Errorf("%q after %d, behind a Gap: %t", ev.Data, r.at, r.behind)
	}
	r.at, r.cursor, r.behind = n, ev.ID, false
	return n >= r.until || r.cuts && rand.IntN(50) == 0, nil
}

// run takes all there is. stream is one connection, or the like.
func (r *tracker) run(t *testing.T, stream func(cursor string, events func(iter.Seq2[sse.Event, error]))) {
	for r.at < r.until && !t.Failed() {
		r.behind = false // from its cursor on it gets all again
		stream(r.cursor, func(events iter.Seq2[sse.Event, error]) {
			for ev, err := range events {
				if err != nil {
					return // it comes back
				}
				away, err := r.take(ev)
				assert.NoError(t, err)
				if away {
					return
				}
			}
		})
	}
}

// gated is a ResponseWriter that waits before some writes.
type gated struct {
	http.ResponseWriter
	gate <-chan struct{}
}

func (g *gated) Unwrap() http.ResponseWriter { return g.ResponseWriter }

func (g *gated) Write(p []byte) (int, error) {
	if rand.IntN(4) == 0 {
		<-g.gate
	}
	return g.ResponseWriter.Write(p)
}

// Under the race detector this is a test of whose turn it is.
func TestSubscribersOfAllKindsGetAllInOrderHoweverTheirTurnsCome(t *testing.T) {
	until := 1_000
	if *soak > 0 {
		until = 50_000
	}
	for name, policy := range map[string]broker.SlowPolicy{
		"CatchUp": broker.CatchUp, "Disconnect": broker.Disconnect,
		"DropOldest": broker.DropOldest, "DropNewest": broker.DropNewest,
	} {
		for _, size := range []int{1, 3} {
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				b := newBroker(t, &broker.Options{
					QueueSize: size, Slow: policy, Detach: true, Heartbeat: 4 * time.Millisecond,
					Store: broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: -1, MaxBytes: -1}),
				})
				srv := loopback(t, b)
				gate := make(chan struct{})
				ordinary := func(cursor string, events func(iter.Seq2[sse.Event, error])) {
					rec := ssetest.Record(nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						b.ServeHTTP(&gated{w, gate}, r)
					}), ssetest.NewRequest("/", cursor))
					defer rec.Close()
					events(rec.Events())
				}
				detached := func(cursor string, events func(iter.Seq2[sse.Event, error])) {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					r := get(t, srv.URL).WithContext(ctx)
					r.Header.Set("Last-Event-ID", cursor)
					resp, err := srv.Client().Do(r)
					if assert.NoError(t, err) {
						defer resp.Body.Close()
						events(sse.Events(resp.Body))
					}
				}
				inProcess := func(cursor string, events func(iter.Seq2[sse.Event, error])) {
					sub, err := b.Resume(cursor)
					if assert.NoError(t, err) {
						defer sub.Close()
						events(sub.Events(t.Context()))
					}
				}
				first := publish(t, b, 1, 1)[0]
				var reading, opening sync.WaitGroup
				for _, stream := range []func(string, func(iter.Seq2[sse.Event, error])){ordinary, detached, inProcess} {
					for i := range 4 {
						reading.Go(func() {
							r := &tracker{until: until, cuts: i > 0, at: 1, cursor: first, gaps: policy > broker.Disconnect}
							r.run(t, stream)
						})
					}
				}
				done := make(chan struct{})
				opening.Go(func() {
					for {
						select {
						case gate <- struct{}{}:
						case <-done:
							return
						}
						for range rand.IntN(20) {
							runtime.Gosched()
						}
					}
				})
				opening.Go(func() {
					for n := 2; ; n++ {
						select {
						case <-done:
							return
						default:
						}
						publish(t, b, n, n)
						for rand.IntN(2*size) == 0 && rand.IntN(10) > 0 {
							runtime.Gosched()
						}
					}
				})
				reading.Wait()
				close(done)
				opening.Wait()
			})
		}
	}
}
