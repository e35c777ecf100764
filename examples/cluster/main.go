// Command cluster counts up, and shows every number on a page, through three
// brokers that share one history in NATS JetStream. Each broker is a process of
// its own, which can be killed from the page, and started again: the number
// goes on without a hole.
//
//	go run .                            # in this folder; then open http://localhost:8080/
//	go run . -nats nats://localhost:4222
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	var s settings
	flag.StringVar(&s.addr, "addr", "localhost:8080", "`address` to listen on; with port 0, on a free port")
	flag.StringVar(&s.data, "data", "", "`folder` in which the history is kept; without, it ends with the command")
	flag.StringVar(&s.nats, "nats", "", "`URL` of NATS servers with JetStream, instead of one in this process")
	flag.DurationVar(&s.interval, "interval", 100*time.Millisecond, "`time` from one number to the next")
	name := flag.String(nodeFlag, "", "be the node with this `name`, of the servers of -nats; the command starts its nodes so")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal ends it cleanly, a second one kills it
	var err error
	if *name != "" {
		err = serveNode(ctx, s.nats, os.Stdin, os.Stdout)
	} else {
		err = run(ctx, s, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// settings are those of the command line.
type settings struct {
	addr, data, nats string
	interval         time.Duration
}

// run starts the engine, the nodes and the front, and counts, until ctx ends.
func run(ctx context.Context, s settings, stdout io.Writer) error {
	if s.interval <= 0 {
		return fmt.Errorf("-interval is %v, and must be positive", s.interval)
	}
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	defer ln.Close()

	var parts []part
	urls := s.nats
	if urls == "" {
		if s.data == "" {
			if s.data, err = os.MkdirTemp("", "fanfare-cluster-"); err != nil {
				return err
			}
			defer os.RemoveAll(s.data)
		}
		e, err := startEngine(filepath.Clean(s.data))
		if err != nil {
			return err
		}
		defer e.kill()
		parts, urls = append(parts, e), e.url()
	} else if err := await(ctx, urls, stdout); err != nil {
		return unless(ctx, err)
	}
	c := newCluster(ctx, urls, parts)
	defer c.close()
	if err := c.start(); err != nil {
		return unless(ctx, err)
	}

	server := &http.Server{
		Handler:           c.routes(),
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      writeTimeout, // streams have one for each write instead
		IdleTimeout:       time.Minute,
	}
	defer server.Close()
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(ln) }()
	ctx, cancel := context.WithCancel(ctx)
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		failed <- count(ctx, urls, s.interval)
	}()
	defer func() { cancel(); <-counted }()
	fmt.Fprintf(stdout, "Counting at http://%s/, every %v, on %d nodes. Ctrl-C ends it.\n", ln.Addr(), s.interval, len(c.nodes))
	return unless(ctx, <-failed)
}

// await waits for the servers, and says so if that takes time: the nodes wait for
// them as well, but in silence.
func await(ctx context.Context, urls string, stdout io.Writer) error {
	nc, err := dial(urls)
	if err != nil {
		return err
	}
	defer nc.Close()
	opened := make(chan error, 1)
	go func() {
		_, err := open(ctx, nc)
		opened <- err
	}()
	select {
	case err := <-opened:
		return err
	case <-time.After(time.Second):
		fmt.Fprintln(stdout, "Waiting for NATS with JetStream, where -nats says. Ctrl-C ends it.")
	}
	return <-opened
}

// unless returns err, but nothing once ctx has ended, of which err tells.
func unless(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
