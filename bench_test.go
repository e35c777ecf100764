// Package fanfare_test holds the benchmarks: how fast fanfare is here, on this
// machine, with nothing to install or to set. Everything runs on loopback and
// ends by itself.
//
//	go test -run '^$' -bench .                           # all, in a few minutes
//	go test -run '^$' -bench FanOutHTTP -cpuprofile cpu.out
//	go test -run '^$' -bench 'FanOut$' -count 10         # for benchstat
//
// Nothing is measured that did not arrive: every delivery is checked to be the
// next event of its subscriber, whole and unchanged, and a benchmark fails if
// one is lost, comes twice, or had to be replayed because a queue was full. A
// round ends when everybody has everything.
//
// A delivery is one event for one subscriber; ns/delivery and deliveries/s are
// wall time, with publishing and receiving in them. cpu-ns/delivery, where the
// system tells it, is the CPU time of this process, user and system, on all
// cores. Subscribers over HTTP run in a child process, so that allocations, CPU
// times and profiles are those of the server alone, and so that a process needs
// only one descriptor for each.
package fanfare_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// burst is how many events are published at once where nothing else is said:
// as many as a queue holds by default.
const burst = 64

// patience is how long a round may take before it fails for what is missing.
const patience = time.Minute

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == childArg {
		child(os.Stdin, os.Stdout)
		return
	}
	ssetest.Main(m)
}

// BenchmarkFanOut delivers bursts of events of 64 bytes to subscriptions in
// process, each ranged over by a goroutine of its own.
//
// In bursts of 64 the cost of a delivery does not depend on their number: what
// the processor has to fetch for a subscription it fetches once for the burst.
// In bursts of 1 nearly all of the cost is to wake up a goroutine, which touches
// its stack, its queue and a dozen other places, some 2 KiB. Where that is not
// in a cache any more for all of them together, it costs more: with 32 MiB of
// third-level cache, which other machines use as well, up to twice as much with
// 10,000 of them, mostly 1.4 times, and 2.7 times with 100,000. Bare channels
// become slower by about the same factors, see BenchmarkFanOutChannels.
func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{1, 100, 1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("subscriptions=%d", n), func(b *testing.B) {
			c := newCrowd(b, broker.New(nil), burst)
			c.join(b, n, "")
			c.round(b, "") // stacks grow and memory is touched for the first time
			for _, size := range []int{1, burst} {
				c.setEvents(size)
				b.Run(fmt.Sprintf("burst=%d", size), func(b *testing.B) {
					b.ReportAllocs()
					used := newUsage(b)
					for b.Loop() {
						c.round(b, "")
					}
					c.report(b, used, n*size)
				})
			}
		})
	}
}

// BenchmarkFanOutChannels is the floor for bursts of 1 of BenchmarkFanOut: there is
// no Broker. One goroutine per core sends the event to its part of the channels, each
// of which has a goroutine behind it.
func BenchmarkFanOutChannels(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("subscriptions=%d", n), func(b *testing.B) {
			event := &sse.Event{Data: strings.Repeat("x", 64)}
			var pending atomic.Int64
			arrived := make(chan struct{})
			var wg, senders sync.WaitGroup
			var shards []chan *sse.Event
			for i := range runtime.GOMAXPROCS(0) {
				var queues []chan *sse.Event
				for range n*(i+1)/runtime.GOMAXPROCS(0) - n*i/runtime.GOMAXPROCS(0) {
					queue := make(chan *sse.Event, 64)
					queues = append(queues, queue)
					wg.Go(func() {
						for ev := range queue {
							if len(ev.Data) == 64 && pending.Add(-1) == 0 {
								arrived <- struct{}{}
							}
						}
					})
				}
				shard := make(chan *sse.Event, 1)
				shards = append(shards, shard)
				senders.Go(func() {
					for ev := range shard {
						for _, queue := range queues {
							queue <- ev
						}
					}
					for _, queue := range queues {
						close(queue)
					}
				})
			}
			round := func() {
				pending.Store(int64(n))
				for _, shard := range shards {
					shard <- event
				}
				<-arrived
			}
			round()
			used := newUsage(b)
			for b.Loop() {
				round()
			}
			used.report("delivery", n)
			reportDeliveries(b, n)
			for _, shard := range shards {
				close(shard)
			}
			senders.Wait()
			wg.Wait()
		})
	}
}

// BenchmarkTopics delivers each burst to the 10 subscriptions of one topic: to
// the same every time, or to the next of 1,000.
func BenchmarkTopics(b *testing.B) {
	const each = 10
	for _, n := range []int{1, 1_000} {
		b.Run(fmt.Sprintf("topics=%d", n), func(b *testing.B) {
			c := newCrowd(b, broker.New(nil), burst)
			topics := topicNames(n)
			for _, topic := range topics {
				c.join(b, each, topic)
				c.round(b, topic)
			}
			b.ReportAllocs()
			used := newUsage(b)
			for i := 0; b.Loop(); i = (i + 1) % n {
				c.round(b, topics[i])
			}
			c.report(b, used, each*burst)
		})
	}
}

// BenchmarkPublishToOne publishes 64 events on 64 topics that have one
// subscription each. How many other topics there are should not matter, and
// neither how many shards a Broker has: it has one per core.
func BenchmarkPublishToOne(b *testing.B) {
	for _, bm := range []struct{ topics, shards int }{{64, 2}, {100_000, 2}, {100_000, 64}} {
		b.Run(fmt.Sprintf("topics=%d/shards=%d", bm.topics, bm.shards), func(b *testing.B) {
			cores := runtime.GOMAXPROCS(bm.shards)
			c := newCrowd(b, broker.New(nil), 1)
			runtime.GOMAXPROCS(cores)
			topics := topicNames(bm.topics)
			for _, topic := range topics {
				c.join(b, 1, topic)
			}
			c.round(b, topics...)
			b.ReportAllocs()
			used := newUsage(b)
			for i := 0; b.Loop(); i = (i + burst) % (len(topics) - burst + 1) {
				c.round(b, topics[i:i+burst]...)
			}
			c.report(b, used, burst)
		})
	}
}

// BenchmarkReplay resumes a subscription that is 1,000 events of 100 bytes
// behind.
func BenchmarkReplay(b *testing.B) {
	const behind = 1_000
	br := broker.New(nil)
	b.Cleanup(func() { br.Close() })
	p := newPublisher(br, 100)
	if err := p.publish(1 + behind); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		next := firstSerial
		sub, err := br.Resume(next.String())
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for ev, err := range sub.Events(b.Context()) {
			if next.next(); err != nil || ev.ID != string(next[:]) || ev.Data != p.data {
				b.Fatalf("got %+v, %v instead of event %s", ev, err, next)
			}
			if n++; n == behind {
				break
			}
		}
		sub.Close()
	}
	reportEvents(b, behind)
	mustBeSmooth(b, br)
}

// topicNames returns the names of n topics.
func topicNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("topic %d", i)
	}
	return names
}
