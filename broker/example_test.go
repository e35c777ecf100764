package broker_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// A server: events are published on topics, and requests name the topics that
// they want.
func ExampleBroker() {
	b := broker.New(&broker.Options{Topics: broker.QueryTopics("topic", "news", "weather")})
	defer b.Close()
	srv := httptest.NewServer(b) // or http.Handle("GET /events", b)
	defer srv.Close()

	resp, err := http.Get(srv.URL + "?topic=weather")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	for _, data := range []string{"sunny", "cloudy"} {
		if _, err := b.Publish(context.Background(), sse.Event{Type: "sky", Data: data}, "weather"); err != nil {
			fmt.Println(err)
			return
		}
	}
	n := 0
	for ev, err := range sse.Events(resp.Body) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(ev.Type, ev.Data)
		if n++; n == 2 {
			break
		}
	}
	// Output:
	// sky sunny
	// sky cloudy
}

// Who may see what: the topics come from what the server knows of the user, not
// from the request.
func ExampleOptions() {
	teams := map[string]string{"ann": "red", "bob": "blue"} // by user
	b := broker.New(&broker.Options{
		Topics: func(r *http.Request) ([]string, error) {
			user, _, _ := r.BasicAuth() // the password has been looked at before
			team, ok := teams[user]
			if !ok {
				return nil, &broker.StatusError{Code: http.StatusUnauthorized, Err: errors.New("nobody we know")}
			}
			return []string{"all", "team:" + team}, nil
		},
		MaxPerCaller: 10,
	})
	defer b.Close()

	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	fmt.Println(w.Code)
	// Output: 401
}

// A subscriber in process that breaks off, and comes back for the rest.
func ExampleBroker_Resume() {
	ctx := context.Background()
	b := broker.New(nil)
	defer b.Close()
	sub, err := b.Subscribe("jobs")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, data := range []string{"one", "two", "three"} {
		if _, err := b.Publish(ctx, sse.Event{Data: data}, "jobs"); err != nil {
			fmt.Println(err)
			return
		}
	}
	var last string
	for ev, err := range sub.Events(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(ev.Data)
		last = ev.ID
		break
	}
	sub.Close()

	if sub, err = b.Resume(last, "jobs"); err != nil {
		fmt.Println(err)
		return
	}
	defer sub.Close()
	for ev, err := range sub.Events(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(ev.Data)
		if ev.Data == "three" {
			break
		}
	}
	// Output:
	// one
	// two
	// three
}

// A subscription that follows other topics as time goes by.
func ExampleSubscription_Add() {
	ctx := context.Background()
	b := broker.New(nil)
	defer b.Close()
	sub, err := b.Subscribe("room 1")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sub.Close()
	say := func(room, text string) {
		if _, err := b.Publish(ctx, sse.Event{Data: room + ": " + text}, room); err != nil {
			fmt.Println(err)
		}
	}
	say("room 1", "hello")
	say("room 2", "is anybody here?")
	for ev, err := range sub.Events(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(ev.Data)
		if ev.Data == "room 2: bye" {
			break
		}
		if err := sub.Add("room 2"); err != nil {
			fmt.Println(err)
			return
		}
		sub.Remove("room 1")
		say("room 1", "where are you?")
		say("room 2", "bye")
	}
	// Output:
	// room 1: hello
	// room 2: bye
}

// A history of three events: who has been away for longer is told that there is a
// gap.
func ExampleMemoryStore() {
	ctx := context.Background()
	b := broker.New(&broker.Options{
		Store: broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: 3}),
		Gap:   sse.Event{Type: "gap", Data: "something is missing here"},
	})
	defer b.Close()
	var first string
	for n := range 9 {
		id, err := b.Publish(ctx, sse.Event{Data: fmt.Sprint(n)})
		if err != nil {
			fmt.Println(err)
			return
		}
		if n == 0 {
			first = id
		}
	}
	sub, err := b.Resume(first)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sub.Close()
	for ev, err := range sub.Events(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(ev.Type, ev.Data)
		if ev.Data == "8" {
			break
		}
	}
	// Output:
	// gap something is missing here
	//  6
	//  7
	//  8
}
