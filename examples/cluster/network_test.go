package main

import (
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A network is the way from the nodes to the engine. It can be cut: then
// nothing arrives any more, in either direction, and nobody is told, until it
// is mended. What was on its way is then late, as on a real one.
type network struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup // of all its goroutines

	mu    sync.Mutex    // guards what follows
	open  chan struct{} // closed while it is not cut
	ended bool
	conns []net.Conn
}

func newNetwork(t *testing.T, target string) *network {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	n := &network{listener: l, target: target, open: make(chan struct{})}
	close(n.open)
	n.wg.Go(n.accept)
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		n.mu.Lock()
		n.ended = true
		for _, c := range n.conns {
			_ = c.Close()
		}
		n.mu.Unlock()
		n.mend()
		n.wg.Wait()
	})
	return n
}

func (n *network) url() string { return "nats://" + n.listener.Addr().String() }

// cut makes nothing arrive any more.
func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open = make(chan struct{})
}

// mend lets what is on its way arrive.
func (n *network) mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.open:
	default:
		close(n.open)
	}
}

// wait waits while the network is cut.
func (n *network) wait() {
	n.mu.Lock()
	open := n.open
	n.mu.Unlock()
	<-open
}

// keep takes note of a connection, to close it in the end.
func (n *network) keep(c net.Conn) (ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		_ = c.Close()
		return false
	}
	n.conns = append(n.conns, c)
	return true
}

func (n *network) accept() {
	for {
		client, err := n.listener.Accept()
		if err != nil {
			return
		}
		if !n.keep(client) {
			return
		}
		n.wg.Go(func() {
			defer client.Close()
			n.wait()
			server, err := net.Dial("tcp", n.target)
			if err != nil || !n.keep(server) {
				return // as one that refuses
			}
			n.wg.Go(func() { n.carry(client, server) })
			n.carry(server, client)
		})
	}
}

// carry carries what comes from one end to the other, and the end as well.
func (n *network) carry(from, to net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		read, err := from.Read(buf)
		n.wait()
		if _, werr := to.Write(buf[:read]); err != nil || werr != nil {
			return
		}
	}
}
