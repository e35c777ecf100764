// Command prometheus publishes the figures of a broker for Prometheus, with the
// official client library.
//
//	go run .
//	curl localhost:8082/metrics
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

func main() {
	addr := flag.String("addr", "localhost:8082", "`address` to listen on")
	flag.Parse()
	events := broker.New(nil)
	defer events.Close()
	go func() {
		for now := range time.Tick(time.Second) {
			_, _ = events.Publish(context.Background(), sse.Event{Data: now.Format(time.TimeOnly)})
		}
	}()
	fmt.Printf("The stream is at http://%s/events, the figures are at http://%[1]s/metrics.\n", *addr)
	if err := http.ListenAndServe(*addr, routes(events)); err != nil {
		fmt.Fprintln(os.Stderr, "prometheus:", err)
		os.Exit(1)
	}
}

// routes serves the stream at /events and its figures at /metrics.
func routes(events *broker.Broker) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewCollector(events))
	mux := http.NewServeMux()
	mux.Handle("/events", events)
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}
