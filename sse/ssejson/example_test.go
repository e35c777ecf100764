package ssejson_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssejson"
)

type Price struct {
	Symbol string  `json:"symbol"`
	Value  float64 `json:"value"`
}

// From a broker, over HTTP, to a client, with a type at both ends.
func Example() {
	ctx := context.Background()
	b := broker.New(&broker.Options{Backlog: -1})
	defer b.Close()
	for _, price := range []Price{{"GO", 12.5}, {"GO", 12.75}} {
		if _, err := ssejson.Publish(ctx, b, price, "prices"); err != nil {
			fmt.Println(err)
			return
		}
	}
	server := httptest.NewServer(b.Handler("prices"))
	defer server.Close()
	defer b.Close()

	c := client.New(server.URL, nil)
	for price, err := range ssejson.Values[Price](c.Events(ctx)) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(price.Symbol, price.Value)
		if price.Value > 12.7 {
			break
		}
	}
	// Output:
	// GO 12.5
	// GO 12.75
}

// An event that needs a type or an ID is made first, and then published or sent.
func ExampleEvent() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		stream, err := sse.NewWriter(w, r, nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		ev, err := ssejson.Event(Price{"GO", 12.5})
		if err != nil {
			return // a Price can always be encoded
		}
		ev.Type = "price"
		stream.Send(ev)
	}
	w := httptest.NewRecorder()
	handler(w, httptest.NewRequest("GET", "/", nil))
	fmt.Print(w.Body)
	// Output:
	// event: price
	// data: {"symbol":"GO","value":12.5}
}

// Where each type of event carries something else, the loop is over events.
func ExampleValue() {
	stream := strings.NewReader("event: price\ndata: {\"symbol\":\"GO\"}\n\nevent: closed\ndata: \"17:30\"\n\n")
	for ev, err := range sse.Events(stream) {
		if err != nil {
			fmt.Println(err)
			return
		}
		switch ev.Type {
		case "price":
			price, err := ssejson.Value[Price](ev)
			fmt.Println("price of", price.Symbol, err)
		case "closed":
			at, err := ssejson.Value[string](ev)
			fmt.Println("closed at", at, err)
		}
	}
	// Output:
	// price of GO <nil>
	// closed at 17:30 <nil>
}

// A loop may look at what is no value, and go on.
func ExampleValues() {
	stream := strings.NewReader("data: 1\n\nevent: gap\ndata\n\ndata: 4\n\ndata: five\n\ndata: 6\n\n")
	for n, err := range ssejson.Values[int](sse.Events(stream)) {
		var other *ssejson.EventError
		switch {
		case errors.As(err, &other) && other.Event.Type == "gap":
			fmt.Println("some are missing: ask for the state of things again")
		case errors.As(err, &other):
			fmt.Println("not a number:", other.Event.Data)
		case err != nil:
			fmt.Println(err) // the stream has ended
		default:
			fmt.Println(n)
		}
	}
	// Output:
	// 1
	// some are missing: ask for the state of things again
	// 4
	// not a number: five
	// 6
}
