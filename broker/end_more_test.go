package broker_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
)

func TestEndDoesNotCountWhoEndedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		sub := subscribe(t, b)
		assert.Zero(t, b.End(func(broker.Subscriber) bool {
			sub.Close()
			return true
		}))
	})
}

func TestWhoWasLetInBeforeEndIsAskedForTopicsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := make(chan struct{})
		asked := 0
		b := newBroker(t, &broker.Options{Topics: func(*http.Request) ([]string, error) {
			if asked++; asked == 1 {
				<-in
			}
			return nil, nil
		}})
		subscribe(t, b)
		s := connect(t, b, "")
		synctest.Wait()
		b.End(func(broker.Subscriber) bool {
			close(in) // it becomes a subscriber, whom End does not see
			synctest.Wait()
			return false
		})
		assert.Equal(t, 200, s.Code())
		assert.Equal(t, 2, asked)
	})
}

func TestAStreamThatBeginsLateLastsAsLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const age = 100 * time.Second
		b := newBroker(t, &broker.Options{MaxAge: age})
		for range 3 {
			time.Sleep(time.Hour)
			began := time.Now()
			require.NoError(t, connect(t, b, "").Wait())
			assert.GreaterOrEqual(t, time.Since(began), age*8/10)
			assert.LessOrEqual(t, time.Since(began), age)
		}
	})
}

func TestNothingIsAddedToAClosedSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		sub := subscribe(t, b)
		sub.Close()
		assert.Equal(t, broker.ErrClosed, sub.Add("a"))
		assert.Equal(t, broker.ErrClosed, sub.Add())
		sub.Remove("")
		assert.Zero(t, b.Count("a"))
		_, err := pending(t, sub)
		assert.Equal(t, broker.ErrClosed, err)
	})
}

func TestAHeartbeatThatIsDueBehindAFullQueueHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShard(t, &broker.Options{Store: namedStore(nil), QueueSize: 2, WriteTimeout: -1, NoPriming: true})
		p, sub := newPeer(t, b, ""), subscribe(t, b)
		time.Sleep(14 * time.Second)
		free := p.stick()
		for i := range 3 { // one is written
			publish(t, b, i+1, i+1)
			synctest.Wait()
		}
		assert.Equal(t, numbers(1, 3), take(t, sub, 3))
		time.Sleep(time.Minute)
		publish(t, b, 4, 4)
		assert.Equal(t, numbers(4, 4), take(t, sub, 1))
		free()
		assert.Equal(t, blocks(1, 4), strings.ReplaceAll(p.Body(), ":\n\n", ""))
	})
}
