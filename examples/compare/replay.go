package main

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// replay measures a storm: many clients reconnect at once, and each is behind
// by as many events.
func replay(ctx context.Context, cs []contestant, s settings, t *table) error {
	const size, behind = 100, 1000
	name := fmt.Sprintf("replay of %d events to %s at once: ", behind, strconv.Itoa(s.storm))
	cpu := t.add(measure{name: name + "server CPU per event", unit: "µs"})
	wall := t.add(measure{name: name + "until all have all", unit: "ms"})
	return alternate(ctx, min(s.rounds, few), cs, func(c contestant) error {
		r, err := newRound(ctx, c, size, true)
		if err != nil {
			return err
		}
		defer r.Close()
		if err := r.burst(1 + behind); err != nil {
			return err
		}
		cursor, err := r.cursor() // answered once the burst is published
		if err != nil {
			return err
		}
		used, err := r.usage()
		if err != nil {
			return err
		}
		if err := r.connect(r.addr, s.storm, 1); err != nil {
			return err
		}
		began := time.Now()
		if err := r.request(0, cursor); err != nil {
			return err
		}
		if err := r.await(s.storm * behind); err != nil {
			return err
		}
		took := spent{deliveries: s.storm * behind, wall: time.Since(began)}
		after, err := r.usage()
		if err != nil {
			return err
		}
		took.cpu = after - used
		t.note(cpu, c, took.cpuMicros())
		t.note(wall, c, took.wall.Seconds()*1e3)
		return nil
	})
}
