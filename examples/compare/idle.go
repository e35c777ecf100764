package main

import (
	"context"
	"strconv"
	"time"
)

// idle measures what a subscriber that waits costs in memory. All have got
// events before, as in a server that has been up for a while.
func idle(ctx context.Context, cs []contestant, s settings, t *table) error {
	const there = 10 // subscribers that are there first, so that what the first costs is not counted
	m := t.add(measure{name: strconv.Itoa(s.idle) + " idle subscribers: RSS of each", unit: "KiB"})
	return alternate(ctx, min(s.rounds, few), cs, func(c contestant) error {
		r, err := newRound(ctx, c, 64, false)
		if err != nil {
			return err
		}
		defer r.Close()
		if err := r.join(there); err != nil {
			return err
		}
		before, err := r.rss()
		if err != nil {
			return err
		}
		if err := r.join(s.idle - there); err != nil {
			return err
		}
		time.Sleep(200 * time.Millisecond) // what a server gives back once it is idle
		after, err := r.rss()
		if err != nil {
			return err
		}
		t.note(m, c, float64(after-before)/1024/float64(s.idle-there))
		return nil
	})
}
