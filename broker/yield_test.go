package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestCoreIsYieldedOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var y yielder
		born := time.Now()
		yields := 0
		writes := func(n int, took time.Duration) int {
			before := yields
			for range n {
				y.wrote(born, func() { yields++; time.Sleep(took) })
			}
			return yields - before
		}
		assert.Equal(t, 0, writes(yieldAfter-1, 0), "it is early yet")
		assert.Equal(t, 1, writes(1, 0))
		assert.Equal(t, 10, writes(10*yieldAfter, maxYield), "somebody reads what was written")
	})
}

func TestCoreIsNotYieldedToWhoKeepsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var y yielder
		born := time.Now()
		var lost time.Duration
		yields := 0
		for time.Since(born) < 10*time.Second {
			before := yields
			reported := y.wrote(born, func() {
				yields++
				lost += 4 * time.Millisecond
				time.Sleep(4 * time.Millisecond)
			})
			assert.Equal(t, yields > before, reported)
			time.Sleep(50 * time.Microsecond) // the next write
		}
		assert.Greater(t, yields, 30, "it tries again")
		assert.LessOrEqual(t, lost, 200*time.Millisecond)
	})
}
