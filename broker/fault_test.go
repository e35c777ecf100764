package broker_test

import (
	"context"
	"iter"
	"math"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// A course is what a trial goes through.
type course struct {
	protocol ssetest.Protocol
	policy   broker.SlowPolicy
	events   int
	seed     uint64        // 0: as the environment says, or at random
	gather   time.Duration // FlushInterval
	detach   bool          // on sockets
	compress bool          // the clients accept it
	idle     bool          // streams have time to be parked between the bursts
	queue    int           // QueueSize; 0: that of trialOptions
}

// outcome is what came of it.
type outcome struct {
	cuts, delivered, gaps int
	stats                 broker.Stats
}

// run publishes events for 8 clients with overlapping topics, whose connections
// break all the time, and fails the test if one gets what it should not, or
// does not get what it should.
func (c course) run(t *testing.T) (o outcome) {
	if c.detach {
		return c.runHere(t) // the Broker writes to nothing in memory itself
	}
	synctest.Test(t, func(t *testing.T) { o = c.runHere(t) })
	return o
}

func (c course) runHere(t *testing.T) (o outcome) {
	opts := trialOptions(c.policy)
	opts.FlushInterval, opts.Detach, opts.Compress = c.gather, c.detach, c.compress
	if c.idle {
		opts.Heartbeat = 300 * time.Millisecond
	}
	if c.queue > 0 {
		opts.QueueSize = c.queue
	}
	b := newBroker(t, opts)
	bytes, pause := maxBytes(c.protocol), 50*time.Millisecond
	if c.detach {
		bytes, pause = 32<<10, 10*time.Millisecond // which are real
	}
	tr := newTrial(t, trialFaults(t, c.seed, bytes, pause))
	if c.idle {
		tr.pause = time.Second
	}
	var srv *ssetest.Server
	var base string
	if c.detach {
		srv = loopback(t, b)
		base = srv.URL
	} else {
		srv, base = tr.serve(b, c.protocol)
	}
	newTransport := func() *http.Transport {
		transport := srv.NewTransport()
		if c.detach {
			transport.DialContext = tr.faults.Dialer(dialShort)
		}
		return transport
	}
	shared := newTransport()
	for i := range 8 {
		transport := shared // one connection for many streams, over HTTP/2
		if i < 4 {
			transport = newTransport()
		}
		tr.read(base, transport, len(tr.topics))
	}
	publish := func(ev sse.Event, topics []string) string {
		id, err := b.Publish(t.Context(), ev, topics...)
		assert.NoError(t, err)
		return id
	}
	tr.settle()
	// 300 cuts, or as many for fewer events, and for connections that live longer.
	tr.publish(c.events, c.scale(300), publish)
	tr.end(publish)

	switch c.policy {
	case broker.CatchUp, broker.Disconnect:
		o.delivered = tr.requireAll()
	default:
		o.delivered, o.gaps = tr.requireGaps()
	}
	for n, r := range tr.readers {
		if c.detach {
			assert.Len(t, r.cursors, r.closing, "client %d: all were detached", n)
		}
	}
	o.cuts, o.stats = cuts(tr.faults), b.Stats()
	t.Log(tr.faults, o.stats)

	// Everybody has gone, and so have their subscriptions.
	tr.faults.Close()
	srv.Close()
	if c.detach {
		require.Eventually(t, func() bool { return b.Stats().Subscribers == 0 }, 10*time.Second, time.Millisecond)
	}
	assert.Equal(t, 0, b.Stats().Subscribers)
	return o
}

func TestThroughAnyNumberOfCutsEveryEventArrivesOnceAndInOrder(t *testing.T) {
	for name, c := range map[string]course{
		"HTTP1":               {protocol: ssetest.HTTP1, events: 20_000},
		"H2C":                 {protocol: ssetest.H2C, events: 20_000},
		"HTTP1 gathered":      {protocol: ssetest.HTTP1, events: 10_000, gather: time.Millisecond},
		"HTTP1 compressed":    {protocol: ssetest.HTTP1, events: 5_000, compress: true},
		"H2C compressed":      {protocol: ssetest.H2C, events: 5_000, compress: true, gather: time.Millisecond},
		"detached compressed": {detach: true, events: 3_000, compress: true},
		"HTTP1 idle":          {protocol: ssetest.HTTP1, events: 5_000, idle: true},
		"H2C idle":            {protocol: ssetest.H2C, events: 5_000, idle: true},
		"detached":            {detach: true, events: 5_000},
		"detached gathered":   {detach: true, events: 5_000, gather: time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.policy = broker.CatchUp
			o := c.run(t)
			assert.True(t, c.compress || o.stats.CaughtUp > 0, "compressed, all may fit into the buffers on the way")
		})
	}
}

// scale returns what n of 20,000 events are for this course.
func (c course) scale(n int) int {
	if c.detach || c.idle {
		n /= 4
	}
	return n * c.events / 20_000
}

func TestWhoIsDisconnectedForSlownessMissesNothingThroughCuts(t *testing.T) {
	for name, c := range map[string]course{
		"HTTP1":    {protocol: ssetest.HTTP1, events: 20_000},
		"H2C":      {protocol: ssetest.H2C, events: 20_000, gather: time.Millisecond},
		"idle":     {protocol: ssetest.HTTP1, events: 5_000, idle: true},
		"detached": {detach: true, events: 5_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.policy = broker.Disconnect
			o := c.run(t)
			assert.Positive(t, o.stats.Disconnected)
		})
	}
}

func TestThroughCutsEveryHoleOfADropPolicyHasItsGapAndEveryGapItsHole(t *testing.T) {
	for name, c := range map[string]course{
		"HTTP1":          {protocol: ssetest.HTTP1, events: 5_000},
		"HTTP1 gathered": {protocol: ssetest.HTTP1, events: 5_000, gather: time.Millisecond},
		"HTTP1 idle":     {protocol: ssetest.HTTP1, events: 5_000, idle: true},
		"HTTP1, one":     {protocol: ssetest.HTTP1, events: 5_000, queue: 1},
		"idle, two":      {protocol: ssetest.HTTP1, events: 5_000, queue: 2, idle: true},
		"H2C":            {protocol: ssetest.H2C, events: 5_000},
		"detached":       {detach: true, events: 5_000},
		"detached, one":  {detach: true, events: 3_000, queue: 1},
		"compressed":     {protocol: ssetest.HTTP1, events: 2_000, compress: true},
	} {
		for policy, of := range map[broker.SlowPolicy]string{broker.DropOldest: "DropOldest", broker.DropNewest: "DropNewest"} {
			t.Run(name+"/"+of, func(t *testing.T) {
				t.Parallel()
				c := c // which the other policy has, too
				c.policy = policy
				o := c.run(t)
				assert.Positive(t, o.cuts)
				assert.Positive(t, o.stats.Dropped)
				assert.Positive(t, o.gaps)
			})
		}
	}
}

func TestWhatASlowStreamTookFromItsQueueIsSentThoughTheStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &ranging{Store: namedStore(nil)}
		store.do = func(_ int, ctx context.Context, _ broker.Query) iter.Seq2[sse.Event, error] {
			<-ctx.Done()
			return func(yield func(sse.Event, error) bool) { yield(sse.Event{}, context.Cause(ctx)) }
		}
		b := newShard(t, &broker.Options{Store: store, QueueSize: 4, WriteTimeout: time.Hour})
		p := newPeer(t, b, "")
		free := p.stick()
		publish(t, b, 1, 1)
		synctest.Wait()
		publish(t, b, 2, 20)
		synctest.Wait()
		free()
		synctest.Wait()
		assert.Len(t, store.asked, 1)
		assert.Contains(t, p.Body(), blocks(1, 5))
		p.Close()
	})
}

func TestTheLongestTimesAreNotTheShortest(t *testing.T) {
	for _, protocol := range ssetest.Protocols {
		synctest.Test(t, func(t *testing.T) {
			b := newBroker(t, &broker.Options{WriteTimeout: math.MaxInt64, Heartbeat: math.MaxInt64, MaxAge: math.MaxInt64, Store: namedStore(nil)})
			srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Protocol: protocol})
			time.Sleep(time.Hour)
			publish(t, b, 1, 1)
			resp, err := srv.Client().Get(srv.URL)
			require.NoError(t, err, protocol)
			defer resp.Body.Close()
			assert.Equal(t, "id: 1\n\n", body(t, resp.Body, "id: 1\n\n"), protocol)
			time.Sleep(24 * time.Hour)
			publish(t, b, 2, 2)
			assert.Equal(t, block("2", "2"), body(t, resp.Body, block("2", "2")), protocol)
		})
	}
}
