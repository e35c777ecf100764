package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fanfare-go/fanfare/broker"
)

// A Collector is a [prometheus.Collector] of the figures of a Broker: copy it to
// where you need it. It asks the Broker when it is scraped, and holds nothing.
// Its methods may be called concurrently.
type Collector struct {
	broker *broker.Broker
	topics []string
}

// NewCollector returns a Collector for b. The subscribers of topics, which
// should be few, are counted one by one.
func NewCollector(b *broker.Broker, topics ...string) *Collector { return &Collector{b, topics} }

// figure is one of [broker.Stats].
type figure struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(broker.Stats) float64
}

func counter(name, help string, value func(broker.Stats) uint64) figure {
	return figure{prometheus.NewDesc("fanfare_"+name+"_total", help, nil, nil), prometheus.CounterValue,
		func(s broker.Stats) float64 { return float64(value(s)) }}
}

var (
	figures = []figure{
		{prometheus.NewDesc("fanfare_subscribers", "Subscriptions that are open.", nil, nil), prometheus.GaugeValue,
			func(s broker.Stats) float64 { return float64(s.Subscribers) }},
		counter("published", "Events published.", func(s broker.Stats) uint64 { return s.Published }),
		counter("delivered", "Events taken by or sent to subscribers.", func(s broker.Stats) uint64 { return s.Delivered }),
		counter("dropped", "Events that the slow policy discarded.", func(s broker.Stats) uint64 { return s.Dropped }),
		counter("conflated", "Events that a newer one with the same key replaced.", func(s broker.Stats) uint64 { return s.Conflated }),
		counter("caught_up", "Times that a slow subscriber went on from the Store.", func(s broker.Stats) uint64 { return s.CaughtUp }),
		counter("disconnected", "Subscriptions that ended for slowness.", func(s broker.Stats) uint64 { return s.Disconnected }),
		counter("gaps", "Gaps that subscribers were told of.", func(s broker.Stats) uint64 { return s.Gaps }),
		counter("sent_bytes", "Bytes of streams written to HTTP subscribers.", func(s broker.Stats) uint64 { return s.Bytes }),
	}
	lag = prometheus.NewDesc("fanfare_subscriber_lag_seconds",
		"For how long subscribers have been without something that there is for them.", nil, nil)
	queued  = prometheus.NewDesc("fanfare_queued_events", "Events in the queues of subscribers.", nil, nil)
	byTopic = prometheus.NewDesc("fanfare_topic_subscribers", "Subscriptions to a topic.", []string{"topic"}, nil)
)

// lagBuckets are in seconds.
var lagBuckets = []float64{0.01, 0.1, 1, 10, 60}

// Describe sends what Collect can send.
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	for _, f := range figures {
		descs <- f.desc
	}
	descs <- lag
	descs <- queued
	descs <- byTopic
}

// Collect sends the figures as they are now.
func (c *Collector) Collect(metrics chan<- prometheus.Metric) {
	stats := c.broker.Stats()
	for _, f := range figures {
		metrics <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(stats))
	}

	// The lags of all subscribers as one histogram: a series for each of them
	// would be too many.
	all := c.broker.Subscribers()
	buckets, sum, waiting := make(map[float64]uint64), 0.0, 0
	for _, s := range all {
		seconds := s.Lag.Seconds()
		sum += seconds
		waiting += s.Queued
		for _, b := range lagBuckets {
			if seconds <= b {
				buckets[b]++
			}
		}
	}
	for _, b := range lagBuckets {
		buckets[b] += 0 // none is a figure, too
	}
	metrics <- prometheus.MustNewConstHistogram(lag, uint64(len(all)), sum, buckets)
	metrics <- prometheus.MustNewConstMetric(queued, prometheus.GaugeValue, float64(waiting))
	for _, topic := range c.topics {
		metrics <- prometheus.MustNewConstMetric(byTopic, prometheus.GaugeValue, float64(c.broker.Count(topic)), topic)
	}
}
