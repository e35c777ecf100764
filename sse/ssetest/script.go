package ssetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/fanfare-go/fanfare/sse"
)

// Reply is what a [Script] answers one request.
type Reply struct {
	// Delay is how long the request waits before anything is answered. Zero
	// or negative: not at all.
	Delay time.Duration

	// Status is the status of the response; 0 is 200.
	Status int

	// Header is added to the response. A 200 without a Content-Type gets
	// that of a stream. The Script does not change it.
	Header http.Header

	// Body is sent chunk by chunk, each with a flush of its own. The header
	// is flushed before the first.
	Body []Chunk

	// End is how the response ends after Body.
	End End

	// Handler, if not nil, answers the request instead of all of the above.
	Handler http.HandlerFunc
}

// Chunk is a part of a response's body: exactly these bytes, sent at once.
type Chunk struct {
	Delay time.Duration // before it is sent; zero or negative: none
	Data  string
}

// Chunks returns data as chunks without delays, for [Reply.Body].
func Chunks(data ...string) []Chunk {
	chunks := make([]Chunk, len(data))
	for i, d := range data {
		chunks[i].Data = d
	}
	return chunks
}

// End is how a response ends.
type End int

const (
	// Finish ends the response as usual: the client reads io.EOF.
	Finish End = iota

	// Cut closes the connection in the middle of the response, in order: the
	// client reads what was sent and then io.ErrUnexpectedEOF.
	Cut

	// HalfClose is Cut, but the server goes on reading until the client closes.
	HalfClose

	// Reset breaks the connection: the client reads ECONNRESET, and may lose
	// what it has not read yet.
	Reset

	// Hang sends nothing more and waits until the client goes.
	Hang
)

// Request is a request that a [Script] received.
type Request struct {
	At     time.Time // when it arrived
	Method string
	Host   string
	URL    string // path and query
	Proto  string // "HTTP/1.1" or "HTTP/2.0"
	Header http.Header
	Body   string
}

// LastEventID returns the request's Last-Event-ID, "" if there is none.
func (r Request) LastEventID() string { return r.Header.Get("Last-Event-ID") }

// Script is a server to test clients with: an [http.Handler] that answers each
// request by the next Reply, and remembers the requests. Delays are those of
// package time, so that they take no time in a [testing/synctest] bubble. A
// client that goes away ends its Reply.
//
// It needs a real [http.Server], as of [Serve]. Over HTTP/2, where a
// connection has many streams, Cut, HalfClose and Reset all reset the stream
// and not the connection.
//
// All methods may be called concurrently.
type Script struct {
	// Then answers every request after the last Reply. NewScript sets it to
	// an empty response with the status 204, which stops a client of
	// server-sent events. To be changed before the first request.
	Then Reply

	replies []Reply

	mu       sync.Mutex // guards all below
	requests []Request
	arrived  chan struct{} // made and closed by ServeHTTP: closed at the next request, then replaced
}

// NewScript returns a Script that answers the first request by the first
// reply, and so on. The Script keeps the replies: they must not be changed.
func NewScript(replies ...Reply) *Script {
	return &Script{
		Then:    Reply{Status: http.StatusNoContent},
		replies: slices.Clone(replies),
		arrived: make(chan struct{}),
	}
}

// Requests returns the requests received so far, in order.
func (s *Script) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Await waits until n requests have been received in all, and returns them
// (or more, if there are more). The error is that of ctx if it ends first.
func (s *Script) Await(ctx context.Context, n int) ([]Request, error) {
	for {
		s.mu.Lock()
		requests, arrived := slices.Clone(s.requests), s.arrived
		s.mu.Unlock()
		if len(requests) >= n {
			return requests, nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return requests, context.Cause(ctx)
		}
	}
}

// ServeHTTP answers r by the next Reply, once it has read the body.
func (s *Script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.record(r).serve(w, r)
}

// record remembers r and returns the reply to it.
func (s *Script) record(r *http.Request) Reply {
	body, _ := io.ReadAll(r.Body) // as much as came
	r.Body = io.NopCloser(bytes.NewReader(body))
	request := Request{
		At: time.Now(), Method: r.Method, Host: r.Host, URL: r.URL.RequestURI(),
		Proto: r.Proto, Header: r.Header.Clone(), Body: string(body),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	reply := s.Then
	if n := len(s.requests); n < len(s.replies) {
		reply = s.replies[n]
	}
	s.requests = append(s.requests, request)
	close(s.arrived)
	s.arrived = make(chan struct{})
	return reply
}

func (p Reply) serve(w http.ResponseWriter, r *http.Request) {
	if p.Handler != nil {
		p.Handler(w, r)
		return
	}
	ctx := r.Context()
	if !sleep(ctx, p.Delay) {
		panic(http.ErrAbortHandler)
	}
	for name, values := range p.Header {
		for _, v := range values {
			w.Header().Add(name, v)
		}
	}
	if p.Status == 0 {
		p.Status = http.StatusOK
	}
	if p.Status == http.StatusOK && w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", sse.MediaType)
	}
	w.WriteHeader(p.Status)
	flush := http.NewResponseController(w).Flush
	if len(p.Body) > 0 || p.End != Finish { // else net/http can give the length, 0
		flush()
	}
	for _, c := range p.Body {
		if !sleep(ctx, c.Delay) {
			panic(http.ErrAbortHandler)
		}
		if _, err := io.WriteString(w, c.Data); err != nil {
			break
		}
		if flush() != nil {
			break
		}
	}
	p.End.end(w, r)
}

// lastGoodbye is how long a HalfClose waits for a client that does not close.
const lastGoodbye = 10 * time.Second

// end ends the response that w has sent all of.
func (e End) end(w http.ResponseWriter, r *http.Request) {
	switch e {
	case Finish:
		return
	case Hang:
		// Aborted then, for it has not finished: over TLS the end of a
		// response can still reach a client that is closing.
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case Cut:
		panic(http.ErrAbortHandler)
	}
	if r.ProtoMajor > 1 {
		panic(http.ErrAbortHandler)
	}
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer c.Close()
	if e == Reset {
		reset(c)
		return
	}
	closeWrite(c)
	c.SetDeadline(time.Now().Add(lastGoodbye))
	io.Copy(io.Discard, c)
}

// sleep waits for d and reports whether ctx lived that long.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// reset closes c so that the other end reads ECONNRESET, if c can.
func reset(c net.Conn) {
	switch c := c.(type) {
	case *tls.Conn:
		reset(c.NetConn())
		return
	case *Conn:
		c.Reset()
	case *net.TCPConn:
		c.SetLinger(0)
	}
	c.Close()
}

// closeWrite closes the writing side of c, or all of c if it has no sides.
func closeWrite(c net.Conn) {
	if c, ok := c.(interface{ CloseWrite() error }); ok {
		c.CloseWrite()
		return
	}
	c.Close()
}
