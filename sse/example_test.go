package sse_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/fanfare-go/fanfare/sse"
)

func ExampleEvent_AppendTo() {
	ev := sse.Event{ID: "42", Type: "price", Data: "GO\n12.5", Retry: 2 * time.Second}
	b, err := ev.AppendTo(nil)
	if err != nil {
		log.Fatal(err)
	}
	os.Stdout.Write(b)
	// Output:
	// id: 42
	// event: price
	// retry: 2000
	// data: GO
	// data: 12.5
}

func ExampleFieldError() {
	_, err := sse.Event{Type: "price\ndata: 0", Data: "12.5"}.AppendTo(nil)
	var fieldErr *sse.FieldError
	fmt.Println(errors.As(err, &fieldErr), fieldErr.Field)
	fmt.Println(err)
	// Output:
	// true event
	// sse: event field "price\ndata: 0" has a line end
}

func ExampleDecoder() {
	stream := ": welcome\nretry: 2000\n\nid: 1\ndata: one\n\nid: 2\ndata: two\ndata: lines\n\ndata: cut"
	d := sse.NewDecoder(strings.NewReader(stream))
	d.OnComment(func(text string) { fmt.Printf("comment %q\n", text) })
	for {
		ev, err := d.Decode()
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Printf("%s %q\n", ev.ID, ev.Data)
	}
	fmt.Println("reconnect in", d.Retry(), "and resume after", d.LastEventID())
	// Output:
	// comment "welcome"
	// 1 "one"
	// 2 "two\nlines"
	// unexpected EOF
	// reconnect in 2s and resume after 2
}

func ExampleEvents() {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sw, err := sse.NewWriter(w, r, nil)
		if err != nil {
			return
		}
		defer sw.Close()
		sw.Send(sse.Event{Type: "greeting", Data: "hello"})
	}))
	defer srv.Close()

	res, err := http.Get(srv.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	for ev, err := range sse.Events(res.Body) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(ev.Type, ev.Data)
	}
	// Output: greeting hello
}

// A handler that streams the answer of a language model, token by token.
func ExampleWriter() {
	generate := func(ctx context.Context, yield func(token string) error) error {
		for _, token := range []string{"Fan", "fare", "!"} {
			if err := yield(token); err != nil {
				return err
			}
		}
		return nil
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		sw, err := sse.NewWriter(w, r, nil)
		if err != nil {
			http.Error(w, "streaming is not supported", http.StatusInternalServerError)
			return
		}
		defer sw.Close()
		err = generate(r.Context(), func(token string) error {
			return sw.Send(sse.Event{Data: token})
		})
		if err == nil {
			sw.Send(sse.Event{Type: "done"})
		}
	}

	rec := httptest.NewRecorder()
	handler(rec, httptest.NewRequest("GET", "/", nil))
	fmt.Println(rec.Header().Get("Content-Type"))
	io.Copy(os.Stdout, rec.Body)
	// Output:
	// text/event-stream
	// data: Fan
	//
	// data: fare
	//
	// data: !
	//
	// event: done
	// data:
}

// Events that come from elsewhere, with heartbeats while there are none.
func ExampleWriter_SendAll() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		events := make(chan sse.Event)
		go func() {
			defer close(events)
			lines := bufio.NewScanner(strings.NewReader("one\ntwo\n"))
			for lines.Scan() {
				select {
				case events <- sse.Event{Data: lines.Text()}:
				case <-r.Context().Done():
					return
				}
			}
		}()
		sw, err := sse.NewWriter(w, r, &sse.WriterOptions{Retry: time.Second})
		if err != nil {
			http.Error(w, "streaming is not supported", http.StatusInternalServerError)
			return
		}
		if err := sw.SendAll(r.Context(), events); err != nil {
			log.Print("stream ended early: ", err)
		}
	}

	rec := httptest.NewRecorder()
	handler(rec, httptest.NewRequest("GET", "/", nil))
	io.Copy(os.Stdout, rec.Body)
	// Output:
	// retry: 1000
	//
	// data: one
	//
	// data: two
}
