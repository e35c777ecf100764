package browser

import (
	"context"
	"crypto/tls"
	_ "embed"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// retry is the reconnection time that the servers here ask for. Chromium's own
// is three seconds.
const retry = 100 * time.Millisecond

//go:embed testdata/page.html
var page []byte

// A site is an address at which one server follows another. Each has a page at
// / that follows the stream at /events.
type site struct {
	t    *testing.T
	opts broker.Options // of each new broker; the Store survives with it
	tls  *tls.Config    // nil: cleartext
	addr string

	server *http.Server
	broker *broker.Broker // nil while there is no server
	served chan struct{}
	next   int // the number of the next event

	mu      sync.Mutex
	cursors []string // the Last-Event-ID of each request for /events
}

// newSite returns a site with a server.
func newSite(t *testing.T, opts broker.Options, encrypted bool) *site {
	t.Helper()
	s := &site{t: t, opts: opts, addr: "127.0.0.1:0", next: 1}
	if s.opts.Store == nil {
		s.opts.Store = broker.NewMemoryStore(nil)
	}
	if s.opts.Retry == 0 {
		s.opts.Retry = retry
	}
	if encrypted {
		model := httptest.NewTLSServer(nil)
		model.Close()
		s.tls = &tls.Config{Certificates: model.TLS.Certificates}
	}
	s.start()
	t.Cleanup(s.crash)
	return s
}

func (s *site) url() string {
	if s.tls != nil {
		return "https://" + s.addr
	}
	return "http://" + s.addr
}

// start starts a server with a new broker.
func (s *site) start() {
	s.t.Helper()
	s.broker = broker.New(&s.opts)
	s.serve(s.broker)
}

// serve starts a server with this handler of /events.
func (s *site) serve(events http.Handler) {
	s.t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.cursors = append(s.cursors, r.Header.Get("Last-Event-ID"))
		s.mu.Unlock()
		events.ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { w.Write(page) })

	s.server = &http.Server{
		Handler:      mux,
		TLSConfig:    s.tls,
		Protocols:    new(http.Protocols),
		ReadTimeout:  time.Second, // streams outlive both
		WriteTimeout: time.Second,
	}
	s.server.Protocols.SetHTTP1(true)
	s.server.Protocols.SetHTTP2(true)
	s.server.Protocols.SetUnencryptedHTTP2(true)
	server, served := s.server, make(chan struct{})
	s.served = served

	// Another process may have the port for a moment, as that of its end of a
	// connection to somewhere else.
	var ln net.Listener
	await(s.t, func() bool {
		var err error
		ln, err = net.Listen("tcp", s.addr)
		return err == nil
	})
	s.addr = ln.Addr().String()
	go func() {
		defer close(served)
		if s.tls != nil {
			_ = server.ServeTLS(ln, "", "")
		} else {
			_ = server.Serve(ln)
		}
	}()
}

// crash ends the server as if it were killed: all connections break.
func (s *site) crash() {
	if s.server == nil {
		return
	}
	s.server.Close()
	<-s.served
	if s.broker != nil {
		s.broker.Close()
	}
	s.server, s.broker = nil, nil
}

// shutdown ends the server in order: all streams end.
func (s *site) shutdown() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	assert.NoError(s.t, s.broker.Shutdown(ctx))
	assert.NoError(s.t, s.server.Shutdown(ctx))
	<-s.served
	s.server, s.broker = nil, nil
}

// publish publishes the next n events, and returns them. While there is no
// server they go into the history, as those of another process would.
func (s *site) publish(n int) []arrival {
	s.t.Helper()
	var published []arrival
	for range n {
		ev := sse.Event{Type: [...]string{"tock", "tick"}[s.next%2], Data: strconv.Itoa(s.next)}
		var id string
		var err error
		if s.broker != nil {
			id, err = s.broker.Publish(s.t.Context(), ev)
		} else {
			id, err = s.opts.Store.Append(s.t.Context(), ev, []string{""})
		}
		require.NoError(s.t, err)
		published = append(published, arrival{Type: ev.Type, Data: ev.Data, ID: id})
		s.next++
	}
	return published
}

// requests returns the Last-Event-ID of each request for /events so far.
func (s *site) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.cursors)
}

// awaitSubscribers waits until the broker has so many.
func (s *site) awaitSubscribers(n int) {
	s.t.Helper()
	await(s.t, func() bool { return s.broker.Stats().Subscribers == n })
}

// An arrival is an event as a client has got it.
type arrival struct {
	Type string `json:"type"`
	Data string `json:"data"`
	ID   string `json:"id"`
}

// gap is the event in whose place others are missing; its ID is that of the
// event before.
func gap(after string) arrival { return arrival{Type: "gap", ID: after} }
