package ssetest

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// Conn returns the client's end of a connection that goes through f to c,
// which f takes over. Its addresses are those of c.
func (f *Faults) Conn(c net.Conn) net.Conn { return f.through(c, nil) }

// Dialer returns a DialContext whose connections are dialled by dial and go
// through f: for [http.Transport.DialContext].
func (f *Faults) Dialer(dial DialFunc) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return f.through(c, func(ctx context.Context) (net.Conn, error) {
			return dial(ctx, network, address)
		}), nil
	}
}

func (f *Faults) through(c net.Conn, dial func(context.Context) (net.Conn, error)) net.Conn {
	near, far := pipe(relayBuffer, c.LocalAddr(), c.RemoteAddr())
	if !f.start(far, c, dial) {
		far.Reset()
		c.Close()
	}
	return near
}

// Listener returns a listener whose connections are accepted by l and go
// through f: for a server. Closing it closes l, and so does Close of f. The
// server sees the clients' addresses.
func (f *Faults) Listener(l net.Listener) net.Listener {
	back := &listener{
		network: NewNetwork(nil), addr: addr(l.Addr().String()),
		backlog: make(chan *Conn, backlog), done: make(chan struct{}),
	}
	front := &faultyListener{listener: back, front: l}
	f.accept(front, l, func(client net.Conn) func(context.Context) (net.Conn, error) {
		return func(ctx context.Context) (net.Conn, error) {
			return back.connect(ctx, client.RemoteAddr(), l.Addr(), relayBuffer)
		}
	})
	return front
}

// faultyListener gives the connections that arrive at front, on their way
// through a Faults.
type faultyListener struct {
	*listener
	front net.Listener
}

func (l *faultyListener) Addr() net.Addr { return l.front.Addr() }

func (l *faultyListener) Close() error {
	l.listener.Close()
	return l.front.Close()
}

// ProxyOptions configures [Faults.Proxy]. A nil *ProxyOptions is all
// defaults.
type ProxyOptions struct {
	// Network is where the proxy listens and finds its target; nil is the
	// real network.
	Network *Network

	// Addr is where the proxy listens; "" is a free address, on the real
	// network a port of 127.0.0.1.
	Addr string
}

// Proxy is a server between clients and a server that forwards TCP connections
// through a [Faults]. Its methods may be called concurrently.
type Proxy struct {
	Addr string // where it listens, "host:port"

	front net.Listener
	ended chan struct{} // closed by the goroutine that accepts, when it ends
	once  sync.Once     // Close
}

// Proxy starts a proxy for what listens on the address target; that need not
// listen yet, and may be restarted. The proxy resets a connection if it cannot
// reach target. It panics if it cannot listen.
func (f *Faults) Proxy(target string, opts *ProxyOptions) *Proxy {
	var o ProxyOptions
	if opts != nil {
		o = *opts
	}
	var l net.Listener
	var err error
	dial := new(net.Dialer).DialContext
	if o.Network != nil {
		dial = o.Network.DialContext
		l, err = o.Network.Listen(o.Addr)
	} else {
		if o.Addr == "" {
			o.Addr = "127.0.0.1:0"
		}
		l, err = net.Listen("tcp", o.Addr)
	}
	if err != nil {
		panic(fmt.Sprintf("ssetest: Proxy: %v", err))
	}
	p := &Proxy{Addr: l.Addr().String(), front: l}
	p.ended = f.accept(l, l, func(net.Conn) func(context.Context) (net.Conn, error) {
		return func(ctx context.Context) (net.Conn, error) { return dial(ctx, "tcp", target) }
	})
	return p
}

// Close ends the listening: clients are refused from now on. The connections
// that are open live on; see [Faults.CutAll] and [Faults.Close]. Closing again
// does nothing.
func (p *Proxy) Close() {
	p.once.Do(func() { p.front.Close() })
	<-p.ended
}

// accept starts a relay for each connection that l accepts, until owner, which
// Faults.Close closes, is closed. The channel is closed when that has ended.
func (f *Faults) accept(owner, l net.Listener, dialer func(client net.Conn) func(context.Context) (net.Conn, error)) chan struct{} {
	ended := make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		owner.Close()
		close(ended)
		return ended
	}
	f.fronts[owner] = struct{}{}
	f.work.Go(func() { // joined by Faults.Close
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			if !f.start(c, nil, dialer(c)) {
				c.Close()
			}
		}
		owner.Close()
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.fronts, owner)
	})
	return ended
}
