package ssetest

import (
	"context"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
)

// A DialFunc opens a connection. It is the type of [net.Dialer.DialContext],
// [Network.DialContext] and [http.Transport.DialContext].
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// NetworkOptions configures a [Network]. A nil *NetworkOptions is all
// defaults.
type NetworkOptions struct {
	// Buffer is how many bytes each direction of a connection holds: a peer
	// that does not read blocks the writer after exactly this many. 0 is
	// [DefaultBuffer]; negative is no bound, so that a Write never blocks.
	Buffer int
}

// Network is a network in memory: what listens on it and what dials it meet in
// buffered connections, see [Conn]. A real [http.Server] and [http.Transport]
// work over it, with TLS and HTTP/2 too; [Serve] sets up both.
//
// Used within a [testing/synctest] bubble, all that waits on it is durably
// blocked. All methods may be called concurrently.
type Network struct {
	buffer int

	mu     sync.Mutex // guards all below
	places map[string]*listener
	port   int // last one given to a listener
	client int // last port given to a client
}

// NewNetwork returns an empty Network.
func NewNetwork(opts *NetworkOptions) *Network {
	n := &Network{places: make(map[string]*listener), port: 8079, client: 49151}
	if opts != nil {
		n.buffer = opts.Buffer
	}
	return n
}

// Listen accepts connections to address, which is "host:port" with any host.
// An empty host is "sse.test", a missing port or port 0 a free one. The error
// is [syscall.EADDRINUSE] if address is taken; it is free again after Close.
//
// Close frees a blocked Accept and resets the connections not yet accepted;
// those that were accepted live on.
func (n *Network) Listen(address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = address, ""
	}
	if host == "" {
		host = "sse.test"
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if port == "" || port == "0" {
		for port == "" || port == "0" || n.places[net.JoinHostPort(host, port)] != nil {
			n.port++
			port = strconv.Itoa(n.port)
		}
	}
	a := addr(net.JoinHostPort(host, port))
	if n.places[string(a)] != nil {
		return nil, &net.OpError{Op: "listen", Net: a.Network(), Addr: a, Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	l := &listener{network: n, addr: a, backlog: make(chan *Conn, backlog), done: make(chan struct{})}
	n.places[string(a)] = l
	return l, nil
}

// Dial is [Network.DialContext] without a context.
func (n *Network) Dial(network, address string) (net.Conn, error) {
	return n.DialContext(context.Background(), network, address)
}

// DialContext connects to what listens on address, whatever network says. As
// with TCP the connection is open before it is accepted; only when 128 are
// waiting for that does DialContext block, until one is accepted or ctx ends.
// The error is [syscall.ECONNREFUSED] if nothing listens there. The local
// address has the IP 192.0.2.1.
//
// The net.Conn is a [*Conn].
func (n *Network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return n.dial(ctx, "192.0.2.1", address)
}

// DialFrom returns a DialContext whose connections come from host: for servers
// that tell callers apart by their IP.
func (n *Network) DialFrom(host string) DialFunc {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		return n.dial(ctx, host, address)
	}
}

func (n *Network) dial(ctx context.Context, host, address string) (net.Conn, error) {
	n.mu.Lock()
	l := n.places[address]
	if n.client++; n.client > 65535 {
		n.client = 49152
	}
	local := addr(net.JoinHostPort(host, strconv.Itoa(n.client)))
	n.mu.Unlock()
	return l.connect(ctx, local, addr(address), n.buffer)
}

// backlog is how many connections wait to be accepted before dialling blocks.
const backlog = 128

// listener is a place on a Network.
type listener struct {
	network *Network
	addr    addr
	backlog chan *Conn    // sent by connect, never closed
	done    chan struct{} // closed by Close
	once    sync.Once     // Close
}

// connect opens a connection from local to l, which may be nil: nobody there.
func (l *listener) connect(ctx context.Context, local, remote net.Addr, buffer int) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: remote.Network(), Addr: remote, Err: err}
	}
	refused := os.NewSyscallError("connect", syscall.ECONNREFUSED)
	if err := context.Cause(ctx); err != nil {
		return fail(err)
	}
	if l == nil {
		return fail(refused)
	}
	near, far := pipe(buffer, local, remote)
	select {
	case l.backlog <- far:
	case <-l.done:
		return fail(refused)
	case <-ctx.Done():
		return fail(context.Cause(ctx))
	}
	select {
	case <-l.done:
		// Close may have emptied the backlog just before far went in.
		l.empty()
	default:
	}
	return near, nil
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.done: // wins over the backlog
	default:
		select {
		case c := <-l.backlog:
			return c, nil
		case <-l.done:
		}
	}
	return nil, &net.OpError{Op: "accept", Net: l.addr.Network(), Addr: l.addr, Err: net.ErrClosed}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.network.mu.Lock()
		delete(l.network.places, string(l.addr))
		l.network.mu.Unlock()
		close(l.done)
		l.empty()
	})
	return nil
}

// empty resets the connections nobody will accept.
func (l *listener) empty() {
	for {
		select {
		case c := <-l.backlog:
			c.Reset()
			c.Close()
		default:
			return
		}
	}
}

func (l *listener) Addr() net.Addr { return l.addr }

// addr is a "host:port" on a Network.
type addr string

func (addr) Network() string  { return "mem" }
func (a addr) String() string { return string(a) }
