// Command http3 counts up, as examples/counter does, and serves the numbers
// over HTTP/3, and over HTTP/2 and HTTP/1.1 at the same address to whoever
// comes without it. The broker is the same for all.
//
//	go run .
//	go run ./client -insecure
package main

import (
	"context"
	"crypto/tls"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/quic-go/quic-go/http3"
)

// grace is how long a server that ends waits for its clients.
const grace = 2 * time.Second

//go:embed index.html
var page []byte

func main() {
	addr := flag.String("addr", "localhost:8443", "`address` to listen on, TCP and UDP; with port 0, on a free port")
	interval := flag.Duration("interval", 100*time.Millisecond, "`time` from one number to the next")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal ends the server cleanly, a second one kills it
	if err := run(ctx, *addr, *interval, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "http3:", err)
		os.Exit(1)
	}
}

// run counts and serves until ctx ends.
func run(ctx context.Context, addr string, interval time.Duration, stdout io.Writer) error {
	if interval <= 0 {
		return fmt.Errorf("-interval is %v, and must be positive", interval)
	}
	cert, err := selfSigned()
	if err != nil {
		return err
	}
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", tcp.Addr().String()) // the same port, where browsers are sent
	if err != nil {
		return err
	}
	defer udp.Close()

	events := broker.New(&broker.Options{
		Backlog: 1,           // newcomers see the latest number at once
		Retry:   time.Second, // who loses the connection is back soon
	})
	defer events.Close()

	quic := &http3.Server{
		Handler:     routes(events),
		TLSConfig:   http3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{cert}}),
		IdleTimeout: 45 * time.Second, // the broker's heartbeats come every 15 s
	}
	plain := &http.Server{
		Handler:           advertise(quic, routes(events)),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}},
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      10 * time.Second, // streams have one for each write instead
		IdleTimeout:       time.Minute,
		HTTP2:             &http.HTTP2Config{WriteByteTimeout: 10 * time.Second},
	}
	served := make(chan error, 2)
	go func() { served <- quic.Serve(udp) }()
	go func() { served <- plain.ServeTLS(tcp, "", "") }()
	fmt.Fprintf(stdout, "Counting at https://%s/, every %v. Ctrl-C ends it.\n", tcp.Addr(), interval)

	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ticker.C:
			_, err := events.Publish(ctx, sse.Event{Data: strconv.Itoa(n)})
			if err != nil && ctx.Err() == nil {
				return err
			}
		case <-ctx.Done():
			return shutdown(quic, plain, events)
		case err := <-served:
			return errors.Join(err, quic.Close(), plain.Close())
		}
	}
}

// routes serves the page at / and the stream at /events.
func routes(events http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/events", events)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache")
		// The page is one file, and loads nothing but the stream.
		w.Header().Set("Content-Security-Policy", "default-src 'none'; connect-src 'self'; img-src data:; "+
			"script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		w.Write(page)
	})
	return mux
}

// advertise tells clients of h that there is HTTP/3 as well: browsers begin
// with TCP and go over to it when they read that.
func advertise(quic *http3.Server, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = quic.SetQUICHeaders(w.Header()) // it fails while there is nothing to tell
		h.ServeHTTP(w, r)
	})
}

// shutdown ends the servers, and the streams with them. Both wait for streams
// and end none, so the broker is told at the same moment.
func shutdown(quic *http3.Server, plain *http.Server, events *broker.Broker) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()

	closed := make(chan error, 2)
	for _, shutdown := range []func(context.Context) error{quic.Shutdown, plain.Shutdown} {
		go func() { closed <- shutdown(ctx) }()
	}
	err := events.Shutdown(ctx)
	for range 2 {
		<-closed
	}
	plain.Close() // what is left has had its time
	quic.Close()
	if err != nil {
		return fmt.Errorf("streams were cut off: %w", err)
	}
	return nil
}
