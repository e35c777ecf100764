package fanfare_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// BenchmarkReplayStorm lets 1,000 clients connect at once, each 1,000 events of
// 100 bytes behind, until all have all of them.
func BenchmarkReplayStorm(b *testing.B) {
	s := newStorm(b)
	b.ReportAllocs()
	used := newUsage(b)
	for b.Loop() {
		s.rage()
	}
	used.report("event", stormClients*stormEvents)
	reportEvents(b, stormClients*stormEvents)
	mustBeSmooth(b, s.broker)
}

// BenchmarkPublishBesideReplayStorm publishes an event every millisecond, or as
// soon after that as it can, in quiet times of 200 ms and in the storms of
// BenchmarkReplayStorm between them.
func BenchmarkPublishBesideReplayStorm(b *testing.B) {
	s := newStorm(b)
	var published atomic.Int64
	var publisher sync.WaitGroup
	over := make(chan struct{})
	publisher.Go(func() {
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
			case <-over:
				return
			}
			if _, err := s.broker.Publish(b.Context(), sse.Event{Data: s.publisher.data}, "nobody's"); err != nil {
				b.Error(err)
				return
			}
			published.Add(1)
		}
	})
	defer publisher.Wait()
	defer close(over)
	perSecond := func(during func()) float64 {
		before, began := published.Load(), time.Now()
		during()
		return float64(published.Load()-before) / time.Since(began).Seconds()
	}
	var alone, beside float64
	for b.Loop() {
		alone += perSecond(func() { time.Sleep(200 * time.Millisecond) })
		beside += perSecond(s.rage)
	}
	b.ReportMetric(alone/float64(b.N), "publishes/s-alone")
	b.ReportMetric(beside/float64(b.N), "publishes/s-beside")
	b.ReportMetric(0, "ns/op") // it is the time of both
	mustBeSmooth(b, s.broker)
}

const (
	stormClients = 1_000
	stormEvents  = 1_000 // that each lacks
)

// A storm is what comes back to a service after a network was away.
type storm struct {
	*service
	cursor, first serial
}

func newStorm(b *testing.B) *storm {
	s := &storm{service: serve(b, &broker.Options{
		// All is held, whatever else is published.
		Store: broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: -1, MaxBytes: -1}),
	}, 100)}
	s.cursor = s.publisher.next
	s.first = s.cursor
	s.first.next()
	if err := s.publisher.publish(1 + stormEvents); err != nil {
		b.Fatal(err)
	}
	return s
}

// rage lets the clients come and, once they have everything, go.
func (s *storm) rage() {
	s.connect(order{Subscribers: stormClients, Cursor: s.cursor.String(), Next: s.first.String()})
	s.fleet.do(order{Do: "await", Events: stormClients * stormEvents})
	s.fleet.do(order{Do: "hang up"})
}
