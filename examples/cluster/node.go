package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/natsstore"
)

// topic is what the numbers are published on.
const topic = "count"

// grace is how long a node that ends waits for its clients.
const grace = 2 * time.Second

// writeTimeout is how long a write to a client may take.
const writeTimeout = 10 * time.Second

// dial connects to the servers, now or once they are there, and for ever.
func dial(urls string) (*nats.Conn, error) {
	return nats.Connect(urls,
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250*time.Millisecond),
		nats.PingInterval(2*time.Second), // a network that is cut says nothing: two without an answer, and it is
		nats.MaxPingsOutstanding(2),
	)
}

// open opens the history that all share, as soon as the engine answers.
func open(ctx context.Context, nc *nats.Conn) (*natsstore.Store, error) {
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(2*time.Second))
	if err != nil {
		return nil, err
	}
	for {
		store, err := natsstore.Open(ctx, js, &natsstore.Options{Name: "counter", MaxEvents: 100_000})
		if err == nil || ctx.Err() != nil {
			return store, err
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// serveNode is a node's process: a broker on the shared history, behind a server
// on a free port, whose address is written to stdout. It ends with ctx or, as
// when the process that started it is gone, at the end of stdin.
func serveNode(ctx context.Context, urls string, stdin io.Reader, stdout io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		cancel()
	}()
	nc, err := dial(urls)
	if err != nil {
		return err
	}
	defer nc.Close()
	store, err := open(ctx, nc)
	if err != nil {
		return err
	}
	events := broker.New(&broker.Options{
		Store:     store,
		Backlog:   1,           // newcomers see the latest number at once
		Retry:     time.Second, // who loses the connection is back soon
		Heartbeat: 5 * time.Second,
	})
	defer events.Close()

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           events.Handler(topic),
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      writeTimeout, // streams have one for each write instead
		IdleTimeout:       time.Minute,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	fmt.Fprintln(stdout, ln.Addr())

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	ended := make(chan error, 1)
	server.RegisterOnShutdown(func() { ended <- events.Shutdown(end) })
	if err := server.Shutdown(end); err != nil {
		server.Close() // for instance a connection that the front has opened, and never used
	}
	return <-ended
}

const nodeFlag = "node"

// A node is a process with a broker, as the one that started it sees it.
type node struct {
	name    string
	ctx     context.Context // no process outlives it, and nobody waits for one any more
	urls    string          // of the engine
	changed func()          // is called when state has
	acting  chan struct{}   // start and kill are sent to it: one at a time

	mu      sync.Mutex // guards what follows
	process *os.Process
	addr    string        // "" while it is down
	ended   chan struct{} // closed by wait
	streams int           // that the front has open to it
}

// start starts the process unless it is up, and returns once it serves, which it
// does as soon as the engine answers.
func (n *node) start() error {
	n.acting <- struct{}{}
	defer func() { <-n.acting }()
	if n.state().Up {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(n.ctx, self, "-"+nodeFlag, n.name, "-nats", n.urls)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe() // nothing is written: it ends with this process
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = cmd.Process.Kill()
		return fmt.Errorf("node %s: %w", n.name, errors.Join(err, cmd.Wait()))
	}
	ended := make(chan struct{})
	n.change(func() { n.process, n.addr, n.ended = cmd.Process, strings.TrimSpace(line), ended })
	go func() {
		defer close(ended)
		defer in.Close()
		_ = cmd.Wait() // it was killed, or says why on stderr
		n.change(func() { n.process, n.addr = nil, "" })
	}()
	return nil
}

// kill ends the process as a crash does, if it is up.
func (n *node) kill() {
	n.acting <- struct{}{}
	defer func() { <-n.acting }()
	n.mu.Lock()
	process, ended := n.process, n.ended
	n.mu.Unlock()
	if process != nil {
		_ = process.Kill() // it may have ended by itself
		<-ended
	}
}

func (n *node) state() state {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := state{Name: n.name, Up: n.addr != "", Streams: n.streams}
	if n.process != nil {
		s.PID = n.process.Pid
	}
	return s
}

func (n *node) change(f func()) {
	n.mu.Lock()
	f()
	n.mu.Unlock()
	n.changed()
}
