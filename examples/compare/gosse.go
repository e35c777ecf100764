package main

import (
	"bytes"
	"context"
	"net/http"

	gosse "github.com/tmaxmax/go-sse"
)

// goSSE is github.com/tmaxmax/go-sse.
var goSSE = contestant{
	name:   "go-sse",
	module: "github.com/tmaxmax/go-sse",
	serve:  goSSEServer,
	parse:  goSSEParse,
	encode: goSSEEncode,
	read:   goSSERead,
}

// goSSEServer uses Joe, the provider that the library ships and recommends. A
// Replayer, which costs a copy of every message, is there only if history is
// wanted; the finite one replays fastest.
func goSSEServer(history bool) server {
	joe := &gosse.Joe{}
	if history {
		replayer, err := gosse.NewFiniteReplayer(maxHistory, true)
		if err != nil {
			panic(err) // only for a count below 2
		}
		joe.Replayer = replayer
	}
	s := &gosse.Server{Provider: joe}
	publish := func(data []string) error {
		for _, d := range data {
			m := &gosse.Message{}
			m.AppendData(d)
			if err := s.Publish(m); err != nil {
				return err
			}
		}
		return nil
	}
	// The replayer numbers events from 0.
	return server{handler: s, publish: publish, cursor: func() string { return "0" }}
}

func goSSEParse(stream []byte) (tally, error) {
	var t tally
	for ev, err := range gosse.Read(bytes.NewReader(stream), nil) {
		if err != nil {
			return t, err
		}
		t.events++
		t.bytes += len(ev.Data)
	}
	return t, nil
}

// goSSEEncode builds the message once, which is how the library keeps encoding
// cheap, and writes it again and again to a buffer that is large enough.
func goSSEEncode(data string, n int) (int, error) {
	m := &gosse.Message{}
	m.AppendData(data)
	var b bytes.Buffer
	total := 0
	for range n {
		b.Reset()
		wrote, err := m.WriteTo(&b)
		if err != nil {
			return total, err
		}
		total += int(wrote)
	}
	return total, nil
}

// goSSERead ends the connection with the last event; without that the client
// would go on to reconnect.
func goSSERead(ctx context.Context, url string, want tally) (tally, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return tally{}, err
	}
	client := &gosse.Client{Backoff: gosse.Backoff{MaxRetries: -1}}
	conn := client.NewConnection(req)
	var t tally
	conn.SubscribeToAll(func(ev gosse.Event) {
		t.events++
		t.bytes += len(ev.Data)
		if t.events == want.events {
			cancel()
		}
	})
	err = conn.Connect()
	if t.events == want.events {
		err = nil
	}
	return t, err
}
