package broker_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

var soak = flag.Duration("soak", 0, "how long TestSoak breaks connections, at least; if positive, other tests run at full length, too")

// What TestSoak goes through before it ends, however short the time.
const (
	soakCuts      = 10_000
	soakDelivered = 1_000_000
)

// To run it for five minutes:
//
//	go test -run Soak ./broker -soak=5m
func TestSoak(t *testing.T) {
	if *soak <= 0 {
		t.Skip("takes -soak=5m or the like")
	}
	seed, err := strconv.ParseUint(os.Getenv(ssetest.SeedVariable), 10, 64)
	if err != nil {
		seed = 1 + rand.Uint64N(1<<32)
	}
	policies := []broker.SlowPolicy{broker.CatchUp, broker.Disconnect, broker.CatchUp, broker.DropOldest, broker.DropNewest}
	var total outcome
	start := time.Now()
	for round := uint64(0); time.Since(start) < *soak || total.cuts < soakCuts || total.delivered < soakDelivered; round++ {
		c := course{policy: policies[round%5], events: 20_000, seed: seed + round, idle: round%3 == 0}
		if round%2 == 0 {
			c.gather = time.Millisecond
		}
		if kind := round % 6; kind < 4 {
			c.protocol = ssetest.Protocols[kind]
		} else {
			c.detach, c.idle = true, false
		}
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			o := c.run(t)
			total.cuts += o.cuts
			total.delivered += o.delivered
			total.gaps += o.gaps
			total.stats.CaughtUp += o.stats.CaughtUp
			total.stats.Disconnected += o.stats.Disconnected
			total.stats.Dropped += o.stats.Dropped
		})
		require.False(t, t.Failed(), "%s=%d and the same round repeat it", ssetest.SeedVariable, seed)
	}
	t.Logf("%d cuts, %d events delivered, %d Gaps, %+v", total.cuts, total.delivered, total.gaps, total.stats)
	assert.Positive(t, total.stats.CaughtUp)
	assert.Positive(t, total.stats.Disconnected)
	assert.Positive(t, total.stats.Dropped)
}
