// Command client follows the counter of examples/counter: in place on a
// terminal, line by line into a pipe. When the connection is lost it comes back
// by itself, and goes on after the last number it has seen.
//
//	go run ./examples/counter/client
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fanfare-go/fanfare/client"
)

func main() {
	url := flag.String("url", "http://localhost:8080/events?stream=messages", "`URL` of the stream")
	insecure := flag.Bool("insecure", false, "trust any certificate, such as that of the counter with -tls")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal ends the client cleanly, a second one kills it
	screen := &display{out: os.Stdout, notes: os.Stderr, inPlace: isTerminal(os.Stdout)}
	if err := run(ctx, *url, transport(*insecure), screen); err != nil {
		screen.note("%v", err)
		os.Exit(1)
	}
}

// run shows the numbers of the stream at url until ctx ends, the server says
// that the stream is over, or something happens that no new attempt can heal.
func run(ctx context.Context, url string, via http.RoundTripper, screen *display) error {
	defer screen.endLine()
	lost := false
	c := client.New(url, &client.Options{
		HTTPClient:  &http.Client{Transport: via},
		Header:      http.Header{"User-Agent": {"fanfare-counter"}}, // a field of one's own, with every request
		MaxBackoff:  5 * time.Second,
		IdleTimeout: 45 * time.Second, // the server sends a heartbeat every 15 s
		OnRetry: func(err error, delay time.Duration) {
			lost = true
			reason := err.Error()
			if err == io.EOF {
				reason = "the server ended the stream"
			}
			screen.note("%s; trying again in %v", reason, delay.Round(100*time.Millisecond))
		},
		OnConnect: func(*http.Response) {
			if lost {
				screen.note("connected again")
			}
			lost = false
		},
	})
	for ev, err := range c.Events(ctx) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		switch ev.Type {
		case "": // a number
			err = screen.number(ev.Data)
		case "gap":
			screen.note("the server no longer has all that came after the last number")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// transport returns what requests are sent with.
func transport(insecure bool) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	// A connection whose server reads nothing is given up. One that is silent is
	// the IdleTimeout's case.
	t.HTTP2 = &http.HTTP2Config{WriteByteTimeout: 10 * time.Second}
	if insecure {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	}
	return t
}
