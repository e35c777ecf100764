// Command chat is a room for whoever opens its page, in as many tabs as they
// like. What is said is posted, and comes back to every tab as an event.
//
//	go run ./examples/chat
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse/ssejson"
)

const (
	recent = 50   // lines that a newcomer is shown
	held   = 1000 // lines from which a page goes on that was away

	maxName, maxText = 40, 2000 // characters

	grace = 2 * time.Second // how long a server that ends waits for its clients
)

//go:embed index.html
var page []byte

// line is what somebody said: the data of an event.
type line struct {
	Name string    `json:"name"`
	Text string    `json:"text"`
	At   time.Time `json:"at"` // the server's to say
}

func main() {
	addr := flag.String("addr", "localhost:8080", "`address` to listen on; with port 0, on a free port")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal ends the server cleanly, a second one kills it
	if err := run(ctx, *addr, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

// run serves the room until ctx ends.
func run(ctx context.Context, addr string, stdout io.Writer) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	room := broker.New(&broker.Options{
		Store:   broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: held}),
		Backlog: recent,
		Retry:   time.Second, // who loses the connection is back soon
	})
	defer room.Close()

	server := &http.Server{
		Handler:           routes(room),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second, // streams are exempt from this one
		WriteTimeout:      10 * time.Second, // and have a timeout for each write instead of this one
		IdleTimeout:       time.Minute,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	fmt.Fprintf(stdout, "The room is open at http://%s/. Ctrl-C ends it.\n", address(ln, addr))

	select {
	case <-ctx.Done():
		return shutdown(server, room)
	case err := <-served:
		return err
	}
}

// routes serves the page at /, the stream at /events, and takes what is said.
func routes(room *broker.Broker) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /events", room)
	mux.Handle("POST /lines", say(room))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache")
		// The page is one file, and talks to this server alone.
		w.Header().Set("Content-Security-Policy", "default-src 'none'; connect-src 'self'; img-src data:; "+
			"script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		w.Write(page)
	})
	// No other site's page may speak in the name of whoever visits it.
	return http.NewCrossOriginProtection().Handler(mux)
}

// say publishes what is posted: a line as JSON.
func say(room *broker.Broker) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		said, err := read(http.MaxBytesReader(w, r.Body, 16<<10))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		said.At = time.Now().UTC()
		_, err = ssejson.Publish(r.Context(), room, said)
		switch {
		case err == nil:
			w.WriteHeader(http.StatusNoContent)
		case errors.Is(err, broker.ErrClosed):
			http.Error(w, "the room is closing", http.StatusServiceUnavailable)
		case r.Context().Err() == nil: // else nobody is there to be told
			log.Print("a line was not published: ", err)
			http.Error(w, "that did not work", http.StatusInternalServerError)
		}
	}
}

// read reads a line and checks it. The error is for whoever said it.
func read(body io.Reader) (said line, err error) {
	all := json.NewDecoder(body)
	if err := all.Decode(&said); err != nil {
		return line{}, errors.New("that is no line in JSON")
	}
	if _, err := all.Token(); err != io.EOF {
		return line{}, errors.New("that is more than a line in JSON")
	}
	said.Name, said.Text = strings.TrimSpace(said.Name), strings.TrimSpace(said.Text)
	switch {
	case said.Name == "" || said.Text == "":
		return line{}, errors.New("a line needs a name and a text")
	case utf8.RuneCountInString(said.Name) > maxName || utf8.RuneCountInString(said.Text) > maxText:
		return line{}, fmt.Errorf("a name has at most %d characters, a text %d", maxName, maxText)
	}
	return said, nil
}

// shutdown ends the server, and the streams with it: http.Server.Shutdown
// waits for streams but ends none, so the broker is told at the same moment.
func shutdown(server *http.Server, room *broker.Broker) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()

	ended := make(chan error, 1)
	server.RegisterOnShutdown(func() { ended <- room.Shutdown(ctx) })
	if err := server.Shutdown(ctx); err != nil {
		server.Close() // for instance a connection that a browser has opened in advance, and never used
	}
	if err := <-ended; err != nil {
		return fmt.Errorf("streams were cut off: %w", err)
	}
	return nil
}

// address returns the address of ln, which listens on addr, for a browser on this
// machine.
func address(ln net.Listener, addr string) string {
	host, _, _ := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "localhost"
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return net.JoinHostPort(host, port)
}
