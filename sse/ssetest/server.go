package ssetest

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
)

// Protocol says how a [Server] and its clients speak.
type Protocol int

const (
	HTTP1    Protocol = iota // HTTP/1.1
	HTTP1TLS                 // HTTP/1.1 over TLS
	HTTP2                    // HTTP/2 over TLS
	H2C                      // HTTP/2 without TLS, from the first byte on
)

// Protocols holds every Protocol, for tests that run over each.
var Protocols = []Protocol{HTTP1, HTTP1TLS, HTTP2, H2C}

// String returns a name fit for a subtest, for instance "HTTP1TLS".
func (p Protocol) String() string {
	switch p {
	case HTTP1:
		return "HTTP1"
	case HTTP1TLS:
		return "HTTP1TLS"
	case HTTP2:
		return "HTTP2"
	case H2C:
		return "H2C"
	}
	return fmt.Sprintf("Protocol(%d)", int(p))
}

func (p Protocol) tls() bool { return p == HTTP1TLS || p == HTTP2 }

func (p Protocol) set() *http.Protocols {
	set := new(http.Protocols)
	switch p {
	case HTTP2:
		set.SetHTTP2(true)
	case H2C:
		set.SetUnencryptedHTTP2(true)
	default:
		set.SetHTTP1(true)
	}
	return set
}

// ServerOptions configures [Serve]. A nil *ServerOptions is all defaults.
type ServerOptions struct {
	// Protocol is the only one that the server and its clients speak.
	Protocol Protocol

	// Config is the http.Server to run, with its timeouts and hooks; nil is a
	// zero one. Serve takes it over: it sets Handler, Protocols and, if there
	// is none, ErrorLog (the test's log), adds to ConnState and TLSConfig, and
	// it must not be used for another server. To end it gracefully call
	// [Server.Shutdown].
	Config *http.Server

	// Network is where the server listens and its clients dial; nil is a new
	// one, or the real network if Listener is set.
	Network *Network

	// Addr is the address to listen at, as in [Network.Listen]; "" is a free
	// one. A server on the Network and Addr of a closed one is its restart.
	Addr string

	// Listener is what the server accepts from instead of Network and Addr,
	// for instance one that [Faults.Listener] returned. Serve takes it over.
	Listener net.Listener
}

// Server is an [http.Server] that runs, and a client for it. All methods may
// be called concurrently.
type Server struct {
	URL     string   // for instance "http://sse.test:8080", without a slash at the end
	Network *Network // where URL is; nil: the real network

	config    *http.Server
	protocol  Protocol
	client    *http.Client
	served    chan struct{} // closed by the goroutine that serves, when it ends
	closeOnce sync.Once

	mu         sync.Mutex            // guards all below
	changed    sync.Cond             // L is &mu; broadcast when conns or handlers gets smaller
	conns      map[net.Conn]struct{} // which the http.Server works on
	handlers   int                   // that run
	transports []*http.Transport     // given out
}

// Serve runs h behind a real [http.Server] until the test ends, or until
// Close. It panics if it cannot listen.
func Serve(t testing.TB, h http.Handler, opts *ServerOptions) *Server {
	var o ServerOptions
	if opts != nil {
		o = *opts
	}
	if o.Config == nil {
		o.Config = new(http.Server)
	}
	if o.Listener == nil {
		if o.Network == nil {
			o.Network = NewNetwork(nil)
		}
		l, err := o.Network.Listen(o.Addr)
		if err != nil {
			panic(fmt.Sprintf("ssetest: Serve: %v", err))
		}
		o.Listener = l
	}
	s := &Server{
		Network:  o.Network,
		config:   o.Config,
		protocol: o.Protocol,
		served:   make(chan struct{}),
		conns:    make(map[net.Conn]struct{}),
	}
	s.changed.L = &s.mu
	s.client = &http.Client{Transport: s.NewTransport()}
	s.configure(t, h)

	scheme, serve := "http", s.config.Serve
	if s.protocol.tls() {
		scheme, serve = "https", func(l net.Listener) error { return s.config.ServeTLS(l, "", "") }
	}
	s.URL = scheme + "://" + o.Listener.Addr().String()
	go func() { // joined by Close
		defer close(s.served)
		serve(o.Listener) // its error is always http.ErrServerClosed, or that Listener broke
	}()
	if t != nil {
		t.Cleanup(s.Close)
	}
	return s
}

func (s *Server) configure(t testing.TB, h http.Handler) {
	s.config.Protocols = s.protocol.set()
	s.config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.handlers++
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			s.handlers--
			s.changed.Broadcast()
			s.mu.Unlock()
		}()
		h.ServeHTTP(w, r)
	})
	next := s.config.ConnState
	s.config.ConnState = func(c net.Conn, state http.ConnState) {
		if next != nil {
			next(c, state)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		switch state {
		case http.StateNew:
			s.conns[c] = struct{}{}
		case http.StateClosed, http.StateHijacked:
			delete(s.conns, c)
			s.changed.Broadcast()
		}
	}
	if s.protocol.tls() {
		s.config.TLSConfig = s.config.TLSConfig.Clone()
		if s.config.TLSConfig == nil {
			s.config.TLSConfig = new(tls.Config)
		}
		cert, _ := certificate()
		s.config.TLSConfig.Certificates = slices.Concat(s.config.TLSConfig.Certificates, []tls.Certificate{cert})
	}
	if s.config.ErrorLog == nil && t != nil {
		s.config.ErrorLog = log.New(t.Output(), "", 0)
	}
}

// Client returns a client that reaches the server, always the same one. Like
// any [http.Client] it may be copied and changed, before it is used.
func (s *Server) Client() *http.Client { return s.client }

// NewTransport returns a new transport that reaches the server: to change, for
// instance to set DialContext to [Faults.Dialer] of it, or to have connections
// of one's own. Close closes its idle connections.
func (s *Server) NewTransport() *http.Transport {
	t := &http.Transport{Protocols: s.protocol.set(), DialContext: new(net.Dialer).DialContext}
	if s.Network != nil {
		t.DialContext = s.Network.DialContext
	}
	if s.protocol.tls() {
		_, pool := certificate()
		t.TLSClientConfig = &tls.Config{RootCAs: pool, ServerName: certificateName}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.transports = append(s.transports, t)
	return t
}

// Shutdown ends the server gracefully, as [http.Server.Shutdown] does: it
// waits for streams, and does not end them. Close is still to be called.
func (s *Server) Shutdown(ctx context.Context) error { return s.config.Shutdown(ctx) }

// Close ends the server at once: it closes every connection, also the idle
// ones of the clients, and returns when all handlers have returned and no
// goroutine of the server is left. Bodies of responses must be closed by whoever
// got them. Closing again does nothing.
func (s *Server) Close() {
	s.closeOnce.Do(func() {
		s.config.Close()
		<-s.served // no new connection from here on
		s.mu.Lock()
		defer s.mu.Unlock()
		for len(s.conns) > 0 || s.handlers > 0 {
			s.changed.Wait()
		}
		for _, t := range s.transports {
			t.CloseIdleConnections()
		}
	})
}
