package ssetest

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestLeakedGoroutinesFailTheRunAndShowTheirStacks(t *testing.T) {
	stop := make(chan struct{}) // closed below
	ended := make(chan struct{})
	var out strings.Builder
	code := checkLeaks(func() int {
		go func() {
			defer close(ended)
			<-stop
		}()
		return 0
	}, &out, time.Millisecond)
	assert.Equal(t, 1, code)
	assert.Contains(t, out.String(), "left 1 goroutines behind")
	assert.Contains(t, out.String(), "TestLeakedGoroutinesFailTheRunAndShowTheirStacks")
	close(stop)
	<-ended
}

func TestWhatIsAboutToEndOrWasThereBeforeIsNoLeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{}) // closed below
		go func() { <-stop }()
		var out strings.Builder
		start := time.Now()
		code := checkLeaks(func() int {
			go time.Sleep(time.Minute)
			return 0
		}, &out, time.Hour)
		assert.Equal(t, 0, code)
		assert.Empty(t, out.String())
		assert.Less(t, time.Since(start), 3*time.Minute, "the wait is not for the whole of the grace")

		code = checkLeaks(func() int {
			go time.Sleep(time.Minute)
			return 0
		}, &out, time.Second)
		assert.Equal(t, 1, code)
		time.Sleep(time.Minute)
		close(stop)
	})
}

func TestAFailedRunKeepsItsCode(t *testing.T) {
	var out strings.Builder
	assert.Equal(t, 2, checkLeaks(func() int { return 2 }, &out, 0))
	assert.Empty(t, out.String())
}
