package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/r3labs/sse/v2"
)

// What docs/MIGRATING.md says that a program with r3labs/sse looks like. It is
// compiled only: its client may go on trying after its context has ended.
func Example_r3labs() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	mux := http.NewServeMux()
	server := sse.New()
	server.CreateStream("messages")
	mux.HandleFunc("/events", server.ServeHTTP)

	server.Publish("messages", &sse.Event{Data: []byte("ping")})

	site := httptest.NewServer(mux)
	defer site.Close()
	defer server.Close()
	url := site.URL + "/events"
	follow := func(ctx context.Context, url string) error {
		c := sse.NewClient(url)
		return c.SubscribeWithContext(ctx, "messages", func(msg *sse.Event) {
			fmt.Println(string(msg.Data))
			cancel()
		})
	}
	fmt.Println(follow(ctx, url))

	c := sse.NewClient(url)
	ch := make(chan *sse.Event)
	err := c.SubscribeChan("messages", ch)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string((<-ch).Data))
	c.Unsubscribe(ch)
}
