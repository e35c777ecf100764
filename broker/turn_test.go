package broker_test

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
)

func TestAnIdleSubscriberHasNoGoroutineAndNoQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const peers, size = 16, 1 << 16 // a queue is a megabyte
		b := newShard(t, &broker.Options{QueueSize: size, WriteTimeout: time.Hour, Heartbeat: -1})
		newPeer(t, b, "").Close()
		publish(t, b, 1, 1)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		goroutines, heap := runtime.NumGoroutine(), collected()

		all := newPeers(t, b, peers)
		publish(t, b, 2, 2)
		synctest.Wait()
		assert.Less(t, collected()-heap, 1<<20, "who keeps up never has one")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Equal(t, goroutines+peers+1, runtime.NumGoroutine(), "those that a server would have for them, and a worker")

		for _, p := range all {
			free := p.stick()
			publish(t, b, 3, 4)
			synctest.Wait()
			defer p.Close()
			_ = free
			free()
		}
		time.Sleep(2 * time.Second)
		publish(t, b, 5, 5) // which is carried
		synctest.Wait()
		assert.Less(t, collected()-heap, 1<<20, "who was idle in between has none")
		require.Equal(t, goroutines+peers+1, runtime.NumGoroutine())
	})
}

func TestAHeartbeatComesExactlyWhenNothingHasForTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval = 10 * time.Second
		b := newShard(t, &broker.Options{Store: broker.Discard, Heartbeat: interval})
		p := newPeer(t, b, "")
		last := time.Now()
		for n, pause := range []time.Duration{
			interval - 1, 1, 2 * time.Millisecond, interval / 2, interval / 2, interval + 1,
			interval - time.Millisecond, 3*interval + time.Second, interval - 1, interval - 1,
		} {
			for end := time.Now().Add(pause); end.Sub(last) >= interval; {
				time.Sleep(time.Until(last.Add(interval)))
				synctest.Wait()
				last = last.Add(interval)
				require.Equal(t, write{":\n\n", last, true}, p.last(), "after %v", pause)
				if end.Sub(last) < interval {
					time.Sleep(time.Until(end))
				}
			}
			if d := last.Add(interval); time.Now().Before(d) && pause < interval {
				time.Sleep(pause)
			}
			publish(t, b, n, n)
			synctest.Wait()
			last = time.Now()
			require.Equal(t, last, p.last().at)
			require.NotEqual(t, ":\n\n", p.last().text)
		}
	})
}

func TestGoroutinesThatBeginStreamsAreUsedAgainAndEndWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShard(t, &broker.Options{Heartbeat: -1})
		newPeers(t, b, 20) // one after the other
		assert.Equal(t, 1, running("broker.(*Broker).perform"))
		time.Sleep(time.Second - 1)
		synctest.Wait()
		assert.Equal(t, 1, running("broker.(*Broker).perform"))
		time.Sleep(1)
		synctest.Wait()
		assert.Zero(t, running("broker.(*Broker).perform"))

		newPeer(t, b, "")
		assert.Equal(t, 1, running("broker.(*Broker).perform"))
		require.NoError(t, b.Shutdown(t.Context()))
		synctest.Wait()
		assert.Zero(t, running("broker.(*Broker).perform"), "the Broker has ended")
	})
}
