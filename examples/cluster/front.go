package main

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fanfare-go/fanfare/sse"
)

// A front gives each request to the next node in turn that takes it.
//
// What it is to streams any balancer has to be: it hands on every write at
// once, as ReverseProxy does with text/event-stream, it does not end what is
// idle, and where a node dies it lets the stream break, so that the client
// comes back, and goes on where it was, on another node.
type front struct {
	nodes        []*node
	writeTimeout time.Duration // of each write to a client
	turn         atomic.Uint64
	transport    http.Transport
}

func newFront(nodes []*node, writeTimeout time.Duration) *front {
	return &front{nodes: nodes, writeTimeout: writeTimeout, transport: http.Transport{
		DisableCompression:    true,
		ResponseHeaderTimeout: 5 * time.Second, // a node that hangs is as good as down
		IdleConnTimeout:       time.Minute,
	}}
}

func (f *front) handler() http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite:      func(p *httputil.ProxyRequest) { p.SetXForwarded() },
		Transport:    f,
		ErrorHandler: absent,
		ErrorLog:     log.New(io.Discard, "", 0), // nodes that die are the point
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		proxy.ServeHTTP(&timely{w, control, f.writeTimeout}, r)
		_ = control.SetWriteDeadline(time.Now().Add(f.writeTimeout)) // of what ends the response
	})
}

// timely is a ResponseWriter whose writes have a deadline each. ReverseProxy
// sets none, so that a client that never reads would keep its stream, and the
// node's, for ever; and a server's WriteTimeout, which is for all writes together,
// would end everybody else's.
type timely struct {
	http.ResponseWriter
	control *http.ResponseController // of the ResponseWriter
	timeout time.Duration
}

// Unwrap is for what else an [http.ResponseController] does.
func (w *timely) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *timely) Write(p []byte) (int, error) {
	if err := w.control.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
		return 0, err
	}
	return w.ResponseWriter.Write(p)
}

// FlushError ends the time that Write has set: over HTTP/2 it would end a stream
// that has nothing to write when it passes.
func (w *timely) FlushError() error {
	return errors.Join(w.control.Flush(), w.control.SetWriteDeadline(time.Time{}))
}

var errNoNode = errors.New("no node answers")

// RoundTrip asks one node after the other. No request has a body, so each can
// be sent again.
func (f *front) RoundTrip(r *http.Request) (*http.Response, error) {
	turn := f.turn.Add(1)
	for i := range f.nodes {
		n := f.nodes[(turn+uint64(i))%uint64(len(f.nodes))]
		n.mu.Lock()
		addr := n.addr
		n.mu.Unlock()
		if addr == "" {
			continue
		}
		try := r.Clone(r.Context())
		try.URL.Scheme, try.URL.Host = "http", addr
		resp, err := f.transport.RoundTrip(try)
		if err != nil {
			continue
		}
		if resp.StatusCode == http.StatusServiceUnavailable {
			resp.Body.Close()
			continue
		}
		return f.introduce(n, resp), nil
	}
	return nil, errNoNode
}

// introduce says which node an answer is from: in a header, and for EventSource,
// which sees no headers, in an event.
func (f *front) introduce(n *node, resp *http.Response) *http.Response {
	resp.Header.Set("Node", n.name)
	n.change(func() { n.streams++ })
	body := resp.Body
	closed := sync.OnceValue(func() error {
		n.change(func() { n.streams-- })
		return body.Close()
	})
	var hello io.Reader = strings.NewReader("")
	if strings.HasPrefix(resp.Header.Get("Content-Type"), sse.MediaType) {
		hello = strings.NewReader("event: node\ndata: " + n.name + "\n\n")
	}
	resp.Body = &introduced{io.MultiReader(hello, body), closed}
	return resp
}

// introduced is a response's body with something before it.
type introduced struct {
	io.Reader
	closed func() error
}

func (b *introduced) Close() error { return b.closed() }

// absent answers when no node does: with a stream that ends, for EventSource
// never comes back from an error status.
func absent(w http.ResponseWriter, _ *http.Request, _ error) {
	w.Header().Set("Content-Type", sse.MediaType)
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(sse.AppendRetry(nil, time.Second))
}
