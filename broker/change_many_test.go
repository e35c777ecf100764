package broker_test

import (
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTopicsThatChangeAllDayLongLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		sub := subscribe(t, b)
		change := func(n int) {
			for range n {
				require.NoError(t, sub.Add("now and then"))
				sub.Remove("now and then")
			}
			synctest.Wait()
		}
		change(100)
		before := heap()
		change(5_000)
		assert.Less(t, heap()-before, 256<<10)
		publish(t, b, 1, 1)
		assert.Equal(t, []string{"1"}, take(t, sub, 1))
	})
}

func TestTopicsMayBeAddedFasterThanTheShardHearsOfThem(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // the shard has its turn when this goroutine waits
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		sub := subscribe(t, b)
		synctest.Wait()
		for i, topic := range numbers(1, 20) {
			publish(t, b, 0, 0, topic) // from before
			require.NoError(t, sub.Add(topic))
			publish(t, b, i+1, i+1, topic)
		}
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, numbers(1, 20), got)
	})
}
