package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
)

// counter counts to three, one connection for each number, and then says stop.
var counter = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	var n int
	fmt.Sscan(r.Header.Get("Last-Event-ID"), &n)
	if n == 3 {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", sse.MediaType)
	fmt.Fprintf(w, "retry: 10\nid: %d\ndata: the number is %d\n\n", n+1, n+1)
})

func Example() {
	srv := httptest.NewServer(counter)
	defer srv.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := client.New(srv.URL, nil)
	for ev, err := range c.Events(ctx) {
		if err != nil {
			fmt.Println("gave up:", err)
			return
		}
		fmt.Println(ev.Data)
	}
	fmt.Println("the server said stop after", c.LastEventID())
	// Output:
	// the number is 1
	// the number is 2
	// the number is 3
	// the server said stop after 3
}

func ExampleOptions() {
	srv := httptest.NewServer(counter)
	defer srv.Close()

	c := client.New(srv.URL, &client.Options{
		LastEventID: "1", // what an earlier run of the program had stored
		IdleTimeout: 45 * time.Second,
		Prepare: func(req *http.Request) error {
			req.Header.Set("Authorization", "Bearer "+token())
			return nil
		},
		OnConnect: func(*http.Response) { fmt.Println("connected") },
		OnRetry: func(err error, delay time.Duration) {
			if errors.Is(err, io.EOF) {
				fmt.Println("the server ended the stream: connecting again soon")
			}
		},
	})
	for ev := range c.Events(context.Background()) {
		fmt.Println(ev.Data)
	}
	// Output:
	// connected
	// the number is 2
	// the server ended the stream: connecting again soon
	// connected
	// the number is 3
	// the server ended the stream: connecting again soon
}

// token stands for what fetches a token when the last one has expired.
func token() string { return "fresh" }

func ExampleResponseError() {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "log in first", http.StatusUnauthorized)
	}))
	defer srv.Close()

	for _, err := range client.New(srv.URL, nil).Events(context.Background()) {
		if refused, ok := errors.AsType[*client.ResponseError](err); ok {
			fmt.Println(err)
			fmt.Printf("%d: %s", refused.StatusCode, refused.Body)
		}
	}
	// Output:
	// client: unexpected status 401 Unauthorized
	// 401: log in first
}

func ExampleClient_Reconnect() {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", sse.MediaType)
		fmt.Fprintf(w, "data: hello, %s\n\n", r.Header.Get("X-User"))
		http.NewResponseController(w).Flush()
		<-r.Context().Done() // the stream stays open
	}))
	defer srv.Close()

	user := "guest"
	c := client.New(srv.URL, &client.Options{Prepare: func(req *http.Request) error {
		req.Header.Set("X-User", user)
		return nil
	}})
	for ev := range c.Events(context.Background()) {
		fmt.Println(ev.Data)
		if user == "gopher" {
			break
		}
		user = "gopher"
		c.Reconnect()
	}
	// Output:
	// hello, guest
	// hello, gopher
}
