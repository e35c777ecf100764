// Command frameworks counts, and serves the numbers behind the web framework of
// your choice: chi, echo or gin.
//
//	go run . -with gin
//	curl -N http://localhost:8080/events
package main

import (
	"context"
	"flag"
	"fmt"
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

// frameworks has, for each framework, a function that serves b at /events, and
// about at /.
var frameworks = map[string]func(b *broker.Broker) http.Handler{
	"chi":  withChi,
	"echo": withEcho,
	"gin":  withGin,
}

// about is what else there is: an ordinary answer.
func about(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, "The numbers are at /events.")
}

func main() {
	addr := flag.String("addr", "localhost:8080", "`address` to listen on")
	name := flag.String("with", "chi", "`framework` to serve with: chi, echo or gin")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal ends the server cleanly, a second one kills it
	if err := run(ctx, *addr, *name); err != nil {
		fmt.Fprintln(os.Stderr, "frameworks:", err)
		os.Exit(1)
	}
}

// run counts and serves until ctx ends.
func run(ctx context.Context, addr, name string) error {
	with := frameworks[name]
	if with == nil {
		return fmt.Errorf("-with is %q, and must be chi, echo or gin", name)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	b := broker.New(nil)
	defer b.Close()
	server := &http.Server{
		Handler:           with(b),
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      10 * time.Second, // streams have one for each write instead
		IdleTimeout:       time.Minute,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	fmt.Printf("Counting at http://%s/events with %s. Ctrl-C ends it.\n", ln.Addr(), name)

	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ticker.C:
			_, err := b.Publish(ctx, sse.Event{Data: strconv.Itoa(n)})
			if err != nil && ctx.Err() == nil {
				return err
			}
		case err := <-served:
			return err
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			ended := make(chan error, 1)
			server.RegisterOnShutdown(func() { ended <- b.Shutdown(ctx) })
			if err := server.Shutdown(ctx); err != nil {
				server.Close() // for instance a connection that a browser has opened in advance
			}
			return <-ended
		}
	}
}
