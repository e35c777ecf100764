package fanfare_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// What a server of r3labs/sse is with fanfare.
func Example_migratingR3labsServer() {
	ctx := context.Background()
	mux := http.NewServeMux()
	events := broker.New(&broker.Options{
		Topics:  broker.QueryTopics("stream", "messages"),
		Backlog: -1, // newcomers get all that is held, as with AutoReplay
	})
	mux.Handle("GET /events", events)

	id, err := events.Publish(ctx, sse.Event{Data: "ping"}, "messages")
	if err != nil {
		fmt.Println(err)
	}

	rec := ssetest.Record(nil, mux, ssetest.NewRequest("/events?stream=messages", ""))
	defer rec.Close()
	defer events.Close()
	ev, err := rec.Next()
	fmt.Println(ev.Data, ev.ID == id, err)
	// Output: ping true <nil>
}

// What a client of r3labs/sse is with fanfare: the loop ends when ctx does.
func Example_migratingR3labsClient() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events := broker.New(&broker.Options{Topics: broker.AnyQueryTopic("stream"), Backlog: -1})
	defer events.Close()
	events.Publish(ctx, sse.Event{Data: "ping"}, "messages")
	server := httptest.NewServer(events)
	defer server.Close()
	defer events.Close()

	follow := func(ctx context.Context, url string) error {
		c := client.New(url+"?stream=messages", nil)
		for ev, err := range c.Events(ctx) {
			if err != nil {
				return err
			}
			fmt.Println(ev.Data)
			cancel()
		}
		return nil
	}
	fmt.Println(follow(ctx, server.URL))

	// With a channel, as of SubscribeChan.
	ctx, cancel = context.WithCancel(context.Background())
	defer cancel()
	c := client.New(server.URL+"?stream=messages", nil)
	ch := make(chan sse.Event)
	go func() {
		defer close(ch)
		for ev, err := range c.Events(ctx) {
			if err != nil {
				return
			}
			select {
			case ch <- ev:
			case <-ctx.Done():
			}
		}
	}()
	fmt.Println((<-ch).Data)
	cancel()
	_, open := <-ch
	fmt.Println(open)
	// Output:
	// ping
	// context canceled
	// ping
	// false
}

// What a server of tmaxmax/go-sse is with fanfare.
func Example_migratingGoSSEServer() {
	login := func(r *http.Request) (user string, ok bool) { return "ada", true }
	ctx := context.Background()
	server := broker.New(&broker.Options{
		Store: broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: 1000}),
		Topics: func(r *http.Request) ([]string, error) {
			user, ok := login(r)
			if !ok {
				return nil, &broker.StatusError{Code: http.StatusUnauthorized}
			}
			return []string{"user/" + user, "news"}, nil
		},
	})
	first, err := server.Publish(ctx, sse.Event{Type: "headline", Data: "hello"}, "news")
	if err != nil {
		fmt.Println(err)
	}
	server.Publish(ctx, sse.Event{Data: "to Ada"}, "user/ada")

	rec := ssetest.Record(nil, server, ssetest.NewRequest("/events", first))
	defer rec.Close()
	defer server.Close()
	ev, err := rec.Next()
	fmt.Println(ev.Data, err)
	// Output: to Ada <nil>
}

// What a session of tmaxmax/go-sse is with fanfare.
func Example_migratingGoSSESession() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		stream, err := sse.NewWriter(w, r, nil)
		if err != nil {
			http.Error(w, "streaming is not possible here", http.StatusInternalServerError)
			return
		}
		defer stream.Close()
		if err := stream.Send(sse.Event{Type: "headline", Data: "hello"}); err != nil {
			return
		}
	}
	rec := ssetest.Record(nil, http.HandlerFunc(handler), ssetest.NewRequest("/", ""))
	defer rec.Close()
	ev, err := rec.Next()
	fmt.Println(ev.Type, ev.Data, err)
	// Output: headline hello <nil>
}

// What a connection of tmaxmax/go-sse is with fanfare.
func Example_migratingGoSSEClient() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sse.SetHeader(w.Header())
		fmt.Fprint(w, "data: not asked for\n\nevent: headline\ndata: hello\n\n")
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	follow := func(ctx context.Context, url string) error {
		c := client.New(url, &client.Options{MinBackoff: 500 * time.Millisecond, MaxAttempts: 6})
		for ev, err := range c.Events(ctx) {
			if err != nil {
				return err
			}
			if ev.Type == "headline" {
				fmt.Println(ev.Data)
				cancel()
			}
		}
		return nil
	}
	fmt.Println(follow(ctx, server.URL))

	// What sse.Read is.
	body := strings.NewReader("data: hello\n\n")
	for ev, err := range sse.Events(body) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(ev.Data)
	}
	// Output:
	// hello
	// context canceled
	// hello
}
