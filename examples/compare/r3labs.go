package main

import (
	"bytes"
	"context"
	"io"
	"net/http"

	r3sse "github.com/r3labs/sse/v2"
)

// r3labs is github.com/r3labs/sse/v2. Its encoder is part of its handler and
// cannot be reached alone.
var r3labs = contestant{
	name:   "r3labs/sse",
	module: "github.com/r3labs/sse/v2",
	serve:  r3labsServer,
	parse:  r3labsParse,
	read:   r3labsRead,
}

// r3labsServer replays nothing unless history is wanted: its event log has no
// limit and would only grow.
func r3labsServer(history bool) server {
	s := r3sse.New()
	s.AutoReplay = history
	s.CreateStream(streamName)
	publish := func(data []string) error {
		for _, d := range data {
			s.Publish(streamName, &r3sse.Event{Data: []byte(d)})
		}
		return nil
	}
	// The log numbers events from 0 and replays the event of the cursor as
	// well, so 1 is the cursor after the first event.
	return server{handler: s, publish: publish, cursor: func() string { return "1" }}
}

// r3labsParse runs the client on a response in memory: the part that takes
// events apart is not exported.
func r3labsParse(stream []byte) (tally, error) {
	c := r3sse.NewClient("http://memory/")
	c.Connection = &http.Client{Transport: memory{stream}}
	return r3labsCount(context.Background(), c)
}

func r3labsRead(ctx context.Context, url string, _ tally) (tally, error) {
	return r3labsCount(ctx, r3sse.NewClient(url))
}

// r3labsCount uses the callback: the channel of SubscribeChan would add another
// hand-over. The client ends when the stream does.
func r3labsCount(ctx context.Context, c *r3sse.Client) (tally, error) {
	var t tally
	err := c.SubscribeRawWithContext(ctx, func(ev *r3sse.Event) {
		t.events++
		t.bytes += len(ev.Data)
	})
	return t, err
}

// memory is a RoundTripper that answers with these bytes.
type memory struct{ body []byte }

func (m memory) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK,
		Header:     http.Header{"Content-Type": {"text/event-stream"}},
		Body:       io.NopCloser(bytes.NewReader(m.body)),
		Request:    req,
	}, nil
}
