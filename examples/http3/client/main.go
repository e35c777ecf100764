// Command client follows the numbers of examples/http3 over HTTP/3. But for the
// transport it is like any other client of package client.
//
//	go run ./client -insecure
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
	insecure := flag.Bool("insecure", false, "trust any certificate, such as that of the example's server, which is made for one run")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	via := transport(*insecure)
	defer via.Close()
	if err := run(ctx, *url, via, os.Stdout, os.Stderr); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

// run prints the numbers of the stream at url on out, and on notes what happens
// to the connection, until ctx ends.
func run(ctx context.Context, url string, via http.RoundTripper, out, notes io.Writer) error {
	c := client.New(url, &client.Options{
		HTTPClient:  &http.Client{Transport: via},
		MaxBackoff:  5 * time.Second,
		IdleTimeout: 45 * time.Second, // the server sends a heartbeat every 15 s
		OnConnect:   func(resp *http.Response) { fmt.Fprintln(notes, "connected over", resp.Proto) },
		OnRetry: func(err error, delay time.Duration) {
			fmt.Fprintf(notes, "%v; trying again in %v\n", err, delay.Round(100*time.Millisecond))
		},
	})
	for ev, err := range c.Events(ctx) {
		if err != nil {
			return err
		}
		switch ev.Type {
		case "": // a number
			_, err = fmt.Fprintln(out, ev.Data)
		case "gap":
			_, err = fmt.Fprintln(notes, "some numbers are missing")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// transport returns what requests are sent with.
func transport(insecure bool) *http3.Transport {
	return &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: insecure}}
}
