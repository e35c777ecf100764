package natsstore_test

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// A proxy is a network between a client and the engine that can be cut, and be slow.
type proxy struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup // of all its goroutines
	rate     int            // bytes a second that come from the engine; 0: as many as there are
	loses    atomic.Bool    // what the engine sends, as in the buffers of a host that dies
	lost     atomic.Int64   // bytes

	mu    sync.Mutex // guards what follows
	down  bool
	conns []net.Conn
}

func newProxy(t *testing.T, target string) *proxy { return newSlowProxy(t, target, 0) }

func newSlowProxy(t *testing.T, target string, rate int) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: l, target: target, rate: rate}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// cut breaks all connections and lets no new one through.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// mend lets connections through again.
func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

// keep takes note of connections, or closes them while the network is cut.
func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		for _, c := range conns {
			_ = c.Close()
		}
		return false
	}
	p.conns = append(p.conns, conns...)
	return true
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		if !p.keep(client, server) {
			continue
		}
		p.wg.Go(func() { p.forward(server, client, func(int) bool { return true }) })
		p.wg.Go(func() { p.forward(client, server, p.passes) })
	}
}

// forward copies what passes.
func (p *proxy) forward(to, from net.Conn, passes func(n int) bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && passes(n) {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// passes takes the time that n bytes of the engine need, and says whether they arrive.
func (p *proxy) passes(n int) bool {
	if p.loses.Load() {
		p.lost.Add(int64(n))
		return false
	}
	if p.rate > 0 {
		time.Sleep(time.Duration(n) * time.Second / time.Duration(p.rate))
	}
	return true
}

// resume resumes on topic "a"; the subscription ends with the test.
func resume(t *testing.T, b *broker.Broker, id string) *broker.Subscription {
	t.Helper()
	sub, err := b.Resume(id, "a")
	require.NoError(t, err)
	t.Cleanup(sub.Close)
	return sub
}

// take returns what n events of sub say.
func take(t *testing.T, sub *broker.Subscription, n int) (got []string) {
	t.Helper()
	for ev, err := range sub.Events(t.Context()) {
		require.NoError(t, err)
		if got = append(got, show(ev)); len(got) == n {
			break
		}
	}
	return got
}

// takeThrough returns what the events of sub say through one that says last.
func takeThrough(t *testing.T, sub *broker.Subscription, last string) (got []string) {
	t.Helper()
	for !slices.Contains(got, last) {
		got = append(got, take(t, sub, 1)...)
	}
	return got
}

// show is the type of an event, if it has one, and its data.
func show(ev sse.Event) string {
	if ev.Type != "" {
		return ev.Type + ":" + ev.Data
	}
	return ev.Data
}

// together calls f from n goroutines, with the numbers from 0 on, and waits for
// them.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func (p *proxy) url() string { return "nats://" + p.addr() }
