package client

import (
	"math"
	"math/rand/v2"
	"time"
)

const (
	defaultMinBackoff = time.Second
	defaultMaxBackoff = 30 * time.Second

	// leastWait is the shortest wait. It keeps a server that sends retry: 0
	// and closes at once from being asked in a busy loop.
	leastWait = 10 * time.Millisecond

	// maxServerWait is how long the server may make the client wait, so that
	// one slip in a retry field does not silence the client for a year.
	maxServerWait = 5 * time.Minute

	// unlimited leaves room for the random half on top of it.
	unlimited = math.MaxInt64 / 2
)

// A backoff says how long to wait before the next attempt. It has no clock.
type backoff struct {
	min, max time.Duration
	jitter   func(d time.Duration) time.Duration // random, from 0 to d
	waits    int                                 // since the last reset
}

// newBackoff returns a backoff for the two options, resolving their zero and
// negative values.
func newBackoff(least, most time.Duration) backoff {
	switch {
	case least == 0:
		least = defaultMinBackoff
	case least < 0:
		least = leastWait
	}
	switch {
	case most == 0:
		most = defaultMaxBackoff
	case most < 0:
		most = unlimited
	}
	return backoff{
		min:    min(least, unlimited),
		max:    min(most, unlimited),
		jitter: func(d time.Duration) time.Duration { return rand.N(d + 1) },
	}
}

// reset makes the next wait the first of a row.
func (b *backoff) reset() { b.waits = 0 }

// next returns the next wait of the row. Retry is the server's reconnection
// time if it has sent one, after the Retry-After of the last response or 0.
//
// The row is computed from its start each time, for a server may change its
// retry time in the middle of one.
//
// Spec: "Wait a delay equal to the reconnection time of the event source.
// Optionally, wait some more. In particular, if the previous attempt failed,
// then user agents might introduce an exponential backoff delay to avoid
// overloading a potentially already overloaded server."
func (b *backoff) next(retry time.Duration, sent bool, after time.Duration) time.Duration {
	start := b.min
	if sent {
		start = max(min(retry, maxServerWait), time.Millisecond) // 0 would not double
	}
	wait := start
	for range b.waits {
		if wait >= b.max {
			break // also if the start is above it: the limit is for doubling only
		}
		wait = min(2*wait, b.max)
	}
	b.waits++
	wait = max(wait, min(after, maxServerWait), leastWait)
	return wait + b.jitter(wait/2)
}
