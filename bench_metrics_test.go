package fanfare_test

import (
	"testing"
	"time"

	"github.com/fanfare-go/fanfare/broker"
)

// mustBeSmooth fails b if a subscriber had gaps or a queue that was full.
func mustBeSmooth(b *testing.B, br *broker.Broker) {
	b.Helper()
	s := br.Stats()
	if s.Dropped+s.CaughtUp+s.Disconnected+s.Gaps > 0 {
		b.Fatalf("not everything came through the queues: %+v", s)
	}
}

// reportDeliveries adds the metrics of iterations with n deliveries each.
func reportDeliveries(b *testing.B, n int) {
	total := float64(b.N) * float64(n)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/total, "ns/delivery")
	b.ReportMetric(total/b.Elapsed().Seconds(), "deliveries/s")
}

// reportEvents adds the metric of iterations with n events each.
func reportEvents(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/event")
}

// usage is the CPU time that this process had used at some time.
type usage struct {
	b    *testing.B
	then time.Duration
	ok   bool
}

func newUsage(b *testing.B) usage {
	then, ok := cpuTime()
	return usage{b, then, ok}
}

// report adds the CPU time since then, per unit, of which there are n in each
// iteration, as a metric.
func (u usage) report(unit string, n int) {
	if now, ok := cpuTime(); ok && u.ok {
		u.b.ReportMetric(float64((now-u.then).Nanoseconds())/float64(u.b.N)/float64(n), "cpu-ns/"+unit)
	}
}
