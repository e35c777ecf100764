package main

import (
	"context"
	"fmt"
	"time"
)

// read measures the clients: one reads a stream over HTTP from a server in
// another process, which writes it as fast as the client takes it.
func read(ctx context.Context, cs []contestant, s settings, t *table) error {
	cs = those(cs, func(c contestant) bool { return c.read != nil })
	p, err := start(ctx, streamerName, 0, false)
	if err != nil {
		return err
	}
	defer p.Close()
	for i, in := range streams()[:2] {
		wall := t.add(measure{name: "client, " + in.name + ": time per event", unit: "ns"})
		cpu := t.add(measure{name: "client, " + in.name + ": client CPU per event", unit: "ns"})
		blocks := 1 + int(s.duration.Seconds()*1_500_000)/in.events
		url := fmt.Sprintf("http://%s/?stream=%d&blocks=%d", p.addr, i, blocks)
		want := tally{in.events * blocks, in.bytes * blocks}
		err := alternate(ctx, s.rounds, cs, func(c contestant) error {
			used, _ := cpuTime() // 0 where it cannot be known
			began := time.Now()
			got, err := c.read(ctx, url, want)
			took := time.Since(began)
			if err != nil {
				return err
			}
			if err := in.check(c, got, blocks); err != nil {
				return err
			}
			t.note(wall, c, float64(took.Nanoseconds())/float64(want.events))
			if after, err := cpuTime(); err == nil {
				t.note(cpu, c, float64((after-used).Nanoseconds())/float64(want.events))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
