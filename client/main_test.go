package client_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

func TestMain(m *testing.M) { ssetest.Main(m) }

// A request is what a peer was asked, and when: the time since it was started.
type request struct {
	Method, Path, Body string
	Header             http.Header // in net/http's spelling, less what its Transport adds
	Host               string
	At                 time.Duration
}

// A peer is a real HTTP server in memory with one answer for each request, in
// order, and 204 from then on.
type peer struct {
	*ssetest.Server
	started time.Time

	mu       sync.Mutex // guards the following
	answers  []http.HandlerFunc
	requests []request
}

func serve(t *testing.T, answers ...http.HandlerFunc) *peer {
	return serveAt(t, nil, answers...)
}

func serveAt(t *testing.T, opts *ssetest.ServerOptions, answers ...http.HandlerFunc) *peer {
	p := &peer{answers: answers, started: time.Now()}
	p.Server = ssetest.Serve(t, p, opts)
	return p
}

func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	h := r.Header.Clone()
	for _, name := range []string{"Accept-Encoding", "User-Agent", "Content-Length"} {
		h.Del(name)
	}
	p.mu.Lock()
	p.requests = append(p.requests, request{
		Method: r.Method,
		Path:   r.URL.Path,
		Body:   string(body),
		Header: h,
		Host:   r.Host,
		At:     time.Since(p.started),
	})
	answer := status(http.StatusNoContent)
	if len(p.answers) > 0 {
		answer, p.answers = p.answers[0], p.answers[1:]
	}
	p.mu.Unlock()
	answer(w, r)
}

// asked returns the requests so far.
func (p *peer) asked() []request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

// lastEventIDs returns the list of Last-Event-ID headers of each request so far.
func (p *peer) lastEventIDs() []string {
	var ids []string
	for _, r := range p.asked() {
		ids = append(ids, fmt.Sprint(r.Header.Values("Last-Event-ID")))
	}
	return ids
}

// client returns a Client of the peer with these options.
func (p *peer) client(opts client.Options) *client.Client {
	if opts.HTTPClient == nil {
		opts.HTTPClient = p.Client()
	}
	return client.New(p.URL+"/events", &opts)
}

// whole answers with a stream that ends cleanly.
func whole(text string) http.HandlerFunc { return after(0, text) }

// after answers with a stream that begins and ends cleanly after d.
func after(d time.Duration, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", sse.MediaType)
		http.NewResponseController(w).Flush()
		time.Sleep(d)
		io.WriteString(w, text)
	}
}

// cut answers with a stream whose connection breaks.
func cut(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		whole(text)(w, r)
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// open answers with a stream that stays open until the client leaves.
func open(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		whole(text)(w, r)
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

// status answers with a status and headers, given as names and values.
func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

// silence answers nothing, until the client leaves.
func silence(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// consume ranges over all events and returns what the client shows: "open",
// "event" or its type with the ID and the data, "retry: …" and "error: …".
func consume(ctx context.Context, p *peer, opts client.Options) []string {
	var log []string
	say := func(format string, args ...any) { log = append(log, fmt.Sprintf(format, args...)) }
	opts.OnConnect = func(*http.Response) { say("open") }
	opts.OnRetry = func(err error, _ time.Duration) { say("retry: %v", err) }
	for ev, err := range p.client(opts).Events(ctx) {
		switch {
		case err != nil:
			say("error: %v", err)
		case ev.Type != "":
			say("%s %q: %s", ev.Type, ev.ID, ev.Data)
		default:
			say("event %q: %s", ev.ID, ev.Data)
		}
	}
	return log
}

// inBubble runs a subtest with a fake clock.
func inBubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}
