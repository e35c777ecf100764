package main

import (
	"context"
	"fmt"
	"time"
)

// stalled is how long nothing may arrive before events count as lost.
const stalled = 20 * time.Second

// A round is one contestant's server together with the load on it.
type round struct {
	*process
	*load
}

// newRound starts the contestant's server and a load without connections.
func newRound(ctx context.Context, c contestant, size int, history bool) (*round, error) {
	l, err := newLoad()
	if err != nil {
		return nil, err
	}
	p, err := start(ctx, c.name, size, history)
	if err != nil {
		l.Close()
		return nil, err
	}
	return &round{process: p, load: l}, nil
}

// Close ends the connections and the server.
func (r *round) Close() {
	r.load.Close()
	r.process.Close()
}

// join connects n more subscribers and publishes events until every one has got
// the newest: only then is it known that all are registered, for some servers
// send the response's header before, others with the first event.
func (r *round) join(n int) error {
	from := len(r.conns)
	if err := r.connect(r.addr, n, anyNumber); err != nil {
		return err
	}
	if err := r.request(from, ""); err != nil {
		return err
	}
	for range 200 {
		if err := r.burst(1); err != nil {
			return err
		}
		// A server that still delivers gets the time it needs.
		for quiet := time.Now(); time.Since(quiet) < 50*time.Millisecond; {
			before := r.arrived
			if err := r.read(10 * time.Millisecond); err != nil {
				return err
			}
			if r.level() {
				return nil
			}
			if r.arrived > before {
				quiet = time.Now()
			}
		}
	}
	return fmt.Errorf("not all of %d subscribers get events", len(r.conns))
}

// level reports whether every subscriber has got everything up to the newest
// event.
func (r *round) level() bool {
	for i := range r.subscribers {
		if r.subscribers[i].next != r.published {
			return false
		}
	}
	return true
}

// await reads until n events have arrived at all subscribers together. As each
// subscriber accepts only the event that is next, they have then arrived
// everywhere, once.
func (r *round) await(n int) error {
	until := time.Now().Add(stalled)
	for target := r.arrived + n; r.arrived < target; {
		before := r.arrived
		if err := r.read(time.Second); err != nil {
			return err
		}
		if r.arrived > before {
			until = time.Now().Add(stalled)
		} else if time.Now().After(until) {
			return fmt.Errorf("%d of %d deliveries are lost", target-r.arrived, n)
		}
	}
	return nil
}

// bursts publishes bursts of n events for at least d, each as soon as the one
// before has arrived everywhere.
func (r *round) bursts(n int, d time.Duration) (s spent, err error) {
	for range 2 { // warms up
		if err := r.oneBurst(n); err != nil {
			return spent{}, err
		}
	}
	used, err := r.usage()
	if err != nil {
		return spent{}, err
	}
	began, arrived := time.Now(), r.arrived
	for time.Since(began) < d {
		if err := r.oneBurst(n); err != nil {
			return spent{}, err
		}
	}
	s.wall, s.deliveries = time.Since(began), r.arrived-arrived
	after, err := r.usage()
	s.cpu = after - used
	return s, err
}

func (r *round) oneBurst(n int) error {
	if err := r.burst(n); err != nil {
		return err
	}
	return r.await(n * len(r.conns))
}

// spent is what deliveries took.
type spent struct {
	deliveries int
	wall, cpu  time.Duration // cpu: of the server's process
}

func (s spent) cpuMicros() float64 { return s.cpu.Seconds() * 1e6 / float64(s.deliveries) }
func (s spent) perSecond() float64 { return float64(s.deliveries) / s.wall.Seconds() }
