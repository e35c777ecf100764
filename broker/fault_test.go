package broker_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

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
	opts.FlushInterval, opts.Detach = c.gather, c.detach
	b := newBroker(t, opts)
	maxBytes, maxPause := 12<<10, 50*time.Millisecond
	switch {
	case c.detach:
		maxBytes, maxPause = 32<<10, 10*time.Millisecond // which are real
	case c.protocol == ssetest.H2C, c.protocol == ssetest.HTTP2:
		maxBytes *= 2 // what breaks has more than one stream
	}
	tr := newTrial(t, trialFaults(t, c.seed, maxBytes, maxPause))
	var srv *ssetest.Server
	var base string
	if c.detach {
		srv = loopback(t, b)
		base = tr.proxy(srv)
	} else {
		srv, base = tr.serve(b, c.protocol)
	}
	shared := srv.NewTransport()
	for i := range 8 {
		transport := shared // one connection for many streams, over HTTP/2
		if i < 4 {
			transport = srv.NewTransport()
		}
		tr.read(base, transport, len(tr.topics))
	}
	publish := func(ev sse.Event, topics []string) string {
		id, err := b.Publish(t.Context(), ev, topics...)
		assert.NoError(t, err)
		return id
	}
	tr.settle()
	tr.publish(c.events, publish)
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
	return o
}

func TestThroughAnyNumberOfCutsEveryEventArrivesOnceAndInOrder(t *testing.T) {
	for name, c := range map[string]course{
		"HTTP1":             {protocol: ssetest.HTTP1, events: 20_000},
		"H2C":               {protocol: ssetest.H2C, events: 20_000},
		"HTTP1 gathered":    {protocol: ssetest.HTTP1, events: 10_000, gather: time.Millisecond},
		"detached":          {detach: true, events: 5_000},
		"detached gathered": {detach: true, events: 5_000, gather: time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.policy = broker.CatchUp
			o := c.run(t)
			// 300, or as many for fewer events, and for connections that live longer.
			assert.GreaterOrEqual(t, o.cuts, c.scale(300))
			c.assertSlow(t, o.stats.CaughtUp)
		})
	}
}

// assertSlow checks that subscribers were slow at times, which times counts. The
// sockets of detached ones take more than there may be to write.
func (c course) assertSlow(t *testing.T, times uint64) {
	t.Helper()
	if !c.detach {
		assert.Positive(t, times)
	}
}

// scale returns what n of 20,000 events are for this course.
func (c course) scale(n int) int {
	if c.detach {
		n /= 4
	}
	return n * c.events / 20_000
}

func TestWhoIsDisconnectedForSlownessMissesNothingThroughCuts(t *testing.T) {
	for name, c := range map[string]course{
		"HTTP1":    {protocol: ssetest.HTTP1, events: 20_000},
		"H2C":      {protocol: ssetest.H2C, events: 20_000, gather: time.Millisecond},
		"detached": {detach: true, events: 5_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.policy = broker.Disconnect
			o := c.run(t)
			assert.GreaterOrEqual(t, o.cuts, c.scale(300))
			c.assertSlow(t, o.stats.Disconnected)
		})
	}
}

func TestThroughCutsEveryHoleOfADropPolicyHasItsGapAndEveryGapItsHole(t *testing.T) {
	for name, c := range map[string]course{
		"HTTP1":          {protocol: ssetest.HTTP1, events: 5_000},
		"HTTP1 gathered": {protocol: ssetest.HTTP1, events: 5_000, gather: time.Millisecond},
		"H2C":            {protocol: ssetest.H2C, events: 5_000},
		"detached":       {detach: true, events: 2_000},
	} {
		for policy, of := range map[broker.SlowPolicy]string{broker.DropOldest: "DropOldest", broker.DropNewest: "DropNewest"} {
			t.Run(name+"/"+of, func(t *testing.T) {
				t.Parallel()
				c.policy = policy
				o := c.run(t)
				assert.Positive(t, o.cuts)
				c.assertSlow(t, o.stats.Dropped)
				c.assertSlow(t, uint64(o.gaps))
			})
		}
	}
}
