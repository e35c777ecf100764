package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
)

// A contestant is a library, or a floor: a program that does nothing but what
// the work needs in any case. What a contestant cannot do is nil.
type contestant struct {
	name   string
	module string // import path of its module, for the version; "": none
	ours   bool   // a way to use fanfare: the ratios are about it
	floor  bool   // knows only bytes and line ends: of its tallies only the events count

	// serve makes the contestant's server. With history it keeps every event
	// and replays what comes after a Last-Event-ID.
	serve func(history bool) server

	// parse reads a whole text/event-stream.
	parse func(stream []byte) (tally, error)

	// encode encodes an event with this data n times into memory that is used
	// again, and returns the number of bytes written.
	encode func(data string, n int) (int, error)

	// read reads events from a server until want.events have arrived or the
	// stream ends.
	read func(ctx context.Context, url string, want tally) (tally, error)
}

// A server is a contestant at work in a process of its own.
type server struct {
	handler http.Handler

	// publish sends the events with this data, in order. It is called by one
	// goroutine at a time and may return before the events are delivered.
	publish func(data []string) error

	// cursor returns the Last-Event-ID with which everything after the first
	// event is replayed, in the server's own words.
	cursor func() string
}

// A tally is what a parser or client has found: events, and bytes of data.
type tally struct{ events, bytes int }

// contestants are all of them, the floor first. Every measurement leaves out
// those that cannot take part.
var contestants = []contestant{floor, fanfare, detached, r3labs, goSSE, eventsource}

// byName returns the contestant with this name.
func byName(name string) (contestant, error) {
	for _, c := range contestants {
		if c.name == name {
			return c, nil
		}
	}
	return contestant{}, fmt.Errorf("compare: no contestant is called %q", name)
}

// alternate lets each of cs do the work once per round. Every round starts with
// another one, and every second goes backwards, so that nobody always runs after
// the same other.
func alternate(ctx context.Context, rounds int, cs []contestant, work func(contestant) error) error {
	for round := range rounds {
		order := slices.Concat(cs[round%len(cs):], cs[:round%len(cs)])
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, c := range order {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := work(c); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	return nil
}

// those returns the contestants that can take part.
func those(cs []contestant, can func(contestant) bool) []contestant {
	var able []contestant
	for _, c := range cs {
		if can(c) {
			able = append(able, c)
		}
	}
	return able
}
