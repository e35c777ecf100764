// Command dashboard shows a broker at work, on a page that the same broker
// feeds: who is subscribed, what is delivered, how long that takes, and who is
// slow. For something to be seen, it also publishes, and has subscribers of its
// own over HTTP, some of them slow.
//
//	go run ./examples/dashboard
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/fanfare-go/fanfare/broker"
)

// What the two kinds of events are published on.
const (
	figures = "figures" // for the page, once a second
	load    = "load"    // for the subscribers that are measured
)

// maxRate is how many events per second a timer can tell apart.
const maxRate = 1_000_000

// history is for how many seconds a page that is opened looks back.
const history = 120

// grace is how long a server that ends waits for its clients.
const grace = 2 * time.Second

//go:embed index.html
var page []byte

// settings are what the flags say.
type settings struct {
	addr    string
	clients int
	slow    int
	rate    int
}

func main() {
	var s settings
	flag.StringVar(&s.addr, "addr", "localhost:8081", "`address` to listen on; with port 0, on a free port")
	flag.IntVar(&s.clients, "clients", 50, "`number` of subscribers to measure with")
	flag.IntVar(&s.slow, "slow", 2, "`number` of further subscribers that read too slowly")
	flag.IntVar(&s.rate, "rate", 100, "`events` per second for them")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal ends the server cleanly, a second one kills it
	if err := run(ctx, s, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
}

// run serves, publishes and measures until ctx ends.
func run(ctx context.Context, s settings, stdout io.Writer) error {
	if s.rate <= 0 || s.rate > maxRate || s.clients < 0 || s.slow < 0 {
		return fmt.Errorf("-rate is %d, and must be from 1 to %d; -clients is %d and -slow %d, which must not be negative", s.rate, maxRate, s.clients, s.slow)
	}
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	events := broker.New(&broker.Options{
		Topics:  broker.QueryTopics("topic", figures, load),
		Backlog: history, // a page that is opened has something to plot at once
		Store:   broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: 2 * history * (s.rate + 1), MaxBytes: 64 << 20}),
		Retry:   time.Second,
	})
	defer events.Close()
	server := &http.Server{
		Handler:           routes(events),
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       time.Minute,
		// What the kernel buffers for a connection hides for long that its
		// client is slow. A server that is not for show leaves this alone.
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if c, ok := c.(*net.TCPConn); ok {
				_ = c.SetWriteBuffer(16 << 10)
			}
			return ctx
		},
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	fmt.Fprintf(stdout, "A dashboard is at %s. Ctrl-C ends it.\n", address(ln, s.addr))

	var working sync.WaitGroup
	ctx, stop := context.WithCancel(ctx)
	defer func() { stop(); working.Wait() }()
	working.Go(func() { publish(ctx, events, s.rate) })
	var times latencies
	url := "http://" + ln.Addr().String() + "/events?topic=" + load
	for range s.clients {
		working.Go(func() { times.measure(ctx, url) })
	}
	for range s.slow {
		working.Go(func() { dawdle(ctx, url) })
	}
	working.Go(func() { watch(ctx, events, &times) })

	select {
	case <-ctx.Done():
		return shutdown(server, events)
	case err := <-served:
		return err
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

// shutdown ends the server, and the streams with it, as ../counter explains.
func shutdown(server *http.Server, events *broker.Broker) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	ended := make(chan error, 1)
	server.RegisterOnShutdown(func() { ended <- events.Shutdown(ctx) })
	if err := server.Shutdown(ctx); err != nil {
		server.Close()
	}
	if err := <-ended; err != nil {
		return fmt.Errorf("streams were cut off: %w", err)
	}
	return nil
}

// address returns the URL of ln, which listens on addr, for a browser on this
// machine.
func address(ln net.Listener, addr string) string {
	host, _, _ := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "localhost"
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return "http://" + net.JoinHostPort(host, port) + "/"
}
