package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	ldes "github.com/launchdarkly/eventsource"
)

// eventsource is github.com/launchdarkly/eventsource.
var eventsource = contestant{
	name:   "eventsource",
	module: "github.com/launchdarkly/eventsource",
	serve:  eventsourceServer,
	parse:  eventsourceParse,
	encode: eventsourceEncode,
	read:   eventsourceRead,
}

// eventsourceServer is the server as NewServer makes it; its buffer of 128
// events holds the largest burst twice. A repository, which the publisher fills
// itself, is registered only if history is wanted.
func eventsourceServer(history bool) server {
	s := ldes.NewServer()
	repo := ldes.NewSliceRepository()
	if history {
		s.Register(streamName, repo)
	}
	events := 0
	publish := func(data []string) error {
		for _, d := range data {
			ev := publication{data: d}
			if history {
				// The repository orders IDs as strings: all are equally long.
				ev.id = fmt.Sprintf("%08d", events)
				events++
				repo.Add(streamName, ev)
			}
			s.Publish([]string{streamName}, ev)
		}
		return nil
	}
	// The repository replays the event of the cursor as well.
	return server{handler: s.Handler(streamName), publish: publish, cursor: func() string { return "00000001" }}
}

// publication is an eventsource.Event.
type publication struct{ id, data string }

func (p publication) Id() string    { return p.id }
func (p publication) Event() string { return "" }
func (p publication) Data() string  { return p.data }

func eventsourceParse(stream []byte) (tally, error) {
	var t tally
	for dec := ldes.NewDecoder(bytes.NewReader(stream)); ; {
		ev, err := dec.Decode()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return t, err
		}
		t.events++
		t.bytes += len(ev.Data())
	}
}

func eventsourceEncode(data string, n int) (int, error) {
	pub := publication{data: data}
	var b bytes.Buffer
	enc := ldes.NewEncoder(&b, false)
	total := 0
	for range n {
		b.Reset()
		if err := enc.Encode(pub); err != nil {
			return total, err
		}
		total += b.Len()
	}
	return total, nil
}

// eventsourceRead sets an error handler: without one, errors would need a
// second channel to be drained.
func eventsourceRead(ctx context.Context, url string, want tally) (tally, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return tally{}, err
	}
	var failed error // written before Events is closed
	stop := ldes.StreamOptionErrorHandler(func(err error) ldes.StreamErrorHandlerResult {
		failed = err
		return ldes.StreamErrorHandlerResult{CloseNow: true}
	})
	stream, err := ldes.SubscribeWithRequestAndOptions(req, stop)
	if err != nil {
		return tally{}, err
	}
	defer stream.Close()
	var t tally
	for ev := range stream.Events {
		t.events++
		t.bytes += len(ev.Data())
		if t.events == want.events {
			return t, nil
		}
	}
	return t, failed
}
