package main

import (
	"bytes"
	"context"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
)

// fanfare is this repository with its defaults, which keep history: it replays
// what the others, except in the measurement of replay, do not hold.
var fanfare = contestant{
	name:   "fanfare",
	module: "github.com/fanfare-go/fanfare",
	ours:   true,
	serve:  func(bool) server { return fanfareServer(nil) },
	parse:  fanfareParse,
	encode: fanfareEncode,
	read:   fanfareRead,
}

// detached is fanfare with Options.Detach.
var detached = contestant{
	name:  "fanfare detach",
	ours:  true,
	serve: func(bool) server { return fanfareServer(&broker.Options{Detach: true}) },
}

func fanfareServer(opts *broker.Options) server {
	b := broker.New(opts)
	first := "" // ID of the first event
	publish := func(data []string) error {
		for _, d := range data {
			id, err := b.Publish(context.Background(), sse.Event{Data: d})
			if err != nil {
				return err
			}
			if first == "" {
				first = id
			}
		}
		return nil
	}
	return server{handler: b, publish: publish, cursor: func() string { return first }}
}

func fanfareParse(stream []byte) (tally, error) {
	var t tally
	for ev, err := range sse.Events(bytes.NewReader(stream)) {
		if err != nil {
			return t, err
		}
		t.events++
		t.bytes += len(ev.Data)
	}
	return t, nil
}

// fanfareEncode appends to a buffer that is used again.
func fanfareEncode(data string, n int) (int, error) {
	ev := sse.Event{Data: data}
	var b []byte
	total := 0
	for range n {
		var err error
		if b, err = ev.AppendTo(b[:0]); err != nil {
			return total, err
		}
		total += len(b)
	}
	return total, nil
}

// fanfareRead leaves the loop with the last event; without that the client would
// go on to reconnect.
func fanfareRead(ctx context.Context, url string, want tally) (tally, error) {
	var t tally
	for ev, err := range client.New(url, nil).Events(ctx) {
		if err != nil {
			return t, err
		}
		t.events++
		t.bytes += len(ev.Data)
		if t.events == want.events {
			break
		}
	}
	return t, nil
}
