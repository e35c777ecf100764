package redisstore_test

import (
	"strings"
	"testing"

	"github.com/fanfare-go/fanfare/broker/redisstore"
	"github.com/fanfare-go/fanfare/sse"
)

// BenchmarkAppend appends events of 100 bytes one after the other, as the one
// Broker does that publishes them.
func BenchmarkAppend(b *testing.B) {
	s := open(b, connect(b, startEngine(b).addr()), redisstore.Options{})
	ev := sse.Event{Data: strings.Repeat("x", 100)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Append(b.Context(), ev, []string{"a"}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFollow follows a history of 10,000 events of 100 bytes: how many a
// Broker can take, whoever publishes them.
func BenchmarkFollow(b *testing.B) {
	const events = 10_000
	s := open(b, connect(b, startEngine(b).addr()), redisstore.Options{})
	start, err := s.Last(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	ev := sse.Event{Data: strings.Repeat("x", 100)}
	for range events {
		if _, err := s.Append(b.Context(), ev, []string{"a"}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for m, err := range s.Follow(b.Context(), start) {
			if err != nil || m.Event.Data != ev.Data {
				b.Fatalf("got %+v, %v", m, err)
			}
			if n++; n == events {
				break
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
}
