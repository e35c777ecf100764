package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/tmaxmax/go-sse"
)

// What docs/MIGRATING.md says that a program with tmaxmax/go-sse looks like.
func Example_goSSE() {
	login := func(r *http.Request) (user string, ok bool) { return "ada", true }
	replayer, err := sse.NewFiniteReplayer(1000, true)
	if err != nil {
		fmt.Println(err)
		return
	}
	server := &sse.Server{
		Provider: &sse.Joe{Replayer: replayer},
		OnSession: func(w http.ResponseWriter, r *http.Request) ([]string, bool) {
			user, ok := login(r)
			if !ok {
				http.Error(w, "log in first", http.StatusUnauthorized)
				return nil, false
			}
			return []string{"user/" + user, "news"}, true
		},
	}
	m := &sse.Message{Type: sse.Type("headline")}
	m.AppendData("hello")
	err = server.Publish(m, "news")
	if err != nil {
		fmt.Println(err)
	}
	server.Shutdown(context.Background())

	handler := func(w http.ResponseWriter, r *http.Request) {
		session, err := sse.Upgrade(w, r)
		if err != nil {
			http.Error(w, "streaming is not possible here", http.StatusInternalServerError)
			return
		}
		m := &sse.Message{Type: sse.Type("headline")}
		m.AppendData("hello")
		if err := session.Send(m); err != nil {
			return
		}
		if err := session.Flush(); err != nil {
			return
		}
	}
	site := httptest.NewServer(http.HandlerFunc(handler))
	defer site.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	follow := func(ctx context.Context, url string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		c := &sse.Client{Backoff: sse.Backoff{InitialInterval: 500 * time.Millisecond, MaxRetries: 5}}
		conn := c.NewConnection(req)
		conn.SubscribeEvent("headline", func(ev sse.Event) {
			fmt.Println(ev.Data)
			cancel()
		})
		return conn.Connect()
	}
	fmt.Println(follow(ctx, site.URL))

	body := strings.NewReader("data: hello\n\n")
	for ev, err := range sse.Read(body, nil) {
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
