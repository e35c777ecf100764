// Command counter counts up, and shows every new number to whoever watches: on
// a page in the browser, and in the terminal with the client in ./client.
//
//	go run ./examples/counter
//	go run ./examples/counter/client
package main

import (
	"context"
	"crypto/tls"
	_ "embed"
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
)

// topic is what the numbers are published on, and what clients ask for.
const topic = "messages"

// grace is how long a server that ends waits for its clients.
const grace = 2 * time.Second

//go:embed index.html
var page []byte

func main() {
	addr := flag.String("addr", "localhost:8080", "`address` to listen on; with port 0, on a free port")
	interval := flag.Duration("interval", 100*time.Millisecond, "`time` from one number to the next")
	secure := flag.Bool("tls", false, "serve HTTPS, and so HTTP/2, with a certificate made for this run")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal ends the server cleanly, a second one kills it
	if err := run(ctx, *addr, *interval, *secure, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "counter:", err)
		os.Exit(1)
	}
}

// run counts and serves until ctx ends, over HTTP or, if it shall be secure, HTTPS.
func run(ctx context.Context, addr string, interval time.Duration, secure bool, stdout io.Writer) error {
	if interval <= 0 {
		return fmt.Errorf("-interval is %v, and must be positive", interval)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}

	events := broker.New(&broker.Options{
		Topics:  broker.QueryTopics("stream", topic), // /events?stream=messages, and no other stream
		Backlog: 1,                                   // newcomers see the latest number at once
		Retry:   time.Second,                         // who loses the connection is back soon
	})
	defer events.Close()

	server := &http.Server{
		Handler:           routes(events),
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      10 * time.Second, // not for streams, which have a timeout for each write instead
		IdleTimeout:       time.Minute,
	}
	serve, url := server.Serve, "http://"+address(ln, addr)+"/"
	if secure {
		cert, err := selfSigned()
		if err != nil {
			return err
		}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
		// One HTTP/2 connection carries many streams, whose own timeouts do not
		// count when nothing of it is read.
		server.HTTP2 = &http.HTTP2Config{WriteByteTimeout: 10 * time.Second}
		serve = func(ln net.Listener) error { return server.ServeTLS(ln, "", "") }
		url = "https://" + address(ln, addr) + "/"
	}
	served := make(chan error, 1)
	go func() { served <- serve(ln) }()
	fmt.Fprintf(stdout, "Counting at %s, every %v. Ctrl-C ends it.\n", url, interval)

	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ticker.C:
			_, err := events.Publish(ctx, sse.Event{Data: strconv.Itoa(n)}, topic)
			if err != nil && ctx.Err() == nil {
				return err
			}
		case <-ctx.Done():
			return shutdown(server, events)
		case err := <-served:
			return err
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

// shutdown ends the server, and the streams with it.
//
// http.Server.Shutdown closes the listeners and waits for every request, but
// ends none, and a stream does not end by itself. So the broker is told at the
// same moment: it sends its subscribers what they are still owed and ends their
// streams. They come back on their own when there is a server again.
func shutdown(server *http.Server, events *broker.Broker) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()

	ended := make(chan error, 1)
	server.RegisterOnShutdown(func() { ended <- events.Shutdown(ctx) })
	if err := server.Shutdown(ctx); err != nil {
		server.Close() // for instance a connection that a browser has opened in advance, and never used
	}
	if err := <-ended; err != nil {
		return fmt.Errorf("streams were cut off: %w", err)
	}
	return nil
}

// address returns the address of ln, which listens on addr, for a browser on
// this machine: with the port that it really got, and a host to connect to.
func address(ln net.Listener, addr string) string {
	host, _, _ := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "localhost"
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return net.JoinHostPort(host, port)
}
