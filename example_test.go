package fanfare_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
)

func tokens(w http.ResponseWriter, r *http.Request) {
	stream, err := sse.NewWriter(w, r, nil)
	if err != nil {
		http.Error(w, "streaming is not possible here", http.StatusInternalServerError)
		return
	}
	defer stream.Close()
	for _, token := range []string{"Hello", " ", "world"} {
		if err := stream.Send(sse.Event{Type: "token", Data: token}); err != nil {
			return // the client is gone
		}
	}
}

// A handler that streams a response.
func Example_handler() {
	w := httptest.NewRecorder()
	tokens(w, httptest.NewRequest("GET", "/", nil))
	for ev := range sse.Events(w.Body) {
		fmt.Printf("%s: %q\n", ev.Type, ev.Data)
	}
	// Output:
	// token: "Hello"
	// token: " "
	// token: "world"
}

// A broker with topics, from which clients resume.
func Example_broker() {
	ctx := context.Background()
	b := broker.New(&broker.Options{
		Topics: broker.QueryTopics("stream", "news", "weather"),
	})
	defer b.Close()
	http.Handle("GET /events", b)

	id, err := b.Publish(ctx, sse.Event{Data: "sunny"}, "weather")
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := b.Publish(ctx, sse.Event{Data: "cloudy"}, "weather"); err != nil {
		fmt.Println(err)
		return
	}

	// A subscriber that has seen the first event goes on with the second.
	sub, err := b.Resume(id, "weather")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sub.Close()
	for ev, err := range sub.Events(ctx) {
		fmt.Println(ev.Data, err)
		break
	}
	// Output: cloudy <nil>
}

// A client that stays connected.
func Example_client() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b := broker.New(&broker.Options{Backlog: -1})
	defer b.Close()
	for _, ev := range []sse.Event{{ID: "1", Data: "one"}, {ID: "2", Data: "two"}} {
		if _, err := b.Publish(ctx, ev); err != nil {
			fmt.Println(err)
			return
		}
	}
	server := httptest.NewServer(b)
	defer server.Close()
	defer b.Close()

	follow := func(ctx context.Context, url string) error {
		c := client.New(url, &client.Options{IdleTimeout: 45 * time.Second}) // heartbeats come every 15 s
		for ev, err := range c.Events(ctx) {
			if err != nil {
				return err // the last element
			}
			fmt.Println(ev.ID, ev.Data)
			if ev.Data == "two" {
				cancel()
			}
		}
		return nil
	}
	fmt.Println(follow(ctx, server.URL))
	// Output:
	// 1 one
	// 2 two
	// context canceled
}
