// Command client follows the numbers of examples/http3 over HTTP/3. But for the
// transport it is like any other client of package client.
//
//	go run ./client
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fanfare-go/fanfare/client"
	"github.com/quic-go/quic-go/http3"
)

func main() {
	url := flag.String("url", "https://localhost:8443/events", "`URL` of the stream")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	transport := &http3.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the example's certificate is made for one run
	}
	defer transport.Close()
	if err := run(ctx, *url, transport, os.Stdout); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

// run prints the numbers of the stream at url until ctx ends.
func run(ctx context.Context, url string, transport http.RoundTripper, out io.Writer) error {
	c := client.New(url, &client.Options{
		HTTPClient:  &http.Client{Transport: transport},
		MaxBackoff:  5 * time.Second,
		IdleTimeout: 45 * time.Second, // the server sends a heartbeat every 15 s
		OnConnect:   func(resp *http.Response) { fmt.Fprintln(os.Stderr, "connected over", resp.Proto) },
		OnRetry: func(err error, delay time.Duration) {
			fmt.Fprintf(os.Stderr, "%v; trying again in %v\n", err, delay.Round(100*time.Millisecond))
		},
	})
	for ev, err := range c.Events(ctx) {
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, ev.Data); err != nil {
			return err
		}
	}
	return nil
}
