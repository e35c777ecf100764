package fanfare_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/fanfare-go/fanfare/broker"
)

// BenchmarkFanOutHTTP delivers bursts of events of 64 bytes to subscribers over
// HTTP/1.1. In bursts of 1 every event is flushed on its own, and a round is one
// delivery to each and the way back of the news that all have it; larger ones
// are coalesced.
func BenchmarkFanOutHTTP(b *testing.B) {
	for _, detach := range []bool{false, true} {
		for _, n := range []int{1, 100, 1_000, 10_000} {
			for _, size := range []int{1, burst} {
				b.Run(fmt.Sprintf("detach=%t/subscribers=%d/burst=%d", detach, n, size), func(b *testing.B) {
					s := serve(b, &broker.Options{Detach: detach}, 64)
					s.connect(order{Subscribers: n})
					s.round(n, size) // stacks grow and memory is touched for the first time
					b.ReportAllocs()
					used := newUsage(b)
					for b.Loop() {
						s.round(n, size)
					}
					used.report("delivery", n*size)
					reportDeliveries(b, n*size)
					mustBeSmooth(b, s.broker)
				})
			}
		}
	}
}

// BenchmarkPublishBesideStuck delivers bursts of events of 1 KiB to 50
// subscribers over HTTP, alone and beside 50 others that have stopped reading.
// ns/publish is the time that Publish takes, for one event.
func BenchmarkPublishBesideStuck(b *testing.B) {
	const healthy = 50
	for _, detach := range []bool{false, true} {
		for _, stuck := range []int{0, 50} {
			b.Run(fmt.Sprintf("detach=%t/stuck=%d", detach, stuck), func(b *testing.B) {
				// Nothing is to end them before the benchmark does.
				s := serve(b, &broker.Options{Detach: detach, WriteTimeout: time.Hour}, 1<<10)
				s.connect(order{Subscribers: healthy})
				s.connect(order{Subscribers: stuck, Mute: true})
				for range 64 { // 4 MiB: more than the buffers on the way take
					s.round(healthy, burst)
				}
				s.publishing = 0
				b.ReportAllocs()
				for b.Loop() {
					s.round(healthy, burst)
				}
				b.ReportMetric(float64(s.publishing.Nanoseconds())/float64(b.N*burst), "ns/publish")
				reportDeliveries(b, healthy*burst)
				if n := s.broker.Stats().Subscribers; n != healthy+stuck {
					b.Fatalf("%d subscribers are left of %d", n, healthy+stuck)
				}
			})
		}
	}
}

// BenchmarkLatency publishes 100 events of 64 bytes a second to 500 subscribers
// over HTTP; see paced.
func BenchmarkLatency(b *testing.B) {
	for _, detach := range []bool{false, true} {
		b.Run(fmt.Sprintf("detach=%t", detach), func(b *testing.B) {
			paced(b, &broker.Options{Detach: detach}, 10*time.Millisecond)
		})
	}
}

// BenchmarkFlushInterval publishes 1,000 events of 64 bytes a second to 500
// subscribers over HTTP, and shows what gathering them for 5 ms saves and costs;
// see paced.
func BenchmarkFlushInterval(b *testing.B) {
	for _, interval := range []time.Duration{0, 5 * time.Millisecond} {
		b.Run(fmt.Sprintf("interval=%v", interval), func(b *testing.B) {
			paced(b, &broker.Options{FlushInterval: interval}, time.Millisecond)
		})
	}
}

// paced publishes an event to 500 subscribers at every tick, whether or not the
// one before has arrived. µs-p50 and µs-p99 are the times from Publish to the
// arrival in the subscriber's process that half of the deliveries, and 99 in
// 100, do not exceed.
func paced(b *testing.B, opts *broker.Options, tick time.Duration) {
	const subscribers = 500
	s := serve(b, opts, 64)
	s.connect(order{Subscribers: subscribers, Timed: true})
	s.round(subscribers, 1)
	var published []int64
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	b.ReportAllocs()
	used := newUsage(b)
	for b.Loop() {
		<-ticker.C
		published = append(published, time.Now().UnixNano())
		if err := s.publisher.publish(1); err != nil {
			b.Fatal(err)
		}
	}
	s.fleet.do(order{Do: "await", Events: subscribers * len(published)})
	used.report("delivery", subscribers)

	var times []int64
	for _, arrivals := range s.fleet.do(order{Do: "arrivals"}).Arrivals {
		for i, at := range arrivals[1:] { // the first was for warming up
			times = append(times, at-published[i])
		}
	}
	if len(times) != subscribers*len(published) {
		b.Fatalf("%d deliveries of %d events to %d subscribers", len(times), len(published), subscribers)
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2])/1e3, "µs-p50")
	b.ReportMetric(float64(times[len(times)*99/100])/1e3, "µs-p99")
	b.ReportMetric(0, "ns/op") // it is the tick
}

// BenchmarkIdle connects 4,000 subscribers over HTTP to a server in a fresh
// process, and has it say, after a collection, what one costs that has got one
// event and waits: B/subscriber of heap and stacks, and RSS/subscriber of
// resident memory, where the system tells it. The kernel's socket is in neither.
func BenchmarkIdle(b *testing.B) {
	const subscribers = 4_000
	for _, detach := range []bool{false, true} {
		b.Run(fmt.Sprintf("detach=%t", detach), func(b *testing.B) {
			fits(b, subscribers)
			var live, resident int
			for b.Loop() {
				server, clients := startChild(b), startChild(b)
				addr := server.do(order{Do: "serve", Size: 64, Detach: detach}).Addr
				before := server.do(order{Do: "memory"}).Memory
				clients.do(order{Do: "connect", Addr: addr, Subscribers: subscribers, Size: 64, Next: firstSerial.String()})
				server.do(order{Do: "publish", Events: 1})
				clients.do(order{Do: "await", Events: subscribers})
				time.Sleep(500 * time.Millisecond) // what is idle for this long is idle
				after := server.do(order{Do: "memory"}).Memory
				live += after.Live - before.Live
				resident += after.Resident - before.Resident
				clients.end()
				server.end()
			}
			b.ReportMetric(float64(live)/float64(b.N*subscribers), "B/subscriber")
			if resident != 0 {
				b.ReportMetric(float64(resident)/float64(b.N*subscribers), "RSS/subscriber")
			}
			b.ReportMetric(0, "ns/op") // it is the time to connect
		})
	}
}

// A service is a Broker behind an http.Server in this process, with its
// subscribers in another.
type service struct {
	b          *testing.B
	broker     *broker.Broker
	publisher  *publisher
	publishing time.Duration // spent in Publish by rounds
	addr       string
	size       int
	fleet      *process
}

// serve serves a Broker of events with so many bytes of data.
func serve(b *testing.B, opts *broker.Options, size int) *service {
	br := broker.New(opts)
	srv, addr, err := listen(br)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		br.Close()
		// Handlers that still return would disturb the next benchmark.
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			b.Error(err)
		}
	})
	return &service{b: b, broker: br, publisher: newPublisher(br, size), addr: addr, size: size, fleet: startChild(b)}
}

// connect adds the subscribers of o, by default to what comes next.
func (s *service) connect(o order) {
	fits(s.b, o.Subscribers)
	o.Do, o.Addr, o.Size = "connect", s.addr, s.size
	if o.Next == "" {
		o.Next = s.publisher.next.String()
	}
	s.fleet.do(o)
}

// round publishes a burst of events and waits until all subscribers, of whom
// there are so many, have it.
func (s *service) round(subscribers, events int) {
	s.fleet.tell(order{Do: "await", Events: subscribers * events})
	began := time.Now()
	if err := s.publisher.publish(events); err != nil {
		s.b.Fatal(err)
	}
	s.publishing += time.Since(began)
	s.fleet.reply()
}

// fits skips b if a process cannot have so many connections, and says so: package
// testing does not.
func fits(b *testing.B, connections int) {
	const others = 50
	if limit, ok := descriptorLimit(); ok && uint64(connections)+others > limit {
		fmt.Fprintf(os.Stderr, "%s is skipped: a process may have %d descriptors here (ulimit -H -n)\n", b.Name(), limit)
		b.SkipNow()
	}
}

// listen serves h on loopback until Shutdown.
func listen(h http.Handler) (srv *http.Server, addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	srv = &http.Server{Handler: h}
	go srv.Serve(l) // returns with Shutdown
	return srv, l.Addr().String(), nil
}
