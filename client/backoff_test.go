package client

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

const ms = time.Millisecond

// none and most are the two ends of what randomness can add.
func none(time.Duration) time.Duration   { return 0 }
func most(d time.Duration) time.Duration { return d }

// row returns the first n waits of a row in which nothing else is heard of the server.
func row(n int, b backoff, retry time.Duration, sent bool) []time.Duration {
	var waits []time.Duration
	for range n {
		waits = append(waits, b.next(retry, sent, 0))
	}
	return waits
}

func TestWaitsDoubleUpToMaxBackoff(t *testing.T) {
	for _, test := range []struct {
		name     string
		min, max time.Duration
		retry    time.Duration
		sent     bool
		want     []time.Duration
	}{
		{name: "by default from 1 s to 30 s", want: []time.Duration{1000 * ms, 2000 * ms, 4000 * ms, 8000 * ms, 16000 * ms, 30000 * ms, 30000 * ms}},
		{name: "from MinBackoff to MaxBackoff", min: 300 * ms, max: 1000 * ms, want: []time.Duration{300 * ms, 600 * ms, 1000 * ms, 1000 * ms}},
		{name: "not at all if they are equal", min: time.Minute, max: time.Minute, want: []time.Duration{time.Minute, time.Minute}},
		{name: "not at all from above", min: time.Minute, max: time.Second, want: []time.Duration{time.Minute, time.Minute}},
		{name: "from the server's retry, if that is shorter", retry: 200 * ms, sent: true, want: []time.Duration{200 * ms, 400 * ms, 800 * ms}},
		{name: "from the server's retry, if that is longer", retry: 20 * time.Second, sent: true, want: []time.Duration{20 * time.Second, 30 * time.Second, 30 * time.Second}},
		{name: "not at all from a server's retry above", retry: time.Minute, sent: true, want: []time.Duration{time.Minute, time.Minute}},
		{name: "from 5 min if the server's retry is endless", retry: math.MaxInt64, sent: true, want: []time.Duration{5 * time.Minute, 5 * time.Minute}},
		{name: "from 10 ms if the server's retry is 0", sent: true, want: []time.Duration{10 * ms, 10 * ms, 10 * ms, 10 * ms, 16 * ms, 32 * ms}},
		{name: "from 10 ms if MinBackoff is shorter", min: 4 * ms, want: []time.Duration{10 * ms, 10 * ms, 16 * ms, 32 * ms}},
		{name: "from 10 ms if MinBackoff is negative", min: -1, want: []time.Duration{10 * ms, 20 * ms, 40 * ms}},
		{name: "for ever if MaxBackoff is negative", min: 100 * time.Hour, max: -1, want: []time.Duration{100 * time.Hour, 200 * time.Hour, 400 * time.Hour}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBackoff(test.min, test.max)
			b.jitter = none
			assert.Equal(t, test.want, row(len(test.want), b, test.retry, test.sent))
		})
	}
}

func TestUpToHalfOfAWaitIsAddedAtRandom(t *testing.T) {
	b := newBackoff(0, 0)
	b.jitter = most
	assert.Equal(t, []time.Duration{1500 * ms, 3000 * ms, 6000 * ms}, row(3, b, 0, false))
	assert.Equal(t, 15*time.Second, b.next(0, false, 10*time.Second))
	b.reset()
	assert.Equal(t, 450*time.Second, b.next(math.MaxInt64, true, 0), "the cap comes before")

	b = newBackoff(0, 0)
	low, high := time.Duration(math.MaxInt64), time.Duration(0)
	for range 10_000 {
		b.reset()
		wait := b.next(0, false, 0)
		low, high = min(low, wait), max(high, wait)
	}
	assert.InDelta(t, time.Second, low, float64(10*ms))
	assert.InDelta(t, 1500*ms, high, float64(10*ms))
}

func TestNoWaitUndercutsTheServer(t *testing.T) {
	b := newBackoff(0, 0)
	b.jitter = none
	assert.Equal(t, 20*time.Second, b.next(0, false, 20*time.Second), "Retry-After")
	assert.Equal(t, 2*time.Second, b.next(0, false, 0), "which does not change the row")
	assert.Equal(t, 4*time.Second, b.next(0, false, 3*time.Second), "nor shortens it")
	assert.Equal(t, 5*time.Minute, b.next(0, false, math.MaxInt64))
	assert.Equal(t, time.Minute, b.next(time.Minute, true, time.Second))
	assert.Equal(t, time.Minute, b.next(time.Minute, true, 0))
}

func TestARowStartsOverOnReset(t *testing.T) {
	b := newBackoff(0, 0)
	b.jitter = none
	row := func() []time.Duration {
		return []time.Duration{b.next(0, false, 0), b.next(0, false, 0), b.next(0, false, 0)}
	}
	want := []time.Duration{1000 * ms, 2000 * ms, 4000 * ms}
	assert.Equal(t, want, row())
	b.reset()
	assert.Equal(t, want, row())
}

func TestTheLongestWaitsDoNotOverflow(t *testing.T) {
	b := newBackoff(math.MaxInt64, math.MaxInt64)
	b.jitter = most
	for range 200 {
		assert.Positive(t, b.next(0, false, 0))
	}
	b = newBackoff(0, -1)
	b.jitter = most
	for range 200 {
		assert.Positive(t, b.next(0, false, 0))
	}
}
