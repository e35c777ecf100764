package broker_test

import (
	"context"
	"expvar"
	"fmt"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// The figures are published with the standard library's expvar, for whoever
// asks for /debug/vars, in one line.
func ExampleBroker_Stats() {
	b := broker.New(nil)
	defer b.Close()
	expvar.Publish("fanfare", expvar.Func(func() any { return b.Stats() }))

	if _, err := b.Publish(context.Background(), sse.Event{Data: "sunny"}, "weather"); err != nil {
		fmt.Println(err)
	}
	fmt.Println(expvar.Get("fanfare"))
	// Output:
	// {"Subscribers":0,"Published":1,"Delivered":0,"Dropped":0,"CaughtUp":0,"Disconnected":0,"Gaps":0,"Bytes":0,"Conflated":0}
}

// A producer that works only while somebody watches.
func ExampleBroker_Count() {
	b := broker.New(nil)
	defer b.Close()
	fmt.Println(b.Count("camera"))
	sub, err := b.Subscribe("camera", "weather")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(b.Count("camera"))
	sub.Close()
	fmt.Println(b.Count("camera"))
	// Output:
	// 0
	// 1
	// 0
}
