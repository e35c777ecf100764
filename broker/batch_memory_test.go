package broker_test

import (
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

func TestAQueueHoldsNothingThatOthersGotWithIt(t *testing.T) {
	for name, mine := range map[string][]string{"the first event": {"all"}, "the first and another": {"all", "mine"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, &broker.Options{Store: broker.Discard, FlushInterval: time.Second})
				stuck := subscribe(t, b, "all", "mine")
				var busy []*broker.Subscription
				for range runtime.GOMAXPROCS(0) { // one is on the shard of the other
					busy = append(busy, subscribe(t, b, "all", "theirs"))
				}
				before := collected()
				const rounds = 24
				for range rounds {
					// These come before the next flush.
					for _, topic := range mine {
						publish(t, b, 1, 1, topic)
					}
					for range 15 {
						_, err := b.Publish(t.Context(), sse.Event{Data: strings.Repeat("x", 4<<10)}, "theirs")
						require.NoError(t, err)
					}
					for _, sub := range busy {
						take(t, sub, 16)
					}
				}
				assert.Less(t, collected()-before, 256<<10)
				assert.Len(t, take(t, stuck, rounds*len(mine)), rounds*len(mine))
			})
		})
	}
}
