package broker_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
)

// blocks is what a stream says of the events with these numbers as ID and data.
func blocks(first, last int) string {
	var b strings.Builder
	for _, n := range numbers(first, last) {
		b.WriteString(block(n, n))
	}
	return b.String()
}

const gapBlock = "event: gap\ndata: \n\n"

func TestAStreamThatIsHeldUpHasAQueueOfFullSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, policy := range []broker.SlowPolicy{
			broker.CatchUp, broker.Disconnect, broker.DropOldest, broker.DropNewest, broker.Conflate,
		} {
			b := newBroker(t, &broker.Options{Store: namedStore(nil), QueueSize: 4, Slow: policy, NoPriming: true, WriteTimeout: -1})
			p := newPeer(t, b, "")
			free := p.stick()
			for i := range 5 { // one is written
				publish(t, b, i+1, i+1)
				synctest.Wait()
			}
			assert.Equal(t, 4, subscribers(b)[0].Queued)
			free()
			assert.Equal(t, blocks(1, 5), p.Body())
			assert.Equal(t, broker.Stats{Subscribers: 1, Published: 5, Delivered: 5, Bytes: uint64(len(p.Body()))}, b.Stats())
		}
	})
}

func TestWhatAStreamThatIsHeldUpIsSentThen(t *testing.T) {
	for name, test := range map[string]struct {
		policy broker.SlowPolicy
		want   string
	}{
		// No block sets the ID: the stream goes on where it was.
		"CatchUp":    {broker.CatchUp, blocks(1, 9)},
		"Disconnect": {broker.Disconnect, blocks(1, 3)},
		"DropOldest": {broker.DropOldest, blocks(1, 1) + gapBlock + blocks(8, 9)},
		"DropNewest": {broker.DropNewest, blocks(1, 3) + gapBlock},
		"Conflate":   {broker.Conflate, blocks(1, 9)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, &broker.Options{Store: namedStore(nil), QueueSize: 2, Slow: test.policy, WriteTimeout: -1, Heartbeat: time.Hour})
				p := newPeer(t, b, "")
				first := p.Body()
				require.Regexp(t, `^id: \S+\n\n$`, first)
				free := p.stick()
				for i := range 9 { // one is written
					publish(t, b, i+1, i+1)
					synctest.Wait()
				}
				publish(t, b, 10, 10, "other")
				free()
				assert.Equal(t, test.want, strings.TrimPrefix(p.Body(), first))
				if test.policy == broker.Disconnect {
					return
				}
				assert.True(t, strings.HasSuffix(p.Body(), test.want))
				publish(t, b, 11, 11)
				synctest.Wait()
				assert.Equal(t, test.want+blocks(11, 11), strings.TrimPrefix(p.Body(), first))
			})
		})
	}
}
