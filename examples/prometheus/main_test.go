package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

func TestTheFiguresAreThoseOfTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broker.New(&broker.Options{QueueSize: 2, Slow: broker.DropOldest})
		defer b.Close()
		for range 2 {
			sub, err := b.Subscribe("a")
			require.NoError(t, err)
			defer sub.Close()
		}
		for range 3 {
			_, err := b.Publish(t.Context(), sse.Event{Data: "x"}, "a")
			require.NoError(t, err)
		}
		time.Sleep(30 * time.Second)
		c := NewCollector(b, "a", "b")
		assert.NoError(t, testutil.CollectAndCompare(c, strings.NewReader(`
# HELP fanfare_dropped_total Events that the slow policy discarded.
# TYPE fanfare_dropped_total counter
fanfare_dropped_total 2
# HELP fanfare_published_total Events published.
# TYPE fanfare_published_total counter
fanfare_published_total 3
# HELP fanfare_queued_events Events in the queues of subscribers.
# TYPE fanfare_queued_events gauge
fanfare_queued_events 4
# HELP fanfare_subscriber_lag_seconds For how long subscribers have been without something that there is for them.
# TYPE fanfare_subscriber_lag_seconds histogram
fanfare_subscriber_lag_seconds_bucket{le="0.01"} 0
fanfare_subscriber_lag_seconds_bucket{le="0.1"} 0
fanfare_subscriber_lag_seconds_bucket{le="1"} 0
fanfare_subscriber_lag_seconds_bucket{le="10"} 0
fanfare_subscriber_lag_seconds_bucket{le="60"} 2
fanfare_subscriber_lag_seconds_bucket{le="+Inf"} 2
fanfare_subscriber_lag_seconds_sum 60
fanfare_subscriber_lag_seconds_count 2
# HELP fanfare_subscribers Subscriptions that are open.
# TYPE fanfare_subscribers gauge
fanfare_subscribers 2
# HELP fanfare_topic_subscribers Subscriptions to a topic.
# TYPE fanfare_topic_subscribers gauge
fanfare_topic_subscribers{topic="a"} 2
fanfare_topic_subscribers{topic="b"} 0
`), "fanfare_subscribers", "fanfare_published_total", "fanfare_dropped_total", "fanfare_queued_events",
			"fanfare_subscriber_lag_seconds", "fanfare_topic_subscribers"))
		problems, err := testutil.CollectAndLint(c)
		require.NoError(t, err)
		assert.Empty(t, problems)
	})
}

func TestACollectorKeepsTheRulesOfRegistries(t *testing.T) {
	b := broker.New(nil)
	defer b.Close()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(NewCollector(b, "a")))
	_, err := registry.Gather()
	assert.NoError(t, err)
}

func TestTheFiguresAreServedBesideTheStream(t *testing.T) {
	b := broker.New(nil)
	defer b.Close()
	srv := httptest.NewServer(routes(b))
	defer srv.Close()
	stream, err := http.Get(srv.URL + "/events")
	require.NoError(t, err)
	defer stream.Body.Close()
	resp, err := http.Get(srv.URL + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Contains(t, string(body), "\nfanfare_subscribers 1\n")
	assert.Contains(t, string(body), "\nfanfare_sent_bytes_total ")
	assert.Contains(t, string(body), "\nfanfare_topic_subscribers{topic=\"clock\"} 1\n")
}

func TestItTellsTheTimeUntilItIsTold(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, "127.0.0.1:0", in) }()
	var url string
	_, err := fmt.Fscanf(out, "The stream is at %s", &url)
	require.NoError(t, err)
	go io.Copy(io.Discard, out)
	stream, err := http.Get(strings.TrimSuffix(url, ","))
	require.NoError(t, err)
	defer stream.Body.Close()
	for ev, err := range sse.Events(stream.Body) {
		require.NoError(t, err)
		_, err = time.Parse(time.TimeOnly, ev.Data)
		require.NoError(t, err)
		break
	}
	cancel()
	assert.NoError(t, <-ended)
	rest, err := io.ReadAll(stream.Body)
	assert.NoError(t, err, "the stream ends cleanly")
	assert.Contains(t, string(rest), "retry: ")
}
