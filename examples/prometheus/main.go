// Command prometheus publishes the figures of a broker for Prometheus, with the
// official client library.
//
//	go run .
//	curl localhost:8082/metrics
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

const (
	topic = "clock"
	grace = 2 * time.Second // how long a server that ends waits for its clients
)

func main() {
	addr := flag.String("addr", "localhost:8082", "`address` to listen on; with port 0, on a free port")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal ends the server cleanly, a second one kills it
	if err := run(ctx, *addr, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "prometheus:", err)
		os.Exit(1)
	}
}

// run publishes the time, and serves it and the figures, until ctx ends.
func run(ctx context.Context, addr string, stdout io.Writer) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	events := broker.New(nil)
	defer events.Close()
	server := &http.Server{
		Handler:           routes(events),
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      10 * time.Second, // streams have one for each write instead
		IdleTimeout:       time.Minute,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	fmt.Fprintf(stdout, "The stream is at http://%s/events, the figures are at http://%[1]s/metrics. Ctrl-C ends it.\n", ln.Addr())

	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			if _, err := events.Publish(ctx, sse.Event{Data: now.Format(time.TimeOnly)}, topic); err != nil && ctx.Err() == nil {
				return err
			}
		case <-ctx.Done():
			return shutdown(server, events)
		case err := <-served:
			return err
		}
	}
}

// shutdown ends the server, and the streams as soon as no new ones come.
func shutdown(server *http.Server, events *broker.Broker) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	ended := make(chan error, 1)
	server.RegisterOnShutdown(func() { ended <- events.Shutdown(ctx) })
	if server.Shutdown(ctx) != nil {
		server.Close() // for instance a connection that a browser has opened in advance, and never used
	}
	err := <-ended
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("clients that did not read were cut off")
	}
	return err
}

// routes serves the stream at /events and its figures at /metrics.
func routes(events *broker.Broker) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewCollector(events, topic))
	mux := http.NewServeMux()
	mux.Handle("GET /events", events.Handler(topic))
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}
