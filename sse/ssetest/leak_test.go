package ssetest

import (
	"strings"
	"testing"
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

func TestAGoroutineThatIsAboutToEndIsNoLeak(t *testing.T) {
	var out strings.Builder
	stop := make(chan struct{}) // closed below
	ended := make(chan struct{})
	go func() { // there before the run: not the run's leak
		defer close(ended)
		<-stop
	}()
	code := checkLeaks(func() int {
		go time.Sleep(20 * time.Millisecond)
		return 0
	}, &out, time.Minute)
	assert.Equal(t, 0, code)
	assert.Empty(t, out.String())
	close(stop)
	<-ended
}

func TestAFailedRunKeepsItsCode(t *testing.T) {
	var out strings.Builder
	assert.Equal(t, 2, checkLeaks(func() int { return 2 }, &out, 0))
	assert.Empty(t, out.String())
}
