package fanfare_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/storetest"
	"github.com/fanfare-go/fanfare/sse"
)

// An engine is a Follower in memory, for as many Brokers as there are, that
// counts what it is asked for.
type engine struct {
	log      *storetest.Log
	followed atomic.Int64 // events that Follow yielded
	ranged   atomic.Int64 // calls of Range
}

// newEngine returns one that holds the newest events of a few rounds.
func newEngine() *engine {
	e := &engine{log: storetest.NewLog()}
	e.log.Limit(4096)
	return e
}

func (e *engine) node() broker.Follower { return &metered{e.log.View(), e} }

// metered is one Broker's way to an engine.
type metered struct {
	*storetest.View
	engine *engine
}

func (m *metered) Follow(ctx context.Context, after string) iter.Seq2[broker.Message, error] {
	return func(yield func(broker.Message, error) bool) {
		for msg, err := range m.View.Follow(ctx, after) {
			m.engine.followed.Add(1)
			if !yield(msg, err) {
				return
			}
		}
	}
}

func (m *metered) Range(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
	m.engine.ranged.Add(1)
	return m.View.Range(ctx, q)
}

// BenchmarkNodes delivers bursts of 64 events to 1,000 subscriptions on each of
// several Brokers that share an engine. What a delivery costs does not depend
// on how many there are, and engine-events/event, which are what the engine
// hands out for an event that is published, is their number, whoever
// subscribes. On a machine with few cores the nodes share them, so only CPU
// times are those of a cluster.
func BenchmarkNodes(b *testing.B) {
	const each = 1_000
	for _, n := range []int{1, 2, 4, 8, 16} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			e := newEngine()
			var nodes []*crowd
			for range n {
				// The engine is faster than any other: it fills the queues before
				// anybody is woken up.
				c := newCrowd(b, broker.New(&broker.Options{Store: e.node(), QueueSize: 4 * burst}), burst)
				// Until it has heard from the engine, a node misses what others publish.
				if _, err := c.broker.Publish(b.Context(), sse.Event{}, "hello"); err != nil {
					b.Fatal(err)
				}
				c.join(b, each, "")
				nodes = append(nodes, c)
			}
			round := func() {
				for _, c := range nodes {
					c.expect("")
				}
				nodes[0].publish(b, "")
				for _, c := range nodes {
					c.await(b)
				}
			}
			round() // stacks grow and memory is touched for the first time
			e.followed.Store(0)
			b.ReportAllocs()
			used := newUsage(b)
			for b.Loop() {
				round()
			}
			used.report("delivery", n*each*burst)
			reportDeliveries(b, n*each*burst)
			b.ReportMetric(float64(e.followed.Load())/float64(b.N*burst), "engine-events/event")
			for _, c := range nodes {
				mustBeSmooth(b, c.broker)
			}
			if n := e.ranged.Load(); n > 0 {
				b.Fatalf("the engine was asked for history %d times", n)
			}
		})
	}
}

// BenchmarkComeBack has 10,000 subscriptions come back at once to a Broker on
// an engine, each 100 events behind: all of it comes from memory.
func BenchmarkComeBack(b *testing.B) {
	const subscriptions, behind = 10_000, 100
	e := newEngine()
	br := broker.New(&broker.Options{Store: e.node()})
	b.Cleanup(func() { br.Close() })
	c := newCrowd(b, br, 1+behind)
	c.join(b, 1, "")
	c.expect("")
	var cursor string // of the first event
	for _, ev := range c.events {
		id, err := br.Publish(b.Context(), ev)
		if err != nil {
			b.Fatal(err)
		}
		cursor = cmp.Or(cursor, id)
	}
	c.await(b)
	b.ReportAllocs()
	used := newUsage(b)
	for b.Loop() {
		for range subscriptions {
			sub, err := br.Resume(cursor)
			if err != nil {
				b.Fatal(err)
			}
			next := 1
			for ev, err := range sub.Events(b.Context()) {
				if err != nil || ev.Data != c.events[next].Data {
					b.Fatalf("got %+v, %v instead of event %d", ev, err, next)
				}
				if next++; next == len(c.events) {
					break
				}
			}
			sub.Close()
		}
	}
	used.report("subscription", subscriptions)
	reportEvents(b, subscriptions*behind)
	if n := e.ranged.Load(); n > 0 {
		b.Fatalf("the engine was asked for history %d times", n)
	}
}

// BenchmarkConnect connects 1,000 subscribers over HTTP, each of whom lacks the
// newest event and gets it, and ends them: what each of those costs who come
// back after a node has gone.
func BenchmarkConnect(b *testing.B) {
	const subscribers = 1_000
	for _, detach := range []bool{false, true} {
		b.Run(fmt.Sprintf("detach=%t", detach), func(b *testing.B) {
			s := serve(b, &broker.Options{Detach: detach}, 64)
			cursor := s.publisher.next
			next := cursor
			next.next()
			if err := s.publisher.publish(2); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			used := newUsage(b)
			for b.Loop() {
				s.connect(order{Subscribers: subscribers, Cursor: cursor.String(), Next: next.String()})
				s.fleet.do(order{Do: "await", Events: subscribers})
				s.fleet.do(order{Do: "hang up"})
			}
			used.report("connection", subscribers)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*subscribers), "ns/connection")
		})
	}
}

// BenchmarkShutdown shuts down a Broker with so many streams, and has each come
// back when it was told to: connections/s-peak is the most of them in a second,
// and s-until-back when the last one comes.
func BenchmarkShutdown(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 30_000} {
		b.Run(fmt.Sprintf("subscribers=%d", n), func(b *testing.B) {
			var waits []time.Duration
			used := newUsage(b)
			for b.Loop() {
				waits = waitsAfterShutdown(b, n)
			}
			used.report("subscriber", n)
			slices.Sort(waits)
			peak := 0
			for first, last := 0, 0; last < len(waits); last++ {
				for waits[last]-waits[first] >= time.Second {
					first++
				}
				peak = max(peak, last-first+1)
			}
			b.ReportMetric(float64(peak), "connections/s-peak")
			b.ReportMetric(waits[len(waits)-1].Seconds(), "s-until-back")
		})
	}
}

// waitsAfterShutdown returns how long each of n streams is told to wait.
func waitsAfterShutdown(b *testing.B, n int) (waits []time.Duration) {
	br := broker.New(nil)
	defer br.Close()
	streams := make([]sink, n)
	var wg sync.WaitGroup
	for i := range streams {
		wg.Go(func() { br.ServeHTTP(&streams[i], httptest.NewRequest(http.MethodGet, "/", nil)) })
	}
	for br.Stats().Subscribers < n {
		time.Sleep(time.Millisecond)
	}
	if err := br.Shutdown(b.Context()); err != nil {
		b.Fatal(err)
	}
	wg.Wait()
	for i := range streams {
		d := sse.NewDecoder(&streams[i].body)
		if _, err := d.Decode(); err != io.EOF || d.Retry() < time.Second {
			b.Fatalf("a stream ends with %v, and is told to wait %v", err, d.Retry())
		}
		waits = append(waits, d.Retry())
	}
	return waits
}

// A sink is a ResponseWriter that keeps what is written.
type sink struct {
	header http.Header
	body   bytes.Buffer
}

func (s *sink) Header() http.Header {
	if s.header == nil {
		s.header = make(http.Header)
	}
	return s.header
}

func (s *sink) Write(p []byte) (int, error) { return s.body.Write(p) }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Flush()                      {}
