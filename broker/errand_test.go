package broker_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// newShard returns a Broker with a single shard, all of whose subscribers share
// their errands.
func newShard(t testing.TB, opts *broker.Options) *broker.Broker {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	return newBroker(t, opts)
}

// A peer is a client whose ResponseWriter the test has in its hands. To be used
// in a bubble.
type peer struct {
	*ssetest.Recorder
	panicked any // with which its handler has

	mu     sync.Mutex // guards what follows
	before func()     // called before each write; nil: nothing
	writes []write
}

// A write is one that a peer has got.
type write struct {
	text   string
	at     time.Time
	worker bool // it was done by a worker
}

// take returns the writes since it was called last.
func (p *peer) take() (writes []write) {
	p.mu.Lock()
	defer p.mu.Unlock()
	writes, p.writes = p.writes, nil
	return writes
}

// newPeer connects a peer to topic.
func newPeer(t testing.TB, b *broker.Broker, topic string) *peer {
	p := new(peer)
	h := b.Handler(topic)
	p.Recorder = ssetest.Record(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p.panicked = recover(); p.panicked != nil {
				panic(http.ErrAbortHandler)
			}
		}()
		h.ServeHTTP(&held{w, p}, r)
	}), nil)
	synctest.Wait()
	return p
}

func newPeers(t testing.TB, b *broker.Broker, n int) (peers []*peer) {
	for range n {
		peers = append(peers, newPeer(t, b, ""))
	}
	return peers
}

// do calls f before each write from now on.
func (p *peer) do(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = f
}

// stick has the next write wait until free is called.
func (p *peer) stick() (free func()) {
	gate := make(chan struct{})
	p.do(func() { <-gate })
	return func() { p.do(nil); close(gate); synctest.Wait() }
}

// last returns the newest write.
func (p *peer) last() write {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.writes) == 0 {
		return write{}
	}
	return p.writes[len(p.writes)-1]
}

// held is the ResponseWriter of a peer.
type held struct {
	http.ResponseWriter
	peer *peer
}

func (h *held) Unwrap() http.ResponseWriter { return h.ResponseWriter }

func (h *held) Write(b []byte) (int, error) {
	h.peer.mu.Lock()
	before := h.peer.before
	h.peer.mu.Unlock()
	if before != nil {
		before()
	}
	stack := make([]byte, 16<<10)
	stack = stack[:runtime.Stack(stack, false)]
	h.peer.mu.Lock()
	h.peer.writes = append(h.peer.writes, write{string(b), time.Now(), strings.Contains(string(stack), "broker.(*worker).work(")})
	h.peer.mu.Unlock()
	return h.ResponseWriter.Write(b)
}

// running returns how many goroutines are in a function, for instance
// "broker.(*worker).work".
func running(function string) int {
	stacks := make([]byte, 8<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return strings.Count(string(stacks), function+"(")
}

func TestWhoIsStuckDelaysTheOthersOnceAndBriefly(t *testing.T) {
	for stuck, most := range map[int]time.Duration{1: 4 * time.Millisecond, 100: 12 * time.Millisecond, 1000: 20 * time.Millisecond} {
		t.Run(fmt.Sprint(stuck), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newShard(t, &broker.Options{Store: broker.Discard, WriteTimeout: time.Hour, Heartbeat: -1})
				healthy := newPeers(t, b, 100)
				bad := newPeers(t, b, stuck) // the last, as they have the first turns
				n := 0
				// delay publishes an event, and returns how long the last of the
				// healthy had to wait for it.
				delay := func() (most time.Duration) {
					n++
					start := time.Now()
					publish(t, b, n, n)
					time.Sleep(time.Second)
					synctest.Wait()
					for _, p := range healthy {
						require.Equal(t, block("", fmt.Sprint(n)), p.last().text)
						most = max(most, p.last().at.Sub(start))
					}
					return most
				}
				stick := func() (free func()) {
					var all []func()
					for _, p := range bad {
						all = append(all, p.stick())
					}
					return func() {
						for _, free := range all {
							free()
						}
					}
				}
				require.Zero(t, delay())

				free := stick()
				first := delay()
				assert.Positive(t, first)
				assert.LessOrEqual(t, first, most)
				assert.Zero(t, delay(), "while they are stuck")
				free()

				// They are not waited for any more, whenever they are stuck, until
				// they have kept up.
				for range 3 {
					free = stick()
					assert.Zero(t, delay())
					free()
				}
				for range 60 {
					assert.Zero(t, delay())
					assert.False(t, bad[0].last().worker)
				}
				for range 10 {
					assert.Zero(t, delay())
				}
				for _, p := range bad {
					assert.True(t, p.last().worker)
					assert.Equal(t, block("", fmt.Sprint(n)), p.last().text)
				}
			})
		})
	}
}

func TestWhoIsStuckAgainAndAgainDelaysTheOthersOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShard(t, &broker.Options{Store: broker.Discard, WriteTimeout: time.Hour, Heartbeat: -1})
		healthy, bad := newPeer(t, b, ""), newPeer(t, b, "")
		writes, delays := 0, 0
		bad.do(func() {
			if writes++; writes%2 == 1 {
				time.Sleep(time.Second)
			}
		})
		for n := range 100 {
			start := time.Now()
			publish(t, b, n, n)
			time.Sleep(10 * time.Second)
			if healthy.last().at.After(start) {
				delays++
			}
		}
		assert.Equal(t, 1, delays)
	})
}

// Turns that are slow but not stuck add up, unless somebody helps.
func TestSlowTurnsOfManyDelayTheOthersBriefly(t *testing.T) {
	for name, turn := range map[string]func(n int) time.Duration{
		"each a little":       func(int) time.Duration { return 990 * time.Microsecond },
		"every second longer": func(n int) time.Duration { return time.Duration(n%2) * 3900 * time.Microsecond },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newShard(t, &broker.Options{Store: broker.Discard, WriteTimeout: time.Hour, Heartbeat: -1})
				healthy := newPeer(t, b, "")
				for _, p := range newPeers(t, b, 1000) {
					n := 0
					p.do(func() { n++; time.Sleep(turn(n)) })
				}
				for n := range 10 {
					start := time.Now()
					publish(t, b, n, n)
					for range 20 {
						time.Sleep(time.Millisecond)
						if workers := running("broker.(*worker).do"); turn(0) > 0 {
							assert.LessOrEqual(t, workers, 100, "none of them is stuck")
						}
					}
					time.Sleep(10 * time.Second)
					require.Equal(t, block("", fmt.Sprint(n)), healthy.last().text)
					assert.LessOrEqual(t, healthy.last().at.Sub(start), 40*time.Millisecond, "event %d", n)
				}
			})
		})
	}
}

func TestWhoIsStuckInOneErrandDelaysTheNextBriefly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const stuck = 200
		b := newShard(t, &broker.Options{Store: broker.Discard, WriteTimeout: time.Hour, Heartbeat: -1})
		healthy := newPeer(t, b, "healthy")
		var all []func()
		for i := range stuck {
			all = append(all, newPeer(t, b, fmt.Sprint(i)).stick())
		}
		for i := range stuck {
			publish(t, b, 1, 1, fmt.Sprint(i))
			synctest.Wait() // so that each is an errand
		}
		start := time.Now()
		publish(t, b, 1, 1, "healthy")
		time.Sleep(time.Minute)
		assert.LessOrEqual(t, healthy.last().at.Sub(start), 20*time.Millisecond)
		for _, free := range all {
			free()
		}
		assert.Equal(t, 1, running("broker.(*worker).work"))
	})
}

func TestOfWorkersThatWereStuckNoneIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShard(t, &broker.Options{WriteTimeout: time.Hour, Heartbeat: -1})
		peers := newPeers(t, b, 10)
		publish(t, b, 1, 1)
		synctest.Wait()
		require.Equal(t, 1, running("broker.(*worker).work"))

		for n := range 3 {
			var free []func()
			for _, p := range peers[:4] {
				free = append(free, p.stick())
			}
			publish(t, b, n, n)
			time.Sleep(time.Second)
			if n == 0 { // else they have goroutines of their own
				assert.Equal(t, 4+1, running("broker.(*worker).work"))
			}
			for _, f := range free {
				f()
			}
			assert.Equal(t, 1, running("broker.(*worker).work"))
		}
		require.NoError(t, b.Close())
		synctest.Wait()
		assert.Zero(t, running("broker.(*worker).work"))
	})
}

// onErrand returns two peers that have the event 1: the write of 2 to one of them is
// under way until free is called, and the other waits in the same errand.
func onErrand(t *testing.T, store broker.Store) (b *broker.Broker, stuck, waits *peer, free func()) {
	b = newShard(t, &broker.Options{Store: store, WriteTimeout: time.Hour, Heartbeat: -1})
	peers := newPeers(t, b, 2)
	publish(t, b, 1, 1)
	synctest.Wait()
	free = peers[1].stick() // who came last has the first turn
	publish(t, b, 2, 2)
	synctest.Wait()
	return b, peers[1], peers[0], free
}

func TestWhatWaitsInAnErrandIsDiscardedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, stuck, waits, free := onErrand(t, nil)
		require.Equal(t, 2, b.End(func(broker.Subscriber) bool { return true }))
		free()
		assert.Contains(t, stuck.Body(), "data: 2\n", "its write was under way")
		assert.Contains(t, waits.Body(), "data: 1\n")
		assert.NotContains(t, waits.Body(), "data: 2\n")
	})
}

func TestWhatIsQueuedBeforeTheTurnIsOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, waits, free := onErrand(t, nil)
		before := len(waits.writes)
		for n := 3; n < 6; n++ {
			publish(t, b, n, n)
			synctest.Wait()
		}
		free()
		require.Len(t, waits.writes, before+1)
		assert.Equal(t, 4, strings.Count(waits.last().text, "data: "))
	})
}

func TestWhatWasNotWrittenIsNotInTheBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShard(t, &broker.Options{WriteTimeout: time.Hour, Heartbeat: -1})
		p := newPeer(t, b, "")
		publish(t, b, 1, 1)
		synctest.Wait()
		written := b.Stats().Bytes
		require.NotZero(t, written)
		p.do(func() { panic("on purpose") })
		publish(t, b, 2, 2)
		synctest.Wait()
		assert.Equal(t, written, b.Stats().Bytes)
	})
}

// The errands wait behind a worker that is stuck; those that find no more room
// to wait are gone on by others.
func TestAnyNumberOfErrandsAtOnceLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const errands, room = 300, 256
		b := newShard(t, &broker.Options{WriteTimeout: time.Hour, Heartbeat: -1})
		stuck := newPeer(t, b, "stuck")
		var peers []*peer
		for i := range errands {
			peers = append(peers, newPeer(t, b, fmt.Sprint(i)))
		}
		free := stuck.stick()
		publish(t, b, 0, 0, "stuck")
		synctest.Wait()
		served := func() (n int) {
			for _, p := range peers {
				if strings.Contains(p.last().text, "data: 1\n") {
					n++
				}
			}
			return n
		}
		for i := range peers {
			publish(t, b, 1, 1, fmt.Sprint(i))
			synctest.Wait() // so that each is an errand
		}
		assert.Equal(t, room+1, served(), "the first that found no room has brought help for all")
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		assert.Equal(t, errands, served())
		free()
		assert.Contains(t, stuck.last().text, "data: 0\n")
		assert.Equal(t, 1, running("broker.(*worker).work"))
	})
}

func TestAResponseWriterThatPanicsCostsOnlyItsStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShard(t, &broker.Options{Store: broker.Discard, Heartbeat: -1})
		peers := newPeers(t, b, 5)
		worker := false
		peers[2].do(func() {
			worker = running("broker.(*worker).do") == 1
			panic("oops")
		})
		publish(t, b, 1, 1)
		synctest.Wait()
		assert.True(t, worker)
		assert.Equal(t, "oops", peers[2].panicked)
		publish(t, b, 2, 2)
		synctest.Wait()
		for i, p := range peers {
			if i != 2 {
				assert.Equal(t, block("", "1")+block("", "2"), p.Body())
			}
		}
		assert.Equal(t, 4, b.Stats().Subscribers)
	})
}

func TestAResponseWriterThatPanicsAtTheEndCostsOnlyItsStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShard(t, &broker.Options{Heartbeat: -1})
		p := newPeer(t, b, "")
		p.do(func() { panic("oops") })
		require.NoError(t, b.Shutdown(t.Context()))
		synctest.Wait()
		assert.Equal(t, "oops", p.panicked)
		assert.Equal(t, 0, b.Stats().Subscribers)
	})
}

func TestAResponseWriterWhoseDeadlinesFailCostsOnlyItsStream(t *testing.T) {
	for name, c := range map[string]struct {
		fail func()
		want any
	}{
		"panic":  {func() { panic("oops") }, "oops"},
		"Goexit": {runtime.Goexit, http.ErrAbortHandler},
	} {
		for _, atTheEnd := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " ", atTheEnd), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newShard(t, &broker.Options{Heartbeat: -1})
					var panicked any
					var fails atomic.Bool
					fails.Store(!atTheEnd)
					rec := ssetest.Record(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						defer func() { panicked = recover() }()
						b.ServeHTTP(deadless{w, &fails, c.fail}, r)
					}), nil)
					synctest.Wait()
					fails.Store(true)
					rec.Close()
					synctest.Wait()
					assert.Equal(t, c.want, panicked)
					assert.Equal(t, 0, b.Stats().Subscribers)
					assert.NoError(t, b.Shutdown(t.Context()))
				})
			})
		}
	}
}

// deadless is a ResponseWriter without deadlines that are of any use.
type deadless struct {
	http.ResponseWriter
	fails *atomic.Bool
	fail  func()
}

func (d deadless) Flush() {}

func (d deadless) SetWriteDeadline(time.Time) error {
	if d.fails.Load() {
		d.fail()
	}
	return nil
}

func TestAResponseWriterThatEndsItsGoroutineCostsOnlyItsStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShard(t, &broker.Options{Store: broker.Discard, Heartbeat: -1})
		peers := newPeers(t, b, 5)
		peers[2].do(runtime.Goexit)
		publish(t, b, 1, 2)
		time.Sleep(time.Second)
		synctest.Wait()
		for i, p := range peers {
			if i != 2 {
				assert.Equal(t, block("", "1")+block("", "2"), p.Body())
			}
		}
		assert.Equal(t, http.ErrAbortHandler, peers[2].panicked)
		assert.Equal(t, 4, b.Stats().Subscribers)
		require.NoError(t, b.Shutdown(t.Context()))
	})
}

func TestAWorkerThatGetsOnIsNotRelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShard(t, &broker.Options{Store: broker.Discard, Heartbeat: -1})
		peers := newPeers(t, b, 100)
		for _, p := range peers {
			p.do(func() { time.Sleep(200 * time.Microsecond) })
		}
		for n := range 5 {
			publish(t, b, n, n)
			for range 3 {
				time.Sleep(5 * time.Millisecond)
				require.Equal(t, 1, running("broker.(*worker).do"))
			}
			time.Sleep(time.Second)
			for _, p := range peers {
				require.Equal(t, fmt.Sprintf("data: %d\n\n", n), p.last().text)
				require.True(t, p.last().worker)
			}
		}
	})
}

func TestOnlyWhoWasInTheWayIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShard(t, &broker.Options{Store: broker.Discard, Heartbeat: -1})
		peers := newPeers(t, b, 20)
		// The last have the first turns. The first worker is relieved from one of
		// them and goes on with the others while the second is with the next one.
		last := len(peers) - 1
		peers[last].do(func() { time.Sleep(4100 * time.Microsecond) })
		peers[last-1].do(func() { time.Sleep(400 * time.Microsecond) })
		publish(t, b, 1, 1)
		time.Sleep(time.Second)
		publish(t, b, 2, 2)
		time.Sleep(time.Second)
		for i, p := range peers {
			require.Equal(t, "data: 2\n\n", p.last().text)
			require.Equal(t, i != last, p.last().worker, "peer %d", i)
		}
	})
}

func TestAWriteThatFailsIsNobodyElsesDebt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShard(t, &broker.Options{Store: broker.Discard, Heartbeat: -1})
		peers := newPeers(t, b, 3)
		time.Sleep(time.Second)
		peers[2].do(func() { panic(http.ErrAbortHandler) }) // the last has the first turn
		publish(t, b, 1, 1)
		time.Sleep(time.Second)
		assert.Equal(t, 2, b.Stats().Subscribers)
		publish(t, b, 2, 2)
		time.Sleep(time.Second)
		for _, p := range peers[:2] {
			assert.Equal(t, "data: 2\n\n", p.last().text)
			assert.True(t, p.last().worker)
		}
	})
}

func TestALoggerThatTakesItsTimeCostsNobodyElseAny(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logged := 0
		b := newShard(t, &broker.Options{Store: broker.Discard, WriteTimeout: 100 * time.Millisecond, Heartbeat: -1,
			Slow: broker.DropNewest, QueueSize: 1, Logger: slog.New(slowLog{slog.DiscardHandler, func() {
				logged++
				assert.Zero(t, running("broker.(*worker).do"))
			}})})
		p := newPeer(t, b, "")
		time.Sleep(time.Second)
		p.do(func() { time.Sleep(500 * time.Microsecond); p.do(nil) })
		publish(t, b, 1, 1)
		synctest.Wait()
		publish(t, b, 2, 9) // for some of which there is no room
		time.Sleep(10 * time.Second)
		assert.Equal(t, 1, b.Stats().Subscribers)
		assert.Contains(t, p.Body(), "gap")
		assert.Positive(t, logged)
	})
}

// A slowLog takes longer than a write may.
type slowLog struct {
	slog.Handler
	before func()
}

func (slowLog) Enabled(context.Context, slog.Level) bool { return true }

func (l slowLog) Handle(context.Context, slog.Record) error {
	l.before()
	time.Sleep(150 * time.Millisecond)
	return nil
}
