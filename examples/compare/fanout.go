package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fanOut measures delivering 64-byte events to many subscribers over HTTP/1.1.
func fanOut(ctx context.Context, cs []contestant, s settings, t *table) error {
	const size, large, each = 64, 64, 10 * time.Millisecond
	var (
		n       = strconv.Itoa(s.subscribers)
		ones    = t.add(measure{name: "bursts of 1 to " + n + ": server CPU per delivery", unit: "µs"})
		bursts  = t.add(measure{name: "bursts of 64 to " + n + ": server CPU per delivery", unit: "µs"})
		rate    = t.add(measure{name: "bursts of 64 to " + n + ": deliveries per second", unit: "1/s", more: true})
		steady  = t.add(measure{name: "100 events/s to " + n + ": server CPU per delivery", unit: "µs"})
		median  = t.add(measure{name: "100 events/s to " + n + ": latency, p50", unit: "ms"})
		extreme = t.add(measure{name: "100 events/s to " + n + ": latency, p99", unit: "ms"})
	)
	return alternate(ctx, s.rounds, cs, func(c contestant) error {
		r, err := newRound(ctx, c, size, false)
		if err != nil {
			return err
		}
		defer r.Close()
		if err := r.join(s.subscribers); err != nil {
			return fmt.Errorf("joining: %w", err)
		}
		one, err := r.bursts(1, s.duration)
		if err != nil {
			return fmt.Errorf("bursts of 1: %w", err)
		}
		burst, err := r.bursts(large, s.duration)
		if err != nil {
			return fmt.Errorf("bursts of %d: %w", large, err)
		}
		latencies, quiet, err := r.latencies(max(1, int(2*s.duration/each)), each)
		if err != nil {
			return fmt.Errorf("latency: %w", err)
		}
		t.note(ones, c, one.cpuMicros())
		t.note(bursts, c, burst.cpuMicros())
		t.note(rate, c, burst.perSecond())
		t.note(steady, c, quiet.cpuMicros())
		t.note(median, c, latencies[len(latencies)/2].Seconds()*1e3)
		t.note(extreme, c, latencies[len(latencies)*99/100].Seconds()*1e3)
		return nil
	})
}

// latencies publishes n events at a steady rate and returns, in ascending
// order, the times from before Publish to the arrival at each subscriber, and what
// the deliveries took.
func (r *round) latencies(n int, each time.Duration) ([]time.Duration, spent, error) {
	first := r.published
	r.published += n
	r.timed = true
	defer func() { r.timed = false }()
	r.arrivals = make([]arrival, 0, n*len(r.conns))
	used, err := r.usage()
	if err != nil {
		return nil, spent{}, err
	}
	if err := r.tell(fmt.Sprintf("rate %d %d", n, each.Nanoseconds())); err != nil {
		return nil, spent{}, err
	}
	if err := r.await(n * len(r.conns)); err != nil {
		return nil, spent{}, err
	}
	answer, err := r.answer()
	if err != nil {
		return nil, spent{}, err
	}
	after, err := r.usage()
	if err != nil {
		return nil, spent{}, err
	}
	times := strings.Fields(answer)
	if len(times) != n {
		return nil, spent{}, errors.New("malformed times")
	}
	published := make([]int64, n)
	for i, s := range times {
		if published[i], err = strconv.ParseInt(s, 10, 64); err != nil {
			return nil, spent{}, err
		}
	}
	latencies := make([]time.Duration, len(r.arrivals))
	for i, a := range r.arrivals {
		latencies[i] = time.Duration(a.nanos - published[a.number-first])
	}
	slices.Sort(latencies)
	return latencies, spent{deliveries: len(latencies), cpu: after - used}, nil
}
