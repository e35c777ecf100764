package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

//go:embed index.html
var page []byte

// A part of the cluster can be killed and started from the page: a node, or
// the engine.
type part interface {
	start() error
	kill()
	state() state
}

// state is what the page shows of a part.
type state struct {
	Name    string `json:"name"`
	Up      bool   `json:"up"`
	PID     int    `json:"pid,omitempty"`
	Streams int    `json:"streams"`
}

// A cluster is some nodes, what they may share an engine with, and a front.
type cluster struct {
	nodes  []*node
	stop   func() // ends the nodes' context
	front  *front
	parts  []part         // the nodes and the engine, if that is ours
	states *broker.Broker // of all parts, as they change
	mu     sync.Mutex     // orders the events of states
}

// newCluster returns three nodes that are not started, on an engine with these
// URLs. They end with ctx.
func newCluster(ctx context.Context, urls string, parts []part) *cluster {
	c := &cluster{parts: parts}
	ctx, c.stop = context.WithCancel(ctx)
	c.states = broker.New(&broker.Options{
		Store:    broker.Discard, // an old state is worthless
		Snapshot: func(*http.Request, []string) ([]sse.Event, error) { return []sse.Event{c.event()}, nil },
	})
	for _, name := range []string{"1", "2", "3"} {
		n := &node{name: name, ctx: ctx, urls: urls, changed: c.changed, acting: make(chan struct{}, 1)}
		c.nodes, c.parts = append(c.nodes, n), append(c.parts, n)
	}
	c.front = newFront(c.nodes, writeTimeout)
	return c
}

// start starts the nodes.
func (c *cluster) start() error {
	errs := make([]error, len(c.nodes))
	var wg sync.WaitGroup
	for i, n := range c.nodes {
		wg.Go(func() { errs[i] = n.start() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// close ends the nodes.
func (c *cluster) close() {
	c.stop() // first: kill waits for a start that waits for the engine
	for _, n := range c.nodes {
		n.kill()
	}
	c.front.transport.CloseIdleConnections()
	c.states.Close()
}

// event is the state of all parts.
func (c *cluster) event() sse.Event {
	var states []state
	for _, p := range c.parts {
		states = append(states, p.state())
	}
	data, err := json.Marshal(states)
	if err != nil {
		panic(err) // strings and numbers
	}
	return sse.Event{Type: "parts", Data: string(data)}
}

func (c *cluster) changed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	// The only error is that the cluster ends.
	_, _ = c.states.Publish(context.Background(), c.event())
}

// routes serves the page at /, the numbers at /events, the states at /parts,
// and what the page's buttons do.
func (c *cluster) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /events", c.front.handler())
	mux.Handle("GET /parts", c.states)
	mux.HandleFunc("POST /parts/{name}/kill", c.act(func(p part) error { p.kill(); return nil }))
	mux.HandleFunc("POST /parts/{name}/start", c.act(part.start))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache")
		// The page is one file, and loads nothing but the streams.
		w.Header().Set("Content-Security-Policy", "default-src 'none'; connect-src 'self'; img-src data:; "+
			"script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		w.Write(page)
	})
	return http.NewCrossOriginProtection().Handler(mux) // other sites' pages kill nothing
}

// act does something to the part that a request names.
func (c *cluster) act(do func(part) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, p := range c.parts {
			if p.state().Name != r.PathValue("name") {
				continue
			}
			err := do(p)
			// A node that waits for the engine may have taken longer than the server's
			// WriteTimeout, and there is an answer all the same.
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			c.changed() // the engine does not say so itself
			w.WriteHeader(http.StatusNoContent)
			return
		}
		http.NotFound(w, r)
	}
}
